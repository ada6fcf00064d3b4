"""Weights and inputs in few bits, mixed with filters that fall, applied as one network."""

import networks
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lesion.compression.tensors import rounded
from lesion.errors import LesionError
from lesion.exports.programs import export_pruned
from lesion.exports.pruned import apply
from lesion.exports.pruned_files import load_pruned, save_pruned
from lesion.exports.quantised_inputs import QuantisedInput
from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.rates.budget import Budget
from lesion.rates.layer_options import stored
from lesion.rates.recommend import recommend
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep

NAME = "quantise:activations=3"
TRAIN = networks.random_images(70, 1, 8, 8, classes=3, seed=7)


class Reading(networks.Plain):
    """`Plain` with a forward that asks a layer for its number of filters."""

    def forward(self, x):
        return super().forward(x) + 0 * self.b.out_channels


def study(kind, path):
    """Half of what `a` makes removed, and the other layers in 4 bits that read 3."""
    network, data = networks.plain(48, kind=kind)
    common = {"full": True, "holdout": 0.5}
    sweep(network, data, path, damage=NAME, ratios=(4,), train=TRAIN, layers=["b", "fc"],
          **common).close()  # fmt: skip
    return network, data, sweep(network, data, path, ratios=(0.5,), layers=["a"], **common)


def rounded_by_hand(x, low, high, levels=8):
    scale = (high - low) / (levels - 1)
    zero = round(-low / scale)
    return (torch.clamp(torch.round(x / scale) + zero, 0, levels - 1) - zero) * scale


@given(
    st.integers(2, 8),
    st.floats(-9, 0, width=32),
    st.floats(0.0625, 9, width=32),
    st.integers(0, 1000),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_it_rounds_bit_for_bit_as_was_measured(bits, low, high, seed, kind):
    generator = torch.Generator().manual_seed(seed)
    x = (4 * torch.randn(3000, generator=generator, dtype=torch.float64)).to(kind)
    assert torch.equal(QuantisedInput(bits, low, high)(x), rounded(x, bits, low, high))


def test_measured_applied_and_written(tmp_path):
    network, data, made = study(networks.Plain, tmp_path / "s")
    images, labels = data.tensors
    with made:
        rates = recommend(made, budget=Budget(bops=0.239))
        assert [rate.unit for rate in rates.cut] == ["a"]
        assert {each.layer: each.damage for each in rates.weights} == {"b": NAME, "fc": NAME}
        cost = stored(made.anatomy, rates.dropped(made.anatomy), rates.weights)
        small = apply(rates, network, images[:4], study=made).eval()
        bench, held = Bench.of(made, Subject.of(network, data)), made.header.holdout
        outcomes = bench.outcomes({Joint(()): bench.edit(rates)}, held, bench.intact(held))
    macs = {"a": 4 * 9 * 64, "b": 8 * 4 * 9 * 9, "fc": 8 * 3}
    assert cost.bops == 32 * 32 * macs["a"] + 4 * 3 * (macs["b"] + macs["fc"])
    with torch.no_grad():
        right = small(images[list(held)]).argmax(1) == labels[list(held)]
    assert outcomes[Joint(())]["top1"].tolist() == right.tolist()
    assert isinstance(small.b[0], QuantisedInput) and small.b[1].in_channels == 4
    small.train()
    assert small.b.training
    save_pruned(small.eval(), rates, tmp_path / "small.safetensors")
    again = load_pruned(networks.Plain, tmp_path / "small.safetensors").eval()
    assert repr(again.b) == repr(small.b) and "bits=3" in repr(again.b)
    assert torch.equal(again(images), small(images))
    for name in ("small.pt2", "small.onnx"):
        export_pruned(small, rates, tmp_path / name, images[:4])


@torch.no_grad()
def test_the_values_between_are_those_of_the_formula(tmp_path):
    """Ranges are those of training images in the intact network, 0 included."""
    network, data, made = study(networks.Plain, tmp_path / "s")
    images, seen = data.tensors[0], {}
    with made:
        rates = recommend(made, budget=Budget(bops=0.239))
        small = apply(rates, network, images[:4], study=made).eval()
    hooks = [module.register_forward_pre_hook(
        lambda _, given, name=name: seen.update({name: given[0].clone()})
    ) for name, module in (("b", network.b), ("fc", network.fc))]  # fmt: skip
    network(TRAIN.tensors[0])
    for hook in hooks:
        hook.remove()
    kept = np.array(rates.cut[0].kept)
    x = torch.relu(small.norm(small.a(images)))
    assert x.shape[1] == len(kept) == 4
    low, high = (float(f(seen["b"])) for f in (torch.min, torch.max))
    first, second = small.b
    assert first.low == min(low, 0) and first.high == high
    torch.testing.assert_close(first(x), rounded_by_hand(x, 0.0, high))
    y = torch.relu(second(first(x))).mean((2, 3))
    torch.testing.assert_close(small.fc[0](y), rounded_by_hand(y, 0.0, float(seen["fc"].max())))


def test_where_nothing_can_stand_in_front_of_a_layer(tmp_path):
    network, data, made = study(Reading, tmp_path / "s")
    with made:
        rates = recommend(made, budget=Budget(bops=0.239))
        with pytest.raises(
            LesionError, match=r"no attribute 'out_channels'.*ask b, fc, which read"
        ):
            apply(rates, network, data.tensors[0][:4], study=made)
        with pytest.raises(LesionError, match=r"which the study holds .*give that study"):
            apply(rates, network, data.tensors[0][:4])


class Attending(nn.Module):
    """Attention, whose last layer is a part of it that is never called."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = x[:, 0]
        return self.fc(self.attention(x, x, x, need_weights=False)[0].mean(1))


def test_a_part_of_attention(tmp_path):
    data = networks.random_images(48, 1, 8, 8, classes=3)
    torch.manual_seed(0)
    network = networks.spread(Attending().eval(), data.tensors[0])
    with sweep(network, data, tmp_path / "s", damage=NAME, ratios=(4,), train=TRAIN, full=True,
               layers=["attention.out_proj"], holdout=0.5) as made:  # fmt: skip
        rates = recommend(made, budget=Budget(bops=0.9), damage=NAME)
        with pytest.raises(LesionError, match=r"ask attention\.out_proj, which read few bits"):
            apply(rates, network, data.tensors[0][:4], study=made)

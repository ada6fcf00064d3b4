"""Layers on their principal responses, applied: two layers, the bias behind, as one network."""

import copy

import networks
import numpy as np
import pytest
import torch
from torch import nn

from lesion.compression.channel_pca import Projection, Responses
from lesion.errors import LesionError
from lesion.exports.factored import in_series
from lesion.exports.pruned import apply
from lesion.exports.pruned_files import load_pruned, save_pruned
from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.rates.budget import Budget
from lesion.rates.layer_options import stored
from lesion.rates.recommend import recommend
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep

NAME = "low_rank:form=channel_pca"
CASES = [
    (nn.Linear(12, 7), (40, 12)),
    (nn.Conv2d(6, 8, 3, stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (8, 6, 9, 9)),
    (nn.Conv1d(6, 8, 3, bias=False), (20, 6, 9)),
]


@torch.no_grad()
@pytest.mark.parametrize(("module", "shape"), CASES)
def test_the_layers_give_what_the_whole_one_gives(module, shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    y, whole, seen = module(x), copy.deepcopy(module), Responses()
    seen.add((y if y.dim() == 2 else y.movedim(1, -1)).flatten(0, -2))
    onto = Projection.of(seen.numbers(), len(module.weight), 3)
    whole.weight.copy_(onto.weight(module.weight))
    whole.bias = nn.Parameter(onto.bias(module.bias).float())
    small = in_series(whole, onto, module.weight)
    assert torch.allclose(small(x), whole(x), atol=1e-5)
    assert small[0].bias is None and len(small[0].weight) == 3
    assert torch.equal(small[1].bias, whole.bias)


class Reading(networks.Plain):
    """`Plain` with a forward that asks a layer for its number of filters."""

    def forward(self, x):
        return super().forward(x) + 0 * self.b.out_channels


class Unbiased(networks.Plain):
    """`Plain` without biases in its convolutions."""

    def __init__(self):
        super().__init__()
        self.a.bias = self.b.bias = None


class UnbiasedReading(Unbiased, Reading):
    """Both."""


@pytest.mark.parametrize("kind", [networks.Plain, Reading, Unbiased, UnbiasedReading])
def test_a_network_has_them_measured_written_and_read(kind, tmp_path):
    made, data = networks.plain(48)
    network = kind().eval()
    network.load_state_dict(made.state_dict(), strict=False)
    train = networks.random_images(70, 1, 8, 8, classes=3, seed=7)
    common = {"train": train, "full": True, "holdout": 0.5}
    sweep(network, data, tmp_path / "s", damage=NAME, ratios=(0.5,), **common).close()
    with sweep(network, data, tmp_path / "s", ratios=(0.25,), full=True, holdout=0.5) as study:
        low = recommend(study, budget=Budget(macs=0.7), damage=NAME)
        assert low.weights and {each.damage for each in low.weights} == {NAME}
        images = data.tensors[0]
        with pytest.raises(LesionError, match=r"which the study holds .*give that study \(study="):
            apply(low, network, images[:4])
        small = apply(low, network, images[:4], study=study).eval()
        bench, held = Bench.of(study, Subject.of(network, data)), study.header.holdout
        outcomes = bench.outcomes({Joint(()): bench.edit(low)}, held, bench.intact(held))
        anatomy = study.anatomy
        cost = stored(anatomy, low.dropped(anatomy), low.weights)
    with torch.no_grad():
        right = small(images[list(held)]).argmax(1) == data.tensors[1][list(held)]
    assert outcomes[Joint(())]["top1"].tolist() == right.tolist()
    apart = [each.layer for each in low.weights if isinstance(small.get_submodule(each.layer),
                                                              nn.Sequential)]  # fmt: skip
    if not issubclass(kind, Reading):
        assert apart == [each.layer for each in low.weights]
        norm = sum(p.numel() for p in small.norm.parameters())
        assert sum(p.numel() for p in small.parameters()) == cost.parameters + norm
    else:
        assert "b" not in apart
    for each in low.weights:
        module = small.get_submodule(each.layer)
        assert (module[1] if each.layer in apart else module).bias is not None
    save_pruned(small, low, tmp_path / "small.safetensors")
    again = load_pruned(kind, tmp_path / "small.safetensors").eval()
    assert torch.equal(again(images), small(images))


def test_it_is_mixed_with_filters_that_its_layer_reads(tmp_path):
    network, data = networks.plain(48)
    train = networks.random_images(70, 1, 8, 8, classes=3, seed=7)
    sweep(network, data, tmp_path / "s", damage=NAME, ratios=(0.5,), train=train, full=True,
          holdout=0.5, layers=["b"]).close()  # fmt: skip
    with sweep(network, data, tmp_path / "s", ratios=(0.5,), full=True, holdout=0.5,
               layers=["a"]) as study:  # fmt: skip
        rates = recommend(study, budget=Budget(bytes=0.5))
        numbers = study.known(next(each for each in study.lesions if each.damage == NAME))
        images = data.tensors[0]
        small = apply(rates, network, images[:4], study=study).eval()
    assert [rate.unit for rate in rates.cut] == ["a"]
    assert [each.layer for each in rates.weights] == ["b"]
    (first, second), filters = small.b, len(network.b.weight)
    stay = np.array(rates.cut[0].kept)
    covariance = np.zeros((filters, filters))
    covariance[np.triu_indices(filters)] = numbers[filters:]
    vectors = torch.from_numpy(np.linalg.eigh(covariance, UPLO="U")[1]).float()
    q = vectors[:, -len(first.weight) :]
    whole = torch.einsum("nr,r...->n...", second.weight[:, :, 0, 0], first.weight)
    wanted = torch.einsum("nm,m...->n...", q @ q.T, network.b.weight[:, stay])
    assert torch.allclose(whole, wanted, atol=1e-5)

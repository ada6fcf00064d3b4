"""The recovered network: pruned it gives what was measured, and the network stays as it was."""

import copy

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset
from unequal import subject as small_subject

import lesion
from lesion.lesions.lesion import Joint

subject = small_subject


def others(count=400):
    """Training images that are none of those scored."""
    numbers = torch.Generator().manual_seed(9)
    images = torch.randn(count, 1, 8, 8, generator=numbers)
    return TensorDataset(images, torch.randint(0, 3, (count,), generator=numbers))


MASKED = "finetune:20,masks=soft,every=5"


@pytest.mark.parametrize(
    "way", ["bias", "reconstruct", "fold", "bn", "reconstruct,finetune:3", MASKED]
)
def test_applied_it_gives_what_was_measured(subject, tmp_path, way):
    network, data = subject
    before = copy.deepcopy(network.state_dict())
    with lesion.sweep(network, data, tmp_path / "s", ratios=(0.25, 0.5), full=True) as study:
        rates = lesion.recommend(study, budget=lesion.Budget(macs=0.5))
        bench = lesion.bench(study, network, data, recover=way, train=others())
        images = list(study.header.order[:64])
        intact = bench.intact(images)
        joint = Joint(tuple(rate.unit for rate in rates.cut))
        (outcomes,) = bench.outcomes({joint: rates.dropped(study.anatomy)}, images, intact).values()
        whole, fallen = lesion.recover(bench, rates)
    if way == MASKED:  # other channels, and as many
        assert fallen.filters != rates.filters
        assert [one.pruned for one in fallen.rates] == [one.pruned for one in rates.rates]
        assert fallen.pruned == rates.pruned and np.isnan(fallen.drop)
    else:
        assert fallen is rates
    x, labels = data.tensors[0][images], data.tensors[1][images]
    small = lesion.apply(fallen, whole, x[:2])
    with torch.no_grad():
        logits = small(x)
        plain = lesion.apply(rates, network, x[:2])(x)
    right = torch.softmax(logits, 1)[torch.arange(len(x)), labels]
    assert np.array_equal((logits.argmax(1) == labels).numpy(), outcomes["top1"])
    assert np.allclose(-right.log().numpy(), outcomes["loss"], rtol=2e-3, atol=2e-3)
    assert (logits - plain).abs().max() > 1e-2 or way == "bn"
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_that_another_tool_prunes_takes_the_weights(subject, tmp_path):
    pytest.importorskip("torch_pruning")
    network, data = subject
    with lesion.sweep(network, data, tmp_path / "s", ratios=(0.5,), full=True) as study:
        rates = lesion.recommend(study, budget=lesion.Budget(macs=0.6))
        bench = lesion.bench(study, network, data, recover="reconstruct", train=others())
        whole, _ = lesion.recover(bench, rates)
    example = data.tensors[0][:2]
    mended = lesion.apply(rates, whole, example)
    other = copy.deepcopy(network)
    lesion.to_torch_pruning(rates, other, example).pruner().step()
    other.load_state_dict(mended.state_dict())
    with torch.no_grad():
        assert torch.allclose(other(data.tensors[0][:9]), mended(data.tensors[0][:9]))


def test_it_needs_a_recovery(subject, tmp_path):
    network, data = subject
    with lesion.sweep(network, data, tmp_path / "s", ratios=(0.5,), full=True) as study:
        rates = lesion.recommend(study, budget=lesion.Budget(macs=0.6))
        with pytest.raises(
            lesion.LesionError, match="Expected a bench with a recovery for weights"
        ):
            lesion.recover(lesion.bench(study, network, data), rates)


def test_too_few_training_images_are_one_sentence(subject, tmp_path):
    network, data = subject
    with lesion.sweep(network, data, tmp_path / "s", ratios=(0.5,), full=True) as study:
        rates = lesion.recommend(study, budget=lesion.Budget(macs=0.6))
        bench = lesion.bench(study, network, data, recover="reconstruct", train=others(2))
        with pytest.raises(lesion.LesionError, match=r"2 training images give .* rows to fit"):
            lesion.recover(bench, rates)


@pytest.mark.parametrize(("way", "after"), [("", ""), ("bn", ", after bn")])
def test_a_bench_shows_itself_in_a_line(subject, tmp_path, way, after):
    network, data = subject
    with lesion.sweep(network, data, tmp_path / "s", ratios=(0.5,), images=20) as study:
        bench = lesion.bench(study, network, data, recover=way, train=others() if way else None)
        assert repr(bench) == f"<Bench of {type(network).__name__}: {len(data)} images{after}>"

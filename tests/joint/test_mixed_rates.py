"""Rates that change weights too: measured, verified, closed and applied as one network."""

from dataclasses import replace

import pytest
import torch
from slicing import shrink
from torch import nn
from unequal import subject as small_subject

from lesion.errors import LesionError
from lesion.exports.pruned import apply
from lesion.exports.pruned_files import load_pruned, save_pruned
from lesion.joint.baselines import with_baselines
from lesion.joint.bench import Bench
from lesion.joint.recover import recover
from lesion.joint.refine import improved, refine
from lesion.joint.verifier import Verifier, once
from lesion.joint.verify import verify
from lesion.lesions.lesion import Joint
from lesion.rates.budget import Budget
from lesion.rates.layer_options import stored
from lesion.rates.recommend import choosing, recommend
from lesion.reports.plots.channels import plot_channels
from lesion.study.aim import Aim
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep

subject = small_subject
BUDGETS = [Budget(bytes=0.6), Budget(bytes=0.25), Budget(bops=0.2), Budget(macs=0.5, bytes=0.4)]


@pytest.fixture(scope="module")
def study(subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "a.lesion"
    common = {"images": 300, "full": True, "holdout": 0.5}
    for damage, amounts in (("quantise", (8, 4)), ("low_rank", (0.4,)), ("sparsity", (0.3, 0.6))):
        sweep(*subject, path, damage=damage, ratios=amounts, **common).close()
    with sweep(*subject, path, ratios=(0.25, 0.5), **common) as made:
        yield made


def few_bits(weight, bits):
    """Symmetric, a scale for each filter: torch's own rounding."""
    most = 2 ** (int(bits) - 1) - 1
    scales = weight.flatten(1).abs().amax(1) / most
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -most, most)


def sparse(weight, ratio):
    """The smallest of all weights are zero."""
    kept = max(1, int(weight.numel() * (1 - ratio) + 1e-9))
    least = weight.abs().flatten().sort(descending=True).values[kept - 1]
    return torch.where(weight.abs() >= least, weight, 0)


def low_rank(weight, saved):
    """The largest rank with so few multiply-accumulates."""
    matrix = weight.flatten(1).double()
    rank = max(1, int((1 - saved) * matrix.numel() / sum(matrix.shape) + 1e-9))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return ((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(weight.shape).float()


WAYS = {"quantise": few_bits, "sparsity": sparse, "low_rank": low_rank}


def by_hand(network: nn.Module, study, rates) -> nn.Module:
    """Sliced by hand, then each layer's weight changed by a formula."""
    small = shrink(network, study.anatomy, rates.dropped(study.anatomy)).eval()
    with torch.no_grad():
        for each in rates.weights:
            module = small.get_submodule(each.layer)
            module.weight = nn.Parameter(WAYS[each.damage](module.weight, each.amount))
    return small


def mixing(study, budget):
    """Rates within a budget in which units lose filters that changed layers read."""
    rates = recommend(study, budget=budget)
    if rates.cut:
        return rates
    units = recommend(study, budget=Budget(macs=0.8), damage="filters")
    first = units.cut[0].unit
    weights = tuple(each for each in rates.weights if study.anatomy.layer[each.layer].unit != first)
    assert weights
    return replace(rates, rates=units.rates, weights=weights)


@pytest.mark.parametrize("budget", BUDGETS)
def test_what_is_measured_is_the_network_made_by_hand(subject, study, budget):
    network, data = subject
    bench, rates = Bench.of(study, Subject.of(*subject)), mixing(study, budget)
    held, joint = study.header.holdout, Joint(())
    outcomes = bench.outcomes({joint: bench.edit(rates)}, held, bench.intact(held))[joint]
    images, labels = (tensor[list(held)] for tensor in data.tensors)
    with torch.no_grad():
        logits = by_hand(network, study, rates)(images)
    assert outcomes["top1"].tolist() == (logits.argmax(1) == labels).tolist()


@pytest.mark.parametrize("budget", BUDGETS)
def test_what_is_applied_is_it_too_and_is_written_and_read(subject, study, budget, tmp_path):
    network, data = subject
    rates, images = mixing(study, budget), data.tensors[0][:8]
    small, wanted = apply(rates, network, images).eval(), by_hand(network, study, rates)
    assert torch.allclose(small(images), wanted(images), atol=1e-5)
    ranks = [each.layer for each in rates.weights if each.damage == "low_rank"]
    apart = [name for name, module in small.named_modules() if isinstance(module, nn.Sequential)]
    assert apart == ranks
    weights = {name.removesuffix(".weight"): v for name, v in small.named_parameters()}
    for each in rates.weights:
        if each.layer not in ranks:
            expected = wanted.get_submodule(each.layer).weight
            assert torch.allclose(weights[each.layer], expected, atol=1e-6), each
    if not any(each.damage == "sparsity" for each in rates.weights):  # zeros are stored in it
        cost = stored(study.anatomy, rates.dropped(study.anatomy), rates.weights)
        norm = small.norm.weight.numel() + small.norm.bias.numel()
        assert sum(p.numel() for p in small.parameters()) == cost.parameters + norm
    save_pruned(small, rates, tmp_path / "small.safetensors")
    again = load_pruned(network, tmp_path / "small.safetensors")
    assert torch.equal(again.eval()(images), small.eval()(images))


def test_it_is_verified_and_closed(subject, study):
    network, data = subject
    rates = recommend(study, budget=Budget(bytes=0.16))
    bench = Bench.of(study, Subject.of(*subject))
    found = once(Verifier(study, bench, Aim(1.0), full=True), rates)
    assert f"weights of {len(rates.weights)} layers changed" in found.text()
    assert found.final.verdict == "sensitive"
    closed = verify(study, network, data, rates, max_drop=3, close_loop=Budget(bytes=0.16)).final
    assert closed.verdict == "safe" and closed.allocation.weights
    whole, left = closed.allocation.footprints
    assert 0.16 < left.bytes / whole.bytes < 1


def test_rivals_have_one_amount_for_all_layers(subject, study):
    rates = recommend(study, budget=Budget(bytes=0.28))
    bench, reading = Bench.of(study, Subject.of(*subject)), choosing(study)
    table = with_baselines(reading, bench, rates, study.header.holdout).set_index("rates")
    assert list(table.index) == ["these", "all quantise, 4 bits"]
    assert (table["bytes"] <= 0.28).all() and table["worse"].isna().tolist() == [True, False]


def test_what_recovers_or_is_refined_takes_filters_alone(subject, study):
    rates = recommend(study, budget=Budget(bytes=0.25))
    network, data = subject
    train = type(data)(
        *(torch.flip(t, (0,)) + (0.01 if t.is_floating_point() else 0) for t in data.tensors)
    )
    mended = Bench.of(study, Subject.of(network, data, train=train), "bn")
    with pytest.raises(LesionError, match=r"recovery by bn.*--damage filters"):
        mended.edit(rates)
    with pytest.raises(LesionError, match="weights after a recovery"):
        recover(mended, rates)
    bench = Bench.of(study, Subject.of(*subject))
    for refining in (refine, lambda _, *rest: improved(choosing(study), *rest)):
        with pytest.raises(LesionError, match=r"rates that are refined.*--damage filters"):
            refining(study, bench, rates, Budget(bytes=0.25))
    with pytest.raises(LesionError, match="a picture of channels"):
        plot_channels(rates)

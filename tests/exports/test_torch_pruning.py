"""Real Torch-Pruning does what the rates say, filter by filter, or a sentence says why not."""

import copy
import json
import sys

import allocations
import pytest
import removal
import torch
import torch_pruning as tp
from slicing import shrink
from small_networks import chain, conv
from torch import nn

from lesion.engine.base import Cut
from lesion.errors import LesionError
from lesion.exports.export import export
from lesion.exports.targets.torch_prune import to_torch_prune
from lesion.exports.targets.torch_pruning import to_torch_pruning
from lesion.lesions.lesion import Joint
from lesion.zoo.networks import CifarResNet

# what Torch-Pruning 1.6.1 does wrong, and how that is said
REFUSED = {
    "transposed_in_groups": "left it with shape (1, 6, 2, 2) instead of (2, 6, 2, 2)",
    "depthwise_doubled": "in each of 6 groups of channels, which is all that Torch-Pruning can",
    "group_norm": "in each of 3 groups of channels, which is all that Torch-Pruning can",
    "layer_norm_over_images": "Expected a.weight without what falls, but Torch-Pruning left it",
    "rms_norm": "Expected a network that runs without what falls, but its forward fails",
    "gated_linear_unit": "by its dependency graph it would remove 10, 5 of them the right ones",
    "padded_and_sliced": "remove 4 filters of a, but by its dependency graph it would remove 8",
    "norm_over_tokens": "left it with shape (31,) instead of (36,)",
}
FAMILIES = ("resnet18", "resnet50", "vgg16", "vgg16_bn", "mobilenet_v2", "densenet121")


def copied(case):
    """The network as a user has it: its parameters learn, and it is in training mode."""
    return copy.deepcopy(case.network).train().requires_grad_(True)


def check_tensors(case, network, rates):
    """Kept channels and kept indices, of every tensor, are those of slicing by hand."""
    dropped = rates.dropped(case.dissection.anatomy)
    state, expected = network.state_dict(), shrink(case.network, case.dissection.anatomy, dropped)
    assert state.keys() == expected.state_dict().keys()
    unequal = [n for n, value in expected.state_dict().items() if not torch.equal(state[n], value)]
    assert unequal == []


@torch.no_grad()
def spread(case, network, rates):
    """How far apart the outputs lie of the pruned network, the masked one and lesion's replay,
    relative to the removal's effect."""
    cut = Joint(tuple(rate.unit for rate in rates.cut))
    edit = case.replay.edit(cut.at, rates.dropped(case.dissection.anatomy))
    outputs = dict(case.replay.run((case.x,), {cut: Cut(edit)}))
    masked = to_torch_prune(rates, copy.deepcopy(case.network), case.x).network(case.x)
    pruned = network.eval()(case.x)
    effect = (outputs[cut] - outputs[None]).abs().max()
    assert effect > 0
    return float(max((output - pruned).abs().max() for output in (outputs[cut], masked)) / effect)


def check_family(name):
    case = removal.family(name)
    rates, network = allocations.mixed(case.dissection), copied(case)
    to_torch_pruning(rates, network, case.x).pruner().step()
    modules = dict(network.named_modules())
    for layer in case.dissection.anatomy.layers:
        kept = len(rates.filters.get(layer.name, range(layer.channels)))
        assert modules[layer.name].weight.shape[0] == kept, layer.name
    check_tensors(case, network, rates)
    apart = spread(case, network, rates)
    print(f"\n{name}: {len(rates.cut)} of {len(rates.rates)} units cut, outputs {apart:.1e} apart")
    assert apart <= removal.TOLERANCE


@pytest.mark.parametrize("name", FAMILIES[:1])
def test_a_family(name):
    check_family(name)


@pytest.mark.complete
@pytest.mark.parametrize("name", FAMILIES[1:])
def test_every_family(name):
    check_family(name)


@pytest.mark.parametrize("name", allocations.networks())
def test_small_networks_are_pruned_as_the_rates_say_or_refused(name):
    case = removal.small(name)
    rates, network = allocations.mixed(case.dissection, seed=3), copied(case)
    assert rates.cut
    if name in REFUSED:
        before = {key: value.clone() for key, value in network.state_dict().items()}
        assert REFUSED[name] in refusal(rates, network, case.x)
        after = network.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
        assert network.training
        return
    to_torch_pruning(rates, network, case.x).pruner().step()
    check_tensors(case, network, rates)


def refusal(rates, network, x):
    with pytest.raises(LesionError) as error:
        to_torch_pruning(rates, network, x)
    text = str(error.value)
    assert text.startswith("Expected ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(("pruned", "filters"), [(4, 5), (5, 6), (8, 10), (9, 10), (1, 3)])
def test_the_count_is_exact_where_the_plain_ratio_is_one_off(pruned, filters):
    case = removal.case(chain(conv(3, filters), nn.ReLU(), conv(filters, 4), out=4), 3, 6, 6)
    rates = allocations.by_channels(case.dissection.anatomy, {"a": list(range(pruned))})
    network = copied(case)
    to_torch_pruning(rates, network, case.x).pruner().step()
    assert network.a.out_channels == filters - pruned
    check_tensors(case, network, rates)


def test_unlisted_layers_do_not_get_the_default_ratio():
    case = removal.small("flattened")
    rates = allocations.by_channels(case.dissection.anatomy, {"f": [0, 3]})
    network = copied(case)
    ready = to_torch_pruning(rates, network, case.x)
    assert ready.pruning_ratio == 0.0
    assert dict(ready.pruning_ratio_dict).keys() == {network.f}
    assert set(ready.ignored_layers) == {network.a, network.fc}
    ready.pruner().step()
    assert (network.a.out_channels, network.f.out_features) == (6, 8)
    options = {**ready.options, "ignored_layers": None}  # nor where nothing is ignored
    other = copied(case)
    tp.pruner.BasePruner(other, case.x, **{
        **options, "pruning_ratio_dict": None,
    }).step()  # fmt: skip
    assert (other.a.out_channels, other.f.out_features) == (6, 10)


def test_the_layers_of_a_group_have_one_ratio():
    case = removal.small("pre_activation")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [0, 3, 5]})
    network = copied(case)
    ready = to_torch_pruning(rates, network, case.x)
    named = {network.a: 3 / 8, network.d.conv2: 3 / 8, network.e.conv2: 3 / 8}
    assert dict(ready.pruning_ratio_dict) == named


def test_the_study_chooses_the_filters():
    case = removal.small("flattened")
    weight = case.network.a.weight.abs().flatten(1).sum(1)
    largest = weight.argsort()[-2:].tolist()  # what l1 would remove last
    rates = allocations.by_channels(case.dissection.anatomy, {"a": sorted(largest)})
    network = copied(case)
    pruner = to_torch_pruning(rates, network, case.x).pruner(tp.pruner.GroupNormPruner)
    pruner.step()
    ((root, made, numbers),) = pruner.pruning_history()
    assert (root, made, sorted(numbers)) == ("a", True, sorted(largest))


def test_modes_frozen_parameters_and_gradients_stay():
    case = removal.small("flattened")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1]})
    network = copied(case)
    network.a.weight.requires_grad_(False)
    network.b.eval()
    with torch.no_grad():
        to_torch_pruning(rates, network, case.x).prune()
    assert not network.a.weight.requires_grad
    assert network.a.bias.requires_grad
    assert network.training
    assert not network.b.training
    assert len(network.a.weight) == 5


def test_one_image_or_labels_in_the_batch():
    case = removal.small("flattened")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1, 2]})
    network = copied(case)
    to_torch_pruning(rates, network, (case.x, torch.zeros(2).long())).prune()
    check_tensors(case, network, rates)


def test_a_second_step_on_the_pruned_network_is_refused():
    case = removal.small("flattened")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1, 2]})
    ready = to_torch_pruning(rates, copied(case), case.x)
    ready.pruner().step()
    with pytest.raises(LesionError, match="Expected a layer with its 6 filters, got one with 4"):
        ready.pruner().step()


def test_residual_streams_with_padded_shortcuts():
    torch.manual_seed(0)
    case = removal.case(CifarResNet(8), 3, 8, 8)
    stream = next(unit for unit in case.units if unit.kind == "coupled")
    thirds = list(range(0, stream.channels, 3))
    rates = allocations.by_channels(case.dissection.anatomy, {stream.name: thirds})
    text = refusal(rates, copied(case), case.x)
    assert text.endswith("hand over which filters stay (--to masks).")
    first = [unit.name for unit in case.units if unit.name.endswith("conv1") and "." in unit.name]
    rates = allocations.by_ratio(case.dissection, dict.fromkeys(first, 0.3))
    network = copied(case)
    to_torch_pruning(rates, network, case.x).prune()
    check_tensors(case, network, rates)


def test_groups_that_lose_different_positions():
    case = removal.small("group_norm")
    anatomy = case.dissection.anatomy
    text = refusal(allocations.by_channels(anatomy, {"a": [0, 5, 10]}), copied(case), case.x)
    assert text == (
        "Expected the same positions to fall in each of 3 groups of channels, which is all that "
        "Torch-Pruning can remove, but the rates for a name different ones; hand over which "
        "filters stay (--to masks)."
    )
    rates, network = allocations.by_channels(anatomy, {"a": [1, 5, 9]}), copied(case)
    to_torch_pruning(rates, network, case.x).prune()
    check_tensors(case, network, rates)


FAILS = (
    "Expected a network that Torch-Pruning can follow, but it fails on {} (ZeroDivisionError: {}); "
    "hand over which filters stay (--to masks)."
)


def test_what_torch_pruning_raises_becomes_a_sentence(monkeypatch):
    case = removal.small("flattened")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1]})

    def fail(*_, **__):
        return 1 // 0

    monkeypatch.setattr(tp.DependencyGraph, "build_dependency", fail)
    network = copied(case)
    text = refusal(rates, network, case.x)
    assert text == FAILS.format("Net", "integer division or modulo by zero")
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.complete
def test_a_network_on_which_torch_pruning_fails():
    case = removal.family("shufflenet_v2_x0_5")
    rates = allocations.by_ratio(case.dissection, {"conv5.0": 0.3})
    text = refusal(rates, copied(case), case.x)
    assert text == FAILS.format("ShuffleNetV2", "integer division or modulo by zero")


def test_the_package_is_an_extra(monkeypatch):
    case = removal.small("flattened")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1]})
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    assert refusal(rates, copied(case), case.x) == (
        "Expected the package torch-pruning, which prunes and exports to torch-pruning need, but "
        'it is not installed; run pip install "lesion[pruning]".'
    )


def test_the_file_says_it_all_by_names():
    case = removal.small("flattened")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1, 4, 5]})
    values = json.loads(export(rates, "torch-pruning", network=copied(case), example=case.x))
    assert values["pruning_ratio"] == 0.0
    assert values["pruning_ratio_dict"] == {"a": 0.5}
    assert values["ignored_layers"] == ["f", "fc"]
    assert values["kept"] == {"a": [0, 2, 3]}

"""torch.nn.utils.prune: the masked network gives what the physically smaller one gives."""

import copy

import allocations
import numpy as np
import pytest
import removal
import torch
from safetensors.torch import load
from slicing import shrink
from small_networks import NETWORKS, Net, chain, conv, fc
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

from lesion.errors import LesionError
from lesion.exports.export import export
from lesion.exports.pruned import apply
from lesion.exports.targets.torch_prune import to_torch_prune
from lesion.exports.targets.torch_pruning import to_torch_pruning
from lesion.network.layers import layers

# numbers of channels stand in their forward, which slicing leaves alone
NUMBERED = {"padded_and_sliced", "one_channel_expanded"}
NORMALISED = {"group_norm", "layer_norm", "layer_norm_over_images", "rms_norm"}


def every_unit(case):
    dropped = np.zeros(case.dissection.anatomy.channels, bool)
    for unit in case.units:
        (falling,) = removal.drops(unit, len(dropped))
        dropped |= falling
    return dropped


def masked(case, dropped):
    """A copy of the network, with masks."""
    rates = allocations.by_labels(case.dissection.anatomy, dropped)
    return to_torch_prune(rates, copy.deepcopy(case.network), case.x)


@torch.no_grad()
def error(case, network, dropped):
    """How far a network is from the smaller one, relative to the removal's own effect."""
    small = shrink(case.network, case.dissection.anatomy, dropped)(case.x)
    effect = (small - case.network(case.x)).abs().max()
    assert effect > 0
    return float((network(case.x) - small).abs().max() / effect)


@pytest.mark.parametrize("name", allocations.networks(without=NUMBERED))
def test_masks_equal_removal_or_are_refused(name):
    case = removal.small(name)
    dropped = every_unit(case)
    if name in NORMALISED:
        with pytest.raises(LesionError) as refusal:
            masked(case, dropped)
        assert "are normalised together at" in str(refusal.value)
        return
    made = masked(case, dropped)
    assert error(case, made.network, dropped) <= removal.TOLERANCE
    network = made.remove()
    assert not prune.is_pruned(network)
    assert error(case, network, dropped) <= removal.TOLERANCE
    assert dict(network.named_parameters()).keys() == dict(case.network.named_parameters()).keys()


def test_the_filter_its_bias_its_batch_norm_and_what_reads_it_are_masked():
    case = removal.small("flattened")  # a, batch norm b, ReLU, pooling to 3×3, linear f
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1, 4]})
    network = to_torch_prune(rates, copy.deepcopy(case.network), case.x).network
    for name in ("a.weight_mask", "a.bias_mask", "b.weight_mask", "b.bias_mask"):
        mask = dict(network.named_buffers())[name].flatten(1) if "a.w" in name else None
        mask = dict(network.named_buffers())[name] if mask is None else mask.any(1)
        assert (mask == 0).nonzero().flatten().tolist() == [1, 4], name
    read = dict(network.named_buffers())["f.weight_mask"]
    assert (read.any(0) == 0).nonzero().flatten().tolist() == [*range(9, 18), *range(36, 45)]
    assert not hasattr(network.g, "weight_mask")


def test_an_operation_that_makes_something_of_zeros():
    case = removal.case(chain(conv(3, 6), nn.Sigmoid(), conv(6, 4), out=4), 3, 6, 6)
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1, 4]})
    made = to_torch_prune(rates, copy.deepcopy(case.network), case.x)
    dropped = rates.dropped(case.dissection.anatomy)
    assert error(case, made.network, dropped) <= removal.TOLERANCE
    made.network.c.weight_mask.fill_(1.0)  # without the masks of what reads the channels
    assert error(case, made.network, dropped) > 0.01


@pytest.mark.complete
def test_a_family_with_depthwise_layers_and_gates():
    case = removal.family("mobilenet_v3_small")
    rates = allocations.by_ratio(case.dissection, 0.4)
    dropped = rates.dropped(case.dissection.anatomy)
    made = to_torch_prune(rates, copy.deepcopy(case.network), case.x)
    assert error(case, made.network, dropped) <= removal.TOLERANCE
    assert (made.subject, made.guarantee) == (allocations.SUBJECT, allocations.GUARANTEE)


def test_a_network_that_has_masks_already():
    case = removal.small("one_dimension")
    network = copy.deepcopy(case.network)
    prune.l1_unstructured(network.a, "weight", 0.5)
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1]})
    with pytest.raises(LesionError, match="Expected a network without masks"):
        to_torch_prune(rates, network, case.x)


def test_a_parameter_that_modules_share():
    network = chain(conv(3, 4), conv(4, 4), nn.ReLU(), conv(4, 4), out=4)
    network.d.weight = network.b.weight
    case = removal.case(network, 3, 6, 6)
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1]})
    made = to_torch_prune(rates, copy.deepcopy(network), case.x).network
    assert made.d.weight_orig is made.b.weight_orig
    state = load(export(rates, "torch-prune", network=network, example=case.x))
    assert torch.equal(state["b.weight_mask"], state["d.weight_mask"])
    assert (state["b.weight_mask"] == 0).nonzero()[:, :2].unique(dim=0).tolist() == [
        [0, 1], [1, 0], [1, 1], [1, 2], [1, 3], [2, 1], [3, 1]
    ]  # fmt: skip
    assert not prune.is_pruned(network)


def test_the_file_loads_into_a_network_with_the_same_masks():
    case = removal.small("flattened")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [1, 4], "f": [0]})
    state = load(export(rates, "torch-prune", network=case.network, example=case.x))
    other = removal.case(NETWORKS["flattened"](), 3, 6, 6, seed=1).network
    made = to_torch_prune(rates, other, case.x)
    made.network.load_state_dict(state)
    dropped = rates.dropped(case.dissection.anatomy)
    assert error(case, made.network, dropped) <= removal.TOLERANCE


def test_the_road_that_each_refusal_names_is_open():
    """Groups that lose different positions: neither by Torch-Pruning nor by masks of torch, but
    sliced, and as names."""
    case = removal.small("group_norm")
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [0, 5, 10]})
    for refused in (to_torch_pruning, to_torch_prune):
        with pytest.raises(LesionError, match=r"hand over which filters stay \(--to masks\)"):
            refused(rates, copy.deepcopy(case.network), case.x)
    stay = load(export(rates, "masks", anatomy=case.dissection.anatomy))["a.kept"].tolist()
    assert stay == [at for at in range(12) if at not in (0, 5, 10)]
    assert apply(rates, case.network, case.x).a.out_channels == 9


def test_weights_that_are_computed_are_refused_with_a_road_that_is_open():
    network = chain(weight_norm(conv(3, 6)), nn.ReLU(), conv(6, 4), out=4).eval()
    x = torch.randn(2, 3, 6, 6)
    anatomy = layers(network, x)
    rates = allocations.by_channels(anatomy, {"a": [1]})
    for refused in (to_torch_pruning, to_torch_prune):  # they work on the network itself
        with pytest.raises(LesionError, match="that of a is computed from others at every pass"):
            refused(rates, copy.deepcopy(network), x)
    assert load(export(rates, "masks", anatomy=anatomy))["a.kept"].tolist() == [0, 2, 3, 4, 5]
    remove_parametrizations(network.a, "weight")
    assert apply(rates, network, x).a.weight.shape == (5, 3, 3, 3)


def test_masks_cannot_take_away_what_is_added_to_others():
    def step(n: nn.Module, x: torch.Tensor) -> torch.Tensor:
        value, gate = n.a(x).split((7, 1), 1)
        return n.b(value + torch.sigmoid(gate))

    case = removal.case(Net(step, a=conv(3, 8), b=conv(7, 4), fc=fc(4)), 3, 6, 6)
    dropped = np.zeros(case.dissection.anatomy.channels, bool)
    dropped[case.dissection.anatomy.made_by("a")[7]] = True
    with pytest.raises(LesionError) as refusal:
        masked(case, dropped)
    assert str(refusal.value) == (
        "Expected channels that masks can take away, but those of unit a are added to others at "
        "add, where zeros count; prune the network itself (lesion apply), or hand over which "
        "filters stay (--to masks)."
    )

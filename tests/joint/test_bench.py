"""Several units cut at once are cut as in the physically smaller network, and cost as much."""

import numpy as np
import pytest
import removal
import torch
from cutting import cut
from slicing import shrink
from small_networks import NETWORKS
from torch.utils.flop_counter import FlopCounterMode

from lesion.engine.replay import Around
from lesion.lesions.lesion import Joint
from lesion.network.cost import cost

NUMBERED = {"padded_and_sliced", "one_channel_expanded"}  # channel numbers stand in their forward
ARCHITECTURES = (
    "resnet18", "resnet50", "vgg16_bn", "alexnet", "squeezenet1_1", "densenet121", "mobilenet_v2",
    "mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny",
    "shufflenet_v2_x0_5",
)  # fmt: skip


def several(case, seed=0):
    """All units that can be removed, each without some of its channels."""
    gone = np.zeros(case.dissection.anatomy.channels, bool)
    for number, unit in enumerate(case.units):
        dropped = list(removal.drops(unit, len(gone), 2))
        gone |= dropped[(number + seed) % 2]
    return Joint(tuple(unit.name for unit in case.units)), gone


@torch.no_grad()
def compare(case, seed=0):
    """The joint lesion's error against the smaller network, relative to its own effect."""
    joint, gone = several(case, seed)
    outputs = dict(case.replay.run((case.x,), {joint: cut(case.replay, joint, gone)}))
    small = shrink(case.network, case.dissection.anatomy, gone)
    wanted = small(case.x)
    effect = float((outputs[None] - wanted).abs().max())
    assert effect > 0
    return float((outputs[joint] - wanted).abs().max()) / effect


def costs(case, seed=0):
    """MACs by torch's counter of the smaller network, and the anatomy's; the same of parameters."""
    _, gone = several(case, seed)
    small = shrink(case.network, case.dissection.anatomy, gone)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(case.x[:1])
    found = cost(case.dissection.anatomy, gone)
    there = sum(parameter.numel() for parameter in small.parameters())
    return (counter.get_total_flops() / 2, there), (found.macs, found.parameters)


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - NUMBERED))
def test_all_units_at_once(name):
    case = removal.small(name)
    if case.units:
        assert compare(case) <= removal.TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - NUMBERED))
def test_around_a_set_of_cuts_is_as_from_the_intact_network(name):
    """One unit cut otherwise than in the base: more of it, less, or not at all."""
    case = removal.small(name)
    if not case.units:
        return
    joint, base = several(case)
    _, other = several(case, 1)
    around = Around(case.replay, base)
    outputs = dict(around.run((case.x,), {}))
    whole = dict(case.replay.run((case.x,), {joint: cut(case.replay, joint, base)}))
    assert torch.equal(outputs[None], whole[joint])
    for unit in case.units:
        own = slice(unit.first, unit.first + unit.channels)
        for there in (other[own], np.zeros(unit.channels, bool)):
            gone = base.copy()
            gone[own] = there
            one = Joint((unit.name,))
            found = dict(around.run((case.x,), {one: cut(around, one, gone)}))[one]
            wanted = dict(case.replay.run((case.x,), {joint: cut(case.replay, joint, gone)}))[joint]
            assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "vgg16_bn"])
def test_families(name):
    case = removal.family(name, 32)
    assert compare(case) <= removal.TOLERANCE
    there, here = costs(case)
    assert here == there


@pytest.mark.complete
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_family_with_its_costs(name):
    case = removal.family(name)
    for seed in range(2):
        error = compare(case, seed)
        there, here = costs(case, seed)
        print(f"{name}: error {error:.1e} of the effect; MACs, parameters {here}, counted {there}")
        assert error <= removal.TOLERANCE
        assert here == there

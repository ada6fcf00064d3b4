"""Removal is removal: a lesion's logits are those of the physically smaller network.

The whole comparison takes a while and is a command: `pytest -m complete -s tests/test_removal.py`.
"""

from collections import Counter

import numpy as np
import pytest
import removal
import torch
from cutting import cut
from removal import SLICING, TOLERANCE, TORCH_PRUNING, Removal
from small_networks import NETWORKS, one_dimension
from torchvision.models import ShuffleNetV2

from lesion.network.anatomy import Unit
from lesion.zoo.networks import CifarResNet

FAMILIES = (
    "resnet18", "resnet50", "vgg16_bn", "alexnet", "squeezenet1_1", "densenet121", "googlenet",
    "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "efficientnet_b0", "regnet_y_400mf",
    "convnext_tiny", "resnext50_32x4d", "shufflenet_v2_x0_5", "resnet20", "resnet56",
)  # fmt: skip
# channel numbers stand in their forward, which slicing leaves alone
NUMBERED = {"padded_and_sliced", "one_channel_expanded"}
FEW = (
    ("resnet18", ("layer1.0.conv1", "layer2.0.conv2", "layer4.1.conv1")),
    ("squeezenet1_1", ("features.0", "features.3.expand1x1", "features.12.expand3x3")),
    ("mobilenet_v3_small", ("features.0.0", "features.1.block.1.fc1", "features.4.block.0.0")),
    ("convnext_tiny", ("features.0.0", "features.3.1.block.3")),
    ("shufflenet_v2_x0_5", ("conv1.0", "stage2.0.branch1.2", "stage2.1.branch2.5", "conv5.0")),
    ("resnet20", ("conv1", "layer2.0.conv1", "layer3.2.conv1")),
)  # fmt: skip


def sliced(case: removal.Case, unit: Unit) -> str:
    """Why Torch-Pruning 1.6.1 does not give the smaller network; "" where it does."""
    readers = (
        layer for layer in case.dissection.anatomy.layers if set(layer.reads) & set(unit.labels)
    )
    if any(layer.groups > 1 and not layer.depthwise for layer in readers):
        return "takes the first group's positions in every group that reads them"
    if isinstance(case.network, ShuffleNetV2):
        return "divides by zero at a shuffle"
    if isinstance(case.network, CifarResNet) and unit.kind == "coupled":
        return "does not follow channels through a padded shortcut"
    return ""


def compare(case: removal.Case, units: list[Unit], seeds: int = 1) -> list[Removal]:
    """Units without a few random sets of their channels each."""
    return [one for unit in units for one in compare_unit(case, unit, seeds)]


def compare_unit(case: removal.Case, unit: Unit, seeds: int) -> list[Removal]:
    """So many random sets, and some more where all their channels are dead in these images."""
    reference = SLICING if sliced(case, unit) else TORCH_PRUNING
    found: list[Removal] = []
    for dropped in removal.drops(unit, case.dissection.anatomy.channels, seeds + 8):
        found.append(removal.removal(case, unit, dropped, reference))
        if len(found) >= seeds and any(one.at != "nothing" for one in found):
            break
    return found


def check(found: list[Removal]) -> None:
    assert found, "nothing was compared"
    for one in found:
        assert one.error <= TOLERANCE, f"{one.unit.name}: {one.error:.1e} at the {one.at}"
        assert one.parameters[0] == one.parameters[1], f"{one.unit.name}: {one.parameters}"
    seen = {one.unit.name for one in found if one.at != "nothing"}
    assert seen == {one.unit.name for one in found}, "some removal had no effect at all"


def report(name: str, found: list[Removal]) -> str:
    units = {one.unit.name: one for one in found}.values()
    kinds = dict(Counter(one.unit.kind for one in units))
    references = dict(Counter(one.reference for one in units))
    worst = max(one.error for one in found)
    at = dict(Counter(one.at for one in found))
    return f"{name}: units {kinds}, references {references}, compared at {at}, worst {worst:.1e}"


@pytest.mark.parametrize(("name", "layers"), FEW)
def test_a_few_units_of_each_kind_of_network(name, layers):
    case = removal.family(name)
    anatomy = case.dissection.anatomy
    check(compare(case, [anatomy.unit[anatomy.layer[layer].unit] for layer in layers]))


@pytest.mark.complete
@pytest.mark.parametrize("name", FAMILIES)
def test_every_unit(name):
    case = removal.family(name)
    found = compare(case, case.units, seeds=2)
    print("\n" + report(name, found), end=" ")
    check(found)
    assert {one.unit.name for one in found} == {unit.name for unit in case.units}


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in NUMBERED])
def test_every_unit_of_the_small_networks(name):
    case = removal.small(name)
    found = [
        removal.removal(case, unit, dropped)
        for unit in case.units
        for dropped in removal.drops(unit, case.dissection.anatomy.channels, seeds=2)
    ]
    check(found)


def test_a_removal_that_the_logits_do_not_show_is_compared_at_the_consumers():
    network = one_dimension()
    case = removal.case(network, *network.shape)
    network.d.bias -= 100.0  # no ReLU behind it lets anything through
    (unit,) = (unit for unit in case.units if unit.name == "a")
    (dropped,) = removal.drops(unit, case.dissection.anatomy.channels)
    found = removal.removal(removal.again(case), unit, dropped)
    assert found.at == "consumers"
    assert found.error <= TOLERANCE


@torch.no_grad()
def test_a_channel_that_was_expanded_is_zero_in_all_its_copies():
    case = removal.small("one_channel_expanded")
    unit = case.dissection.anatomy.unit["a"]
    dropped = np.zeros(case.dissection.anatomy.channels, bool)
    dropped[[unit.first, unit.first + 2]] = True
    lesion = removal.whole(unit, dropped)
    found = dict(case.replay.run((case.x,), {lesion: cut(case.replay, lesion, dropped)}))
    keep = torch.tensor([0.0, 1.0, 0.0, 1.0]).double().reshape(-1, 1, 1)
    with case.network.a.register_forward_hook(lambda _module, _inputs, output: output * keep):
        expected = case.network(case.x)  # no norm reads the channels, so that zeros are removal
    effect = (expected - found[None]).abs().max()
    assert (found[lesion] - expected).abs().max() <= TOLERANCE * effect
    assert effect > 0

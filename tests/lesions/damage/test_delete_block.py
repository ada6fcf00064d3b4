"""Deleted blocks: a replayed lesion gives what a really shortened network gives, and costs as
much."""

from functools import cache

import compressible
import pytest
import torch
from shortened import BLOCKS, FAMILIES, assert_shortened, opened, planned, shortened

from lesion.engine.base import Cut
from lesion.engine.whole import Whole
from lesion.lesions.damage import damage
from lesion.sweeps.whole_network import Copies


@cache
def deleting(family):
    network, x, dissection = opened(family)
    edits, skipped = planned(family, "delete_block", [1])
    return network, x, dissection, edits, skipped


@pytest.mark.parametrize("family", FAMILIES)
def test_replays_and_savings_are_those_of_the_shortened_network(family):
    _, _, dissection, edits, _ = deleting(family)
    assert [lesion.target for lesion in edits] == BLOCKS[family]
    assert_shortened(family, {lesion: (edit, [lesion.target]) for lesion, edit in edits.items()})
    assert len({edit.key for edit in edits.values()}) == len(edits)
    if family != "densenet":
        savings = [damage("delete_block").footprint(dissection.anatomy, each) for each in edits]
        assert all(set(saving.shares.values()) == {1.0} for saving in savings)


@torch.no_grad()
@pytest.mark.parametrize("family", ["cifar", "inverted", "convnext", "transformer"])
def test_whole_passes_and_copies_lack_the_block_too(family):
    network, x, dissection, edits, _ = deleting(family)
    whole, copies = Whole(dissection), Copies(dissection)
    for lesion, edit in edits.items():
        if lesion.target.endswith("attention"):  # which reads weights of a module that never runs
            assert copies.obstacle(edit).endswith("the sum in " + lesion.target.rpartition(".")[0])
            continue
        assert whole.obstacle(edit) == copies.obstacle(edit) == ""
        wanted = shortened(family, network, lesion.target)(x)
        ((_, output),) = whole.run((x,), {lesion: Cut(edit)}, intact=False)
        torch.testing.assert_close(output, wanted)
        torch.testing.assert_close(copies.copy(edit)(x), wanted)


def test_layers_outside_blocks_have_a_reason():
    reasons = {
        family: {skip.target: skip.reason for skip in deleting(family)[4]}
        for family in ("bottleneck", "inverted", "cifar")
    }
    stays = "it projects the stream beside a block, and stays without the block"
    alone = "no stream passes beside it that could take its place"
    assert reasons["cifar"] == {"conv1": alone, "fc": alone}
    assert {name for name, reason in reasons["bottleneck"].items() if reason == stays} == {
        f"layer{stage}.0.downsample.0" for stage in (1, 2, 3, 4)
    }
    without_shortcut = {"features.2.conv.0.0", "features.4.conv.2", "features.0.0"}
    assert {reasons["inverted"][name] for name in without_shortcut} == {alone}


def test_layers_choose_the_blocks_that_hold_them():
    anatomy, kind = opened("cifar")[2].anatomy, damage("delete_block")
    targets, skipped = kind.targets(anatomy, "free", ["layer2.*conv2", "fc"])
    assert [target.name for target in targets] == ["layer2.0", "layer2.1"]
    assert [skip.target for skip in skipped] == ["fc"]


def test_a_plain_network_has_none():
    anatomy = compressible.opened("vgg")[2].anatomy
    targets, skipped = damage("delete_block").targets(anatomy)
    assert not targets and len(skipped) == len(anatomy.layers)

"""Perforated layers: as in a network that is hooked, and what they cost."""

import pickle

import numpy as np
import pytest
import torch
from compressible import opened
from hooked import through

from lesion.compression.perforation import computed, nearest
from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.lesions.damage import Settings, damage, plan
from lesion.lesions.lesion import seed_of
from lesion.sweeps.whole_network import Copies


def copied(value, stays):
    """Position by position."""
    source = np.array(np.unravel_index(nearest(stays).numpy(), stays.shape)).T
    other = torch.empty_like(value)
    for place, (i, j) in zip(np.ndindex(stays.shape), source, strict=True):
        other[:, :, place[0], place[1]] = value[:, :, i, j]
    return other


@torch.no_grad()
@pytest.mark.parametrize("family", ["resnet", "depthwise"])
@pytest.mark.parametrize("name", ["perforation", "perforation:mask=random"])
def test_replays_are_the_hooked_network(family, name):
    network, x, dissection = opened(family)
    kind, anatomy = damage(name), dissection.anatomy
    targets, skipped = kind.targets(anatomy)
    assert {each.reason for each in skipped} <= {
        "it is no convolution", "it is transposed", "it has one output position"
    }  # fmt: skip
    lesions, _ = plan(anatomy, dict.fromkeys(targets[:3]), (0.5, 0.75), Settings(), kind)
    assert len(lesions) == 6
    cuts = {lesion: Cut(kind.edit(dissection, lesion, None)) for lesion in lesions}
    outputs = dict(Replay(dissection).run((x,), cuts))
    for lesion in lesions:
        layer = anatomy.layer[lesion.target]
        seed = seed_of(0, layer.name)
        stays = computed(layer.size, lesion.amount, kind.mask, seed)
        with through(network, layer.name, lambda y, stays=stays: copied(y, stays), after=True):
            wanted = network(x)
        effect = float((wanted - outputs[None]).abs().max())
        assert effect > 0
        assert float((outputs[lesion] - wanted).abs().max()) < 1e-9 * effect + 1e-12
        edit = pickle.loads(pickle.dumps(cuts[lesion].edit))
        assert edit.key == cuts[lesion].edit.key
        assert torch.equal(Copies(dissection).copy(edit)(x), wanted)
        saving = kind.footprint(anatomy, lesion)
        share = stays.mean()
        assert saving.left.macs == saving.left.dense_macs == round(share * layer.macs)
        assert saving.left.bits == saving.whole.bits

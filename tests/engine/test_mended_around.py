"""Rates that move a little where every network is mended: beside mending each as a whole."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lesion.engine import mend
from lesion.engine.base import Cut
from lesion.lesions.lesion import Joint
from lesion.subject.subject import Subject
from lesion.sweeps.workers import Opening


@pytest.fixture(autouse=True)
def every_position(monkeypatch):
    """All positions of all images are rows."""
    monkeypatch.setattr(mend, "MOST", 10**6)


def make(normed=True):
    """Three convolutions with units a, b, c, with or without batch norm, and a classifier."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, width in ((1, 6), (6, 8), (8, 5)):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=not normed)]
        layers += [nn.BatchNorm2d(width)] if normed else []
        layers += [nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.double().eval()


def opened(recover, normed=True):
    numbers = torch.Generator().manual_seed(1)
    scored, train = (
        TensorDataset(
            torch.randn(count, 1, 6, 6, generator=numbers, dtype=torch.float64),
            torch.randint(0, 3, (count,), generator=numbers),
        )
        for count in (8, 64)
    )
    return Opening(Subject.of(make(normed), scored, train=train), recover)()


def without(worker, **gone):
    """The labels of units, by their layers' places, that fall."""
    anatomy = worker.dissection.anatomy
    units = [unit for unit in anatomy.units if unit.kind == "free"]
    dropped = np.zeros(anatomy.channels, bool)
    for letter, channels in gone.items():
        first = units["abc".index(letter)].first
        dropped[[first + channel for channel in channels]] = True
    return dropped


def unit(worker, letter):
    units = [each.name for each in worker.dissection.anatomy.units if each.kind == "free"]
    return units["abc".index(letter)]


def outputs(worker, engine, target, dropped):
    """What an engine gives for labels that fall, named by some units."""
    tensors = worker.dissection.call.tensors(worker.subject.images.batch(range(8)))
    cut = {target: Cut(engine.edit(target.at, dropped))}
    with torch.no_grad():
        return next(iter(engine.run(tensors, cut, False)))[1]


def whole(worker, dropped):
    """The outputs where everything is mended, in order."""
    units = [each for each in worker.dissection.anatomy.units if each.kind == "free"]
    fallen = [u.name for u in units if dropped[u.first : u.first + u.channels].any()]
    return outputs(worker, worker.engine, Joint(tuple(fallen)), dropped)


@pytest.mark.parametrize(
    ("recover", "normed"),
    [
        ("reconstruct,ridge=0", True), ("reconstruct,ridge=0", False), ("fold", True),
        ("fold", False), ("reconstruct,ridge=0,bn", True),
    ],
)  # fmt: skip
def test_where_nothing_moves_it_is_the_mended_network(recover, normed):
    worker = opened(recover, normed)
    middle = without(worker, a=(1, 2), b=(0, 3), c=(4,))
    around = worker.engine.around(middle)
    tensors = worker.dissection.call.tensors(worker.subject.images.batch(range(8)))
    with torch.no_grad():
        ((_, here),) = around.run(tensors, {}, True)
    assert torch.allclose(here, whole(worker, middle), atol=1e-10)
    if recover == "reconstruct,ridge=0":
        for letter in "abc":
            moved = outputs(worker, around, Joint((unit(worker, letter),)), middle)
            assert torch.allclose(moved, here, atol=1e-8)


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("last", [(), (4,), (0, 2), (0, 1, 4)])
def test_the_last_unit_moves_as_if_all_were_mended(last, normed):
    """Nothing behind its consumer would be fitted anew."""
    worker = opened("reconstruct,ridge=0", normed)
    around = worker.engine.around(without(worker, a=(1, 2), b=(0, 3), c=(2, 4)))
    there = without(worker, a=(1, 2), b=(0, 3), c=last)
    moved = outputs(worker, around, Joint((unit(worker, "c"),)), there)
    assert torch.allclose(moved, whole(worker, there), atol=1e-8)


def test_only_what_reads_a_unit_changes():
    worker = opened("reconstruct")
    around = worker.engine.around(without(worker, a=(1, 2), b=(0, 3)))
    edit = around.edit(Joint((unit(worker, "b"),)).at, without(worker, a=(1, 2), b=(0, 3, 5)))
    changed = {
        name
        for name, value in edit.parameters.items()
        if not torch.equal(value, around.middle.parameters[name])
    }
    assert changed == {"6.weight", "7.running_mean"}


def test_what_it_gives_is_near_what_mending_all_would():
    """Nearer than leaving the consumer as it was."""
    worker = opened("reconstruct")
    around = worker.engine.around(without(worker, a=(1,), b=(0, 3)))
    there = without(worker, a=(1, 4), b=(0, 3))
    moved = outputs(worker, around, Joint((unit(worker, "a"),)), there)
    full = whole(worker, there)
    plain = opened("")
    unmended = outputs(plain, plain.engine, Joint((unit(plain, "a"), unit(plain, "b"))), there)
    assert (moved - full).abs().mean() < 0.25 * (unmended - full).abs().mean()


@pytest.mark.parametrize("recover", ["bn", "bias"])
def test_without_least_squares_there_is_no_faster_way(recover):
    worker = opened(recover)
    assert worker.engine.around(without(worker, a=(1,))) is None


def test_where_nothing_falls_there_is_nothing_to_go_round():
    worker = opened("reconstruct")
    assert worker.engine.around(without(worker)) is None


@pytest.mark.parametrize("normed", [True, False])
def test_least_squares_after_a_constant_are_those_without_it(normed):
    """The constant that a batch norm holds by then is counted once."""
    gone = {"a": (1, 2), "b": (0, 3)}
    both, alone = (
        opened(way, normed) for way in ("bias,reconstruct,ridge=0", "reconstruct,ridge=0")
    )
    expected = whole(alone, without(alone, **gone))
    assert torch.allclose(whole(both, without(both, **gone)), expected, atol=1e-8)

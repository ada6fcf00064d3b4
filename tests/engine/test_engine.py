"""Replay is exact: each prediction of a sweep is the plain loop's, and no setting changes it."""

import networks
import numpy as np
import plain_loop
import pytest
import torch
from cutting import cut
from torch import nn

from lesion.engine.base import Engine
from lesion.engine.memory import peak
from lesion.engine.replay import Replay
from lesion.lesions.amounts import RATIOS
from lesion.lesions.edits import edges
from lesion.lesions.lesion import Lesion, Target
from lesion.network.dissect import dissect
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.prepare import prepare

TIE = 1e-4  # logits that differ by less, in parts of the largest, may swap by float noise


class Listening(Engine):
    """An engine that remembers the predictions it hands out."""

    def __init__(self, engine):
        self.engine, self.predictions = engine, {}

    def fit(self, fastest, room):
        return self.engine.fit(fastest, room)

    def run(self, tensors, cuts, intact=True, keys=None):
        for lesion, logits in self.engine.run(tensors, cuts, intact, keys):
            self.predictions.setdefault(lesion, []).extend(logits.argmax(1).tolist())
            yield lesion, logits


# zeros in weights are no removal in attention and its stream: tests/network/rules/test_products.py
LAYERS = {"vit": ("*.mlp.0",)}


def compare(network, data, path, ratios, layers=()):
    """Predictions of a full sweep compared, how many differ from the plain loop's, and how far."""
    choices = Choices(ratios=ratios, units="all", layers=layers, holdout=0)
    ready = prepare(Subject.of(network, data), path, choices, Full())
    ready.worker.engine = listening = Listening(ready.worker.engine)
    list(ready)
    order = list(ready.study.header.order)
    images, labels = (tensor[order] for tensor in data.tensors)
    compared, differ, gap = 0, 0, 0.0
    for lesion, edit in ready.lesions.items():
        zeros = plain_loop.places(network, ready.study.anatomy, lesion, edit.dropped)
        plain = plain_loop.logits(network, images, zeros)
        count, largest = plain_loop.differences(plain, listening.predictions[lesion])
        compared, differ, gap = compared + len(images), differ + count, max(gap, largest)
        stored = ready.study.outcomes(lesion)
        right = torch.tensor(listening.predictions[lesion]) == labels
        assert np.array_equal(stored["top1"], right.numpy())
    ready.study.close()
    return compared, differ, gap


def moved(network, data, path):
    """The share of the predictions at 50 % that are not the intact network's."""
    with torch.no_grad():
        own = network(data.tensors[0]).argmax(1)
    ready = prepare(Subject.of(network, data), path, Choices((0.5,), holdout=0), Full())
    list(ready)
    agreement = [ready.study.outcomes(lesion)["agreement"].mean() for lesion in ready.lesions]
    ready.study.close()
    return len(own.unique()), 1 - float(np.mean(agreement))


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_prediction_is_the_plain_loops(family, tmp_path):
    network, data = networks.FAMILIES[family](24)
    compared, differ, gap = compare(
        network, data, tmp_path / "study", (0.1, 0.5, 0.9), LAYERS.get(family, ())
    )
    print(f"{family}: {compared} predictions, {differ} differ, by {gap:.1e} at most")
    assert compared >= 100
    assert gap < TIE and differ <= compared / 1000


@pytest.mark.complete
@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_prediction_is_the_plain_loops_at_nine_ratios(family, tmp_path):
    network, data = networks.FAMILIES[family](300)
    compared, differ, gap = compare(
        network, data, tmp_path / "study", RATIOS, LAYERS.get(family, ())
    )
    print(f"{family}: {compared} predictions, {differ} differ, by {gap:.1e} at most")
    assert gap < TIE and differ <= compared / 1000


def test_the_comparison_can_fail(tmp_path):
    """The lesions move many predictions, and zeros in the weights alone give others."""
    network, data = networks.FAMILIES["densenet"](24)
    classes, share = moved(network, data, tmp_path / "study")
    assert classes >= 5 and share > 0.2
    layer = "features.denseblock1.denselayer1.conv2"
    channels = plain_loop.lowest(network, layer, 4)
    removed, weights_only = (
        plain_loop.logits(network, data.tensors[0], zeros)
        for zeros in (
            plain_loop.along(network, layer, channels),
            [(network.get_submodule(layer), channels)],
        )
    )
    assert (removed - weights_only).abs().max() > 100 * TIE * removed.abs().max()


@pytest.fixture(scope="module")
def ready():
    """A ResNet in float64, its images, an engine, and the labels of three lesions a unit."""
    network, data = networks.resnet8(6)
    network.double()
    images = data.tensors[0].double()
    found = dissect(network, lambda net, batch: net(batch), images[:2])
    dropped = {}
    for unit in found.anatomy.units[:3]:
        for count in (1, 2, 5):
            gone = np.zeros(found.anatomy.channels, bool)
            gone[unit.first : unit.first + count] = True
            key = Lesion(unit.name, unit.kind, "l1", count / 10, count, unit.channels)
            dropped[key] = gone
    return network, images, found, dropped


def answers(engine, images, dropped):
    with torch.no_grad():
        cuts = {key: cut(engine, key, gone) for key, gone in dropped.items()}
        return dict(engine.run((images,), cuts))


def test_the_intact_logits_come_last_and_are_the_networks(ready):
    network, images, found, dropped = ready
    order = list(answers(Replay(found), images, dropped))
    assert order[-1] is None and set(order[:-1]) == set(dropped)
    with torch.no_grad():
        plain = network(images)
    assert torch.allclose(answers(Replay(found), images, {})[None], plain, atol=1e-12)


def test_order_company_and_folding_change_nothing(ready):
    _, images, found, dropped = ready
    want = answers(Replay(found, fold=False), images, dropped)
    backwards = answers(Replay(found), images, dict(reversed(dropped.items())))
    for lesion, gone in dropped.items():
        alone = answers(Replay(found), images, {lesion: gone})[lesion]
        assert torch.allclose(alone, want[lesion], atol=1e-10)
        assert torch.equal(alone, backwards[lesion])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_batch_changes_nothing(ready, batch):
    _, images, found, dropped = ready
    want = answers(Replay(found), images, dropped)
    parts = [answers(Replay(found), part, dropped) for part in images.split(batch)]
    for lesion, whole in want.items():
        assert torch.allclose(torch.cat([part[lesion] for part in parts]), whole, atol=1e-10)


def test_lesions_that_remove_the_same_share_one_replay(ready, monkeypatch):
    _, images, found, dropped = ready
    lesion, gone = next(iter(dropped.items()))
    twin = Lesion(lesion.target, lesion.kind, "l2", 0.1, 1, lesion.channels)
    engine, replays = Replay(found), []
    replay = engine._replay
    monkeypatch.setattr(engine, "_replay", lambda *args: replays.append(1) or replay(*args))
    logits = answers(engine, images, {lesion: gone, twin: gone})
    assert len(replays) == 1 and torch.equal(logits[lesion], logits[twin])


def test_a_branch_is_cut_where_its_own_channels_arrive(ready):
    """The second convolution of a block: its part in the sum vanishes, the shortcut's stays."""
    network, images, found, _ = ready
    lesion = Lesion("layer2.0.conv2", "branch", "l1", 0.5, 4, 32)
    gone = np.zeros(found.anatomy.channels, bool)
    gone[list(found.anatomy.made_by(lesion.target)[:4])] = True
    zeros = plain_loop.along(network, lesion.target, np.arange(4))
    want = plain_loop.logits(network, images, zeros)
    got = answers(Replay(found), images, {lesion: gone})[lesion]
    assert torch.allclose(got, want, atol=1e-10)


class DeadEnd(networks.Plain):
    """`Plain` with a layer whose result is thrown away, and one that reads no image."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Conv2d(8, 4, 1)
        self.table = nn.Parameter(torch.randn(5, 4))
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        self.unused(torch.relu(self.norm(self.a(x))))
        return super().forward(x) + self.second(torch.relu(self.first(self.table))).sum(0)


def test_layers_that_no_image_reaches_or_no_output_reads(tmp_path):
    _, data = networks.plain(20)
    torch.manual_seed(0)
    network = networks.spread(DeadEnd(), data.tensors[0])
    ready = prepare(
        Subject.of(network, data), tmp_path / "study", Choices((0.5,), holdout=0), Full()
    )
    list(ready)
    assert [lesion.target for lesion in ready.lesions] == ["a", "b", "first"]
    tied = "its channels are the network's outputs"
    assert {(skip.target, skip.reason) for skip in ready.study.skipped} >= {
        ("fc", tied), ("second", tied)
    }  # fmt: skip
    images = data.tensors[0][list(ready.study.header.order)]
    own = plain_loop.logits(network, images).argmax(1)
    for lesion, edit in ready.lesions.items():
        zeros = plain_loop.places(network, ready.study.anatomy, lesion, edit.dropped)
        agree = plain_loop.logits(network, images, zeros).argmax(1) == own
        assert np.array_equal(ready.study.outcomes(lesion)["agreement"], agree.numpy())
    ready.study.close()


def test_edges_of_a_unit_are_those_that_carry_its_labels(ready):
    _, _, found, _ = ready
    (edge,) = edges(found, Target("layer1.0.conv1", "free"))
    unit = found.anatomy.unit["layer1.0.conv1"]
    assert edge.role == "read" and set(edge.labels.reshape(-1).tolist()) == set(unit.labels)


def test_peak_is_twice_what_is_alive_at_most(ready):
    """Replay needs as much again; the intact run holds a block's input, and two values more."""
    _, images, found, _ = ready
    engine = Replay(found)
    alive, most, step = {engine.program.inputs[0]}, 0, 0
    last = {}
    for place, one in enumerate(engine.program.steps):
        for index in (one.index, *one.inputs):
            last[index] = place
    for step, one in enumerate(engine.program.steps):
        alive.add(one.index)
        most = max(most, sum(found.sizes[index] for index in alive))
        alive = {index for index in alive if last[index] > step}
    assert peak(engine.program, found.sizes) == 2 * most
    assert most >= 3 * 16 * 16 * 16 * images.element_size()

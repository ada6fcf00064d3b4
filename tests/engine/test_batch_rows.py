"""Some images of a batch alone: what the whole batch gives, by a replay of no more than these."""

from functools import cache
from itertools import pairwise

import networks
import numpy as np
import pytest
import torch
from cutting import cut
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from lesion.engine.base import Cut
from lesion.engine.batch_rows import Trial, rows_at
from lesion.engine.replay import Replay
from lesion.lesions.edits import Channels
from lesion.lesions.lesion import Lesion
from lesion.network.dissect import dissect
from lesion.network.graph import Ref
from lesion.network.program import Program, Step

IMAGES = 6
SOME = [[0], [5], [1, 4], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]


class Counting(networks.Plain):
    """Counts its images behind the layers that are cut, and multiplies the count."""

    def forward(self, x):
        x = torch.relu(self.norm(self.a(x)))
        images = x.shape[0]
        x = torch.relu(self.b(x)).reshape(images * 8, 9).mean(1)
        return self.fc(x.reshape(images, 8)) + x.new_zeros(images, 3)


class Windowed(networks.Plain):
    """Convolves windows of its images, which are folded into the batch axis."""

    def __init__(self):
        super().__init__()
        self.c, self.d = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x, images = torch.relu(self.d(torch.relu(self.norm(self.a(x))))), x.shape[0]
        windows = x.reshape(images, 8, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5)
        x = self.c(torch.relu(self.b(windows.reshape(images * 4, 8, 4, 4))))
        return self.fc(x.reshape(images, 4, 8).mean(1))


class Numbered(networks.Plain):
    """Numbers its images, so that a row's value depends on where in the batch it stands."""

    def forward(self, x):
        places = torch.arange(x.shape[0], device=x.device)
        x = torch.relu(self.b(torch.relu(self.norm(self.a(x))))).mean((2, 3))
        return self.fc(x)[places]


def small(kind):
    network, data = networks.plain(IMAGES, kind=kind)
    return network, data.tensors[0]


def family(name):
    network, data = networks.FAMILIES[name](IMAGES)
    return network, data.tensors[0]


def swin():
    torch.manual_seed(0)
    x = torch.randn(IMAGES, 3, 32, 32)
    network = models.SwinTransformer([2, 2], 16, [2, 2], [2, 4], [4, 4], num_classes=10)
    return networks.spread(network, x), x


def shufflenet():
    torch.manual_seed(0)
    x = torch.randn(IMAGES, 3, 64, 64)
    network = models.ShuffleNetV2([2, 2, 2], [8, 16, 32, 64, 64], num_classes=10)
    return networks.spread(network, x), x


CASES = {
    "vgg": lambda: family("vgg"),
    "resnet": lambda: tuple(networks.resnet8(IMAGES)),
    "densenet": lambda: family("densenet"),
    "mobilenet": lambda: family("mobilenet"),
    "vit": lambda: family("vit"),
    "swin": swin,
    "shufflenet": shufflenet,
    "plain": lambda: small(networks.Plain),
    "counting": lambda: small(Counting),
    "windowed": lambda: small(Windowed),
    "numbered": lambda: small(Numbered),
}
WHOLE = {  # cuts at which rows alone do not do
    "windowed": {"b", "d"},
    "numbered": {"a", "b"},
    "swin": {f"features.{stage}.{block}.attn.qkv" for stage in (1, 3) for block in (0, 1)},
}


@cache
def opened(name):
    """The images in float64, the dissection, and a lesion of half of each unit, with its labels."""
    network, x = CASES[name]()
    x = (x if isinstance(x, torch.Tensor) else x.tensors[0]).double()
    found = dissect(network.double(), lambda net, batch: net(batch), x[:2])
    dropped = {}
    for unit in found.anatomy.units:
        if unit.kind != "tied" and unit.channels > 1:
            gone = np.zeros(found.anatomy.channels, bool)
            gone[unit.first : unit.first + unit.channels // 2] = True
            key = Lesion(unit.name, unit.kind, "l1", 0.5, unit.channels // 2, unit.channels)
            dropped[key] = gone
    return x, found, dropped


def outputs(engine, x, cuts, intact=False):
    with torch.no_grad():
        return dict(engine.run((x,), cuts, intact))


@pytest.fixture
def replayed(monkeypatch):
    """How many images each replay was run on, in order."""
    found, replay = [], Replay._replay

    def counting(engine, *args):
        outputs = replay(engine, *args)
        found.append(len(outputs))
        return outputs

    monkeypatch.setattr(Replay, "_replay", counting)
    return found


@pytest.mark.parametrize("name", CASES)
def test_rows_give_what_the_batch_gives_and_no_other_image_is_replayed(name, replayed):
    x, found, dropped = opened(name)
    engine = Replay(found)
    want = outputs(engine, x, {one: cut(engine, one, gone) for one, gone in dropped.items()})
    intact = outputs(engine, x, {}, intact=True)[None]
    moved = 0
    for place, (lesion, gone) in enumerate(dropped.items()):
        chosen = SOME[place % len(SOME)]
        replayed.clear()
        (got,) = outputs(engine, x, {lesion: cut(engine, lesion, gone, np.array(chosen))}).values()
        assert torch.allclose(got, want[lesion][chosen], rtol=1e-9, atol=1e-9)
        whole = lesion.target in WHOLE.get(name, ())
        assert replayed == [IMAGES if whole else len(chosen)]
        moved += int(((got - intact[chosen]).abs() > 1e-6).any())
    assert moved >= len(dropped) - 1 >= 1  # the lesions do something


@pytest.mark.parametrize("name", ["plain", "counting", "windowed", "numbered"])
@settings(max_examples=15, deadline=None)
@given(
    rows=st.sets(st.integers(0, IMAGES - 1), min_size=1),
    most=st.integers(1, IMAGES),
    lesion=st.integers(0, 3),
)
def test_any_rows_in_pieces_of_any_size(name, rows, most, lesion):
    x, found, dropped = opened(name)
    key, gone = list(dropped.items())[lesion % len(dropped)]
    engine = Replay(found, most=most)
    (want,) = outputs(engine, x, {key: cut(engine, key, gone)}).values()
    (got,) = outputs(engine, x, {key: cut(engine, key, gone, np.array(sorted(rows)))}).values()
    assert torch.allclose(got, want[sorted(rows)], rtol=1e-9, atol=1e-9)


def test_lesions_on_rows_of_their_own_stand_beside_each_other():
    x, found, dropped = opened("resnet")
    engine = Replay(found)
    want = outputs(engine, x, {one: cut(engine, one, gone) for one, gone in dropped.items()}, True)
    rows = {one: np.array(SOME[place % 5]) for place, one in enumerate(dropped)}
    cuts = {one: cut(engine, one, gone, rows[one]) for one, gone in dropped.items()}
    got = outputs(engine, x, cuts, True)
    assert list(got)[-1] is None and torch.equal(got[None], want[None])
    for one in dropped:
        assert torch.allclose(got[one], want[one][rows[one]], rtol=1e-9, atol=1e-9)


def test_no_more_rows_at_once_than_fit(replayed):
    x, found, dropped = opened("plain")
    key, gone = next(iter(dropped.items()))
    engine = Replay(found, most=2)
    outputs(engine, x, {key: cut(engine, key, gone, np.array([0, 1, 2, 4, 5]))})
    assert replayed == [2, 2, 1]


def test_one_example_image_does_not_tell_and_all_images_are_replayed(replayed):
    network, x = small(networks.Plain)
    with torch.no_grad():
        found = dissect(network, lambda net, batch: net(batch), x[:1])
    engine = Replay(found)
    assert Trial.of(engine.program, [x[:1]]).ways == {}
    unit = found.anatomy.units[0]
    gone = np.arange(found.anatomy.channels) < 4
    key = Lesion(unit.name, unit.kind, "l1", 0.5, 4, 8)
    (want,) = outputs(engine, x, {key: cut(engine, key, gone)}).values()
    (got,) = outputs(engine, x, {key: cut(engine, key, gone, np.array([1, 3]))}).values()
    assert torch.equal(got, want[[1, 3]]) and replayed == [IMAGES, IMAGES]


# --- how values go with the batch


def way(op, *args):
    """How what an operation makes of the images goes with the batch."""
    x = torch.arange(12.0).reshape(2, 3, 2) + 1
    program = Program((Step(1, "op", op, (Ref(0), *args), {}),), (0,), 1)
    return Trial.of(program, [x]).ways.get(1)


@pytest.mark.parametrize(
    ("op", "found"),
    [
        (lambda x: 2 * x, "image"),
        (lambda x: x.flatten(1), "image"),
        (lambda x: x > 3, "image"),
        (lambda x: x.new_zeros(len(x), 5), "image"),
        (lambda x: x.shape[0], "count"),
        (lambda x: 3 * len(x), "count"),
        (lambda x: x.shape[1], "same"),
        (lambda x: 0, "same"),
        (lambda x: None, "same"),
        (lambda x: torch.ones(3, 3), "same"),
        (lambda x: x.chunk(2, 1), ("image", "image")),
        (lambda x: [x, len(x), 7], ("image", "count", "same")),
        (lambda x: x.max(1), ("image", "image")),
        (lambda x: x.reshape(-1, 2), None),  # three rows an image
        (lambda x: x.transpose(0, 1), None),  # the images along another axis
        (lambda x: x - x.mean(0), None),  # an image's value depends on the others'
        (lambda x: x.flip(0), None),  # another image's value
        (lambda x: torch.arange(len(x)), None),  # the place counts, not the image
        (lambda x: len(x) ** 2, None),
        (lambda x: len(x) + 1, None),
        (lambda x: float(len(x)), None),
        (lambda x: torch.tensor(len(x)), None),
        (lambda x: [x, x.flip(0)], None),
        (lambda x: x * float("nan"), None),
        (lambda x: torch.where(x > 3, x, -torch.inf), "image"),
        (lambda x: torch.where(x > 3, x, -torch.inf).flip(0), None),
    ],
)
def test_how_a_value_goes_with_the_batch(op, found):
    assert way(op) == found


def test_rows_are_taken_as_values_go():
    x = torch.arange(8.0).reshape(4, 2)
    values = {1: x, 2: 12, 3: "text", 4: (x + 1, 4), 5: x}
    how = {1: "image", 2: "count", 3: "same", 4: ("image", "count")}
    rows = torch.tensor([1, 3])
    found = rows_at(values, how, [1, 2, 3, 4], rows, 4)
    assert torch.equal(found[1], x[[1, 3]]) and torch.equal(found[4][0], x[[1, 3]] + 1)
    assert (found[2], found[3], found[4][1]) == (6, "text", 2)
    assert rows_at(values, how, [1, 5], rows, 4) is None
    assert rows_at(values, how, [], rows, 4) == {}


@given(st.sets(st.integers(0, 29)), st.lists(st.integers(1, 9), min_size=1))
def test_parts_of_a_batch_share_a_lesions_rows_out(rows, sizes):
    whole = Cut(Channels((), np.zeros(3, bool)), np.array(sorted(rows), int))
    ends = np.cumsum([0, *sizes]).clip(max=30)
    ends = np.append(ends[ends < 30], 30)
    found = []
    for start, stop in pairwise(ends.tolist()):
        now = range(start, stop)
        part = whole.within(now)
        assert part.edit is whole.edit
        own = np.arange(len(now)) if part.rows is None else part.rows
        assert part.any == (len(own) > 0)
        assert part.rows is None or len(part.rows) < len(now)  # all of a part need no choice
        found += [start + row for row in own]
        assert Cut(whole.edit).within(now).rows is None
    assert found == sorted(rows)

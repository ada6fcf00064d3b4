"""All that a network gives is followed, however deep it lies."""

from collections import namedtuple
from dataclasses import dataclass

import allocations
import pytest
import torch
from small_networks import conv
from torch import Tensor, nn

from lesion import apply, layers
from lesion.network.dissect import dissect

Pair = namedtuple("Pair", "scores boxes")


@dataclass
class Answer:
    scores: Tensor
    boxes: Tensor


FORMS = {
    "tuple": lambda a, b: (a, b),
    "named": Pair,
    "list": lambda a, b: [a, b],
    "dict": lambda a, b: {"logits": a, "boxes": b},
    "dataclass": Answer,
    "deep": lambda a, b: ((a, [b, None]), {"none": None, "text": "x"}),
}


class TwoHeaded(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form, self.a, self.b, self.c = form, conv(3, 8), conv(8, 6), conv(8, 4)
        self.scores, self.boxes = nn.Linear(6, 5), nn.Linear(4, 3)

    def forward(self, x):
        x = self.a(x).relu()
        scores = self.scores(self.b(x).relu().mean((2, 3)))
        return self.form(scores, self.boxes(self.c(x).relu().mean((2, 3))))


def network(form):
    torch.manual_seed(0)
    return TwoHeaded(FORMS[form]).eval(), torch.randn(2, 3, 6, 6)


@pytest.mark.parametrize("form", FORMS)
def test_both_heads_are_followed_and_both_are_pruned(form):
    net, x = network(form)
    anatomy = layers(net, x)
    assert [layer.name for layer in anatomy.layers] == ["a", "b", "scores", "c", "boxes"]
    assert {unit.name: unit.kind for unit in anatomy.units} == {
        "a": "free", "b": "free", "scores": "tied", "c": "free", "boxes": "tied",
    }  # fmt: skip
    small = apply(allocations.by_channels(anatomy, {"a": [0, 3], "b": [1], "c": [2]}), net, x)
    for layer, fallen in ((net.b, [0, 3]), (net.c, [0, 3]), (net.scores, [1]), (net.boxes, [2])):
        layer.weight.data[:, fallen] = 0
    small.form = net.form = FORMS["tuple"]
    for got, wanted in zip(small(x), net(x), strict=True):
        assert torch.allclose(got, wanted, atol=1e-6)


def test_what_the_score_does_not_depend_on_is_tied_where_lesions_are_measured():
    net, x = network("dict")
    anatomy = dissect(net, lambda module, images: module(images)["logits"], x).anatomy
    assert anatomy.unit["a"].kind == "free"
    assert anatomy.unit["c"].reason == "reaches another output than the one that is scored"

"""Every classification network of torchvision is taken apart and swept, as the table says."""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TABLE = runpy.run_path(str(BENCHMARKS / "torchvision_table.py"))
NAMES = TABLE["names"]()
SMALL = (
    "alexnet", "convnext_tiny", "googlenet", "mnasnet0_5", "mobilenet_v3_small", "regnet_x_400mf",
    "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "vgg11", "vit_b_32",
)  # fmt: skip


@pytest.fixture(scope="module")
def published():
    """The published table: a network's cells by its name."""
    lines = (BENCHMARKS / "torchvision.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def modules_with_filters(name):
    """How many modules are convolutions or linear layers; attention projects once by itself."""
    kinds = [type(module) for module in TABLE["open_network"](name).modules()]
    linear = sum(issubclass(kind, (nn.Conv2d, nn.Linear)) for kind in kinds)
    return linear + kinds.count(nn.MultiheadAttention)


def check(name, published):
    row = TABLE["row"](name)
    assert row.sweep == "4 of 4 measured"
    assert row.free + row.coupled + row.tied == row.layers
    counts = {kind: str(getattr(row, kind)) for kind in ("layers", "free", "coupled", "tied")}
    assert counts == {kind: published[name][kind] for kind in counts}
    assert published[name]["measured by"] == ("whole passes" if row.whole else "replay")
    return row


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_swept_as_published(name, published):
    row = check(name, published)
    assert row.layers == modules_with_filters(name)
    assert row.whole == ""


@pytest.mark.complete
@pytest.mark.parametrize("name", NAMES)
def test_all_networks_are_swept_as_published(name, published):
    check(name, published)


def test_the_published_table_has_all_networks(published):
    assert list(published) == NAMES
    assert len(NAMES) == 80
    assert {row["sweep"] for row in published.values()} == {"4 of 4 measured"}


def test_a_network_that_cannot_be_measured_says_why():
    class OneLayer(nn.Module):
        """Its only layer's filters are the outputs."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 10, 3)

        def forward(self, x):
            return self.conv(x).mean((2, 3))

    row = TABLE["tried"](lambda name: TABLE["row_of"](name, OneLayer(), 8), "outputs")
    assert row.sweep.startswith("SubjectError: Expected a layer that can be cut, got none: conv: ")
    assert "output" in row.sweep


def test_a_network_that_fails_is_a_row():
    def fails(name):
        raise ValueError("no such size\nmore")

    row = TABLE["tried"](fails, "broken")
    assert (row.name, row.sweep) == ("broken", "ValueError: no such size")


def test_same_weights_each_time():
    first, second = (TABLE["open_network"]("squeezenet1_1") for _ in range(2))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_notes_that_say_the_same_are_one():
    notes = ["a.b: cannot be followed", "a.c: cannot be followed", "d: is shared"]
    assert list(TABLE["alike"](notes)) == ["cannot be followed (2 modules)", "is shared (d)"]

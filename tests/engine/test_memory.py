"""Amounts of memory, and how many images fit into them."""

import pytest
import torch

from lesion.engine import memory
from lesion.engine.memory import peak
from lesion.errors import LesionError
from lesion.network.graph import Ref
from lesion.network.program import Program, Step


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1", 1), ("64", 64), ("2K", 2048), ("2k", 2048), ("3M", 3 * 2**20), ("4G", 2**32),
        ("0.5G", 2**29), ("1.5 G", 1610612736), ("1T", 2**40), ("4GB", 2**32), ("4GiB", 2**32),
        (" 10mb ", 10 * 2**20),
    ],
)  # fmt: skip
def test_amounts(text, found):
    assert memory.parse(text) == found


@pytest.mark.parametrize("text", ["", "G", "much", "-1G", "0", "0.1", "nan", "inf", "1e999", "4X"])
def test_no_amounts(text):
    with pytest.raises(LesionError) as caught:
        memory.parse(text)
    said = f"Expected an amount of memory such as 800M or 4G, got '{text}'."
    assert str(caught.value) == said


def test_what_is_free_is_less_than_there_is():
    assert 2**20 < memory.free(torch.device("cpu")) < 2**45


def test_what_is_free_without_proc(monkeypatch):
    monkeypatch.setattr(memory, "Path", lambda _: _Missing())
    assert memory.free(torch.device("cpu")) > 2**20


class _Missing:
    def read_text(self):
        raise FileNotFoundError


def chain(*sizes):
    """A program whose values have these sizes, each read by the next step alone."""
    steps = tuple(
        Step(index, "relu", torch.relu, (Ref(index - 1),), {}) for index in range(1, len(sizes))
    )
    return Program(steps, (0,), len(sizes) - 1), dict(enumerate(sizes))


def test_the_peak_of_a_chain_is_two_neighbours_twice():
    program, sizes = chain(10, 40, 30, 5)
    assert peak(program, sizes) == 2 * (40 + 30)


@pytest.mark.parametrize(
    ("budget", "most", "found"), [(1, 64, 1), (139, 64, 1), (1400, 64, 10), (10**9, 64, 64)]
)
def test_as_many_images_as_fit_and_one_at_least(budget, most, found):
    program, sizes = chain(10, 40, 30, 5)
    assert memory.that_fit(program, sizes, budget, most) == found

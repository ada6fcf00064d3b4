"""A traced network: its anatomy, with the graph and the edges that the engine cuts."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from lesion.network.anatomy import CONSTANT, Anatomy
from lesion.network.blocks import Branch
from lesion.network.graph import Call, Graph
from lesion.network.labels import Edge
from lesion.network.units import Joined


@dataclass(frozen=True)
class Dissection:
    """A traced network: its anatomy, its graph, and the edges where channels are cut.

    reads: the edges of operations that mix channels, with final labels, on the way to the output
        that is scored; other_reads: those on the way to others alone
    flows: for each layer the edges at which its channels, not yet united with others, arrive; a
        depthwise layer on the way follows, so that its bias is not left
    sizes: bytes of each node's value for one image; nodes: where each layer runs
    labels: of each node's value, as the walk gave them; joined: the final one of each
    numbered: units whose channels are laid out by numbers that may be their forward's own
    branches: for each block that is added where it meets its stream
    """

    anatomy: Anatomy
    graph: Graph
    call: Call
    reads: tuple[Edge, ...]
    other_reads: tuple[Edge, ...]
    flows: dict[str, tuple[Edge, ...]]
    sizes: dict[int, int]
    nodes: dict[str, tuple[int, ...]]
    labels: dict[int, Any]
    joined: Joined
    numbered: frozenset[str]
    branches: dict[str, Branch]

    @cached_property
    def final(self) -> dict[int, list[np.ndarray]]:
        """The final labels of each node's value, of several where it has several."""
        several = {
            index: given if isinstance(given, list) else [given]
            for index, given in self.labels.items()
        }
        return {
            index: [
                self.joined.labels(part.numpy().astype(int))
                for part in parts
                if isinstance(part, Tensor)
            ]
            for index, parts in several.items()
        }

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """For each unit the places in `reads` of the edges that read any of its channels."""
        units = sorted(self.anatomy.units, key=lambda unit: unit.first)
        firsts = np.array([unit.first for unit in units])
        readers: dict[str, list[int]] = {unit.name: [] for unit in units}
        for place, edge in enumerate(self.reads):
            labels = np.unique(edge.labels.numpy())
            numbers = np.searchsorted(firsts, labels[labels != CONSTANT], side="right") - 1
            for number in np.unique(numbers).tolist():
                readers[units[number].name].append(place)
        return readers

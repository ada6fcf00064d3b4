"""Labels of channels: one number for each, and what the labels tell on their way.

Every tensor of a network carries an array of labels beside it, one number a position, of size 1
along the axes where the label does not change.  Here are the records in which the walk over the
graph notes what it sees: the layers it meets, the edges where a channel can be cut, and which
labels fall together.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.network.anatomy import CONSTANT
from lesion.network.graph import Graph

FIXED = CONSTANT - 1  # the label of a position whose channel nothing can remove


@dataclass(frozen=True)
class Edge:
    """One operand of one operation and its labels: a place where a channel can be cut.

    role: "read" (the operation mixes channels, or adds one to all others), "norm" (it normalises
        over channels, or is a statistic of them), "carry" (a depthwise layer), "sum", "gate" or
        "meet" (it unites them with others: in a sum, a product or another operation), "output"
    """

    node: int
    argument: int
    labels: Tensor
    role: str


@dataclass
class Making:
    """A layer as the trace meets it: the labels it makes and reads, and what it computes."""

    weight: str
    bias: str | None
    kind: str
    groups: int
    kernel: tuple[int, ...]
    makes: np.ndarray
    reads: np.ndarray
    nodes: list[int]
    size: tuple[int, ...]
    positions: int
    positions_in: int
    macs: int
    size_in: tuple[int, ...] = ()
    module: str = ""  # where it runs, of one whose weight is no parameter of the network

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == len(self.reads)


@dataclass
class Coupling:
    """What the labels tell, before those that fall together are joined.

    united: pairs of label arrays that fall together, and how: "sum", "gate", "meet" or "same"
    tied: label arrays that cannot be removed, each with the reason
    cells: (groups, channels) label arrays that must lose equally many in every row
    parts: the same where a forward divides channels by numbers of its own, in a split or a view
    crossed: those in which such parts are exchanged with what they hold, so that their columns
        fall together
    numbered: labels that an operation takes with numbers that may be numbers of channels
    axes: the labels of every element of the parameters that no layer owns
    passive: which of the labels, as rising intervals, belong to such parameters
    sizes: bytes of each node's value for one image
    labels: of each node's value, a list where it has several
    """

    graph: Graph
    united: list[tuple[np.ndarray, np.ndarray, str]] = field(default_factory=list)
    tied: list[tuple[np.ndarray, str]] = field(default_factory=list)
    cells: list[np.ndarray] = field(default_factory=list)
    parts: list[np.ndarray] = field(default_factory=list)
    crossed: list[np.ndarray] = field(default_factory=list)
    numbered: list[np.ndarray] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    makings: dict[str, Making] = field(default_factory=dict)
    axes: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    passive: list[tuple[int, int]] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    labels: dict[int, Any] = field(default_factory=dict)
    count: int = 0

    def fresh(self, shape: tuple[int, ...], passive: bool = False) -> Tensor:
        """New labels, one a position; passive ones belong to a parameter that no layer owns."""
        size = math.prod(shape)
        labels = torch.arange(self.count, self.count + size, dtype=torch.float64)
        if passive:
            self.passive.append((self.count, self.count + size))
        self.count += size
        return labels.reshape(shape)

    def active(self, labels: Tensor) -> bool:
        """Whether a layer's channels are among the labels."""
        return len(self.of_layers(labels)) > 0

    def of_layers(self, labels: Tensor) -> np.ndarray:
        """Those of the labels that are a layer's channels, each once."""
        if not labels.numel():
            return np.zeros(0, int)
        low, high = labels.masked_fill(labels < 0, torch.inf).min().item(), labels.max().item()
        before = bisect_right(self.passive, low, key=itemgetter(0))
        if before and high < self.passive[before - 1][1]:
            return np.zeros(0, int)  # of one parameter, as most that are no layer's are
        known = np.unique(ids(labels[labels >= 0]))
        starts, ends = np.array(self.passive, int).reshape(-1, 2).T
        place = np.searchsorted(starts, known, "right")
        return known[known >= np.append(0, ends)[place]]

    def by_place(self, labels: Tensor, axis: int) -> Tensor | None:
        """One label for each place along an axis, with which all falls that lies there.

        None where there is one place, or a layer's channel lies at several.
        """
        rows = labels.movedim(axis, 0).flatten(1)
        made = len(self.of_layers(labels)) == len(np.unique(ids(labels)))  # no parameter's
        if len(rows) == 1 or not made or not self._apart(rows):
            return None
        shape = [1] * labels.dim()
        shape[axis] = len(rows)
        result = self.fresh(tuple(shape))
        self.unite(labels, result, "same")
        return result

    @staticmethod
    def _apart(rows: Tensor) -> bool:
        """Whether no label is in two rows."""
        each = [np.unique(ids(row)) for row in rows]
        return len(np.unique(np.concatenate(each))) == sum(map(len, each))

    def unite(self, a: Tensor, b: Tensor, how: str) -> None:
        """Notes that labels at equal positions fall together; none falls with what is fixed."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = a.expand(shape), b.expand(shape)
        both = (a >= 0) & (b >= 0)
        self.united.append((ids(a[both]), ids(b[both]), how))
        for labels, met in ((a, b), (b, a)):
            self.tie(labels[met == FIXED], "meets values whose channels cannot be removed")

    def tie(self, labels: Tensor, reason: str) -> None:
        """Notes that these labels' channels cannot be removed."""
        known = labels[labels >= 0]
        if len(known):
            self.tied.append((ids(known), reason))


def ids(labels: Tensor) -> np.ndarray:
    """Labels as a flat array of whole numbers."""
    return labels.reshape(-1).long().numpy()


def floats(labels: np.ndarray) -> Tensor:
    """An array of whole numbers as labels that operations on tensors can move."""
    return torch.from_numpy(labels).double()


def compress(labels: Tensor) -> Tensor:
    """The same labels with size 1 along every axis where they do not change."""
    for axis in range(labels.dim()):
        if labels.shape[axis] > 1:
            first = labels.narrow(axis, 0, 1)
            if bool((labels == first).all()):
                labels = first
    return labels.clone()


def everywhere(label: int, rank: int) -> Tensor:
    """One label for all positions of a tensor with `rank` axes."""
    return torch.full((1,) * rank, float(label))

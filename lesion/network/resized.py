"""How long the axes of a network's values are once channels fall, and who holds such a number."""

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from torch import Tensor

from lesion.network.anatomy import CONSTANT, keeps
from lesion.network.dissection import Dissection
from lesion.network.graph import Node, Ref
from lesion.network.parameter_masks import lengths

PADS = {"pad", "constant_pad_nd"}
BOUNDED = {"slice", "narrow", "select"}
SIZED = {"view", "reshape", "unflatten", "split", "split_with_sizes", "expand", "chunk"}
Numbers = dict[int, set[int]]  # what a number becomes, where it stands for several one of these
Sizes = dict[int, tuple[int, int]]  # by axis its size before and after


class Resized:
    """The sizes of values where labels fall.

    dissection: of the network; dropped: the labels that fall, as booleans over all labels
    """

    def __init__(self, dissection: Dissection, dropped: np.ndarray) -> None:
        self.dissection, self.dropped = dissection, dropped
        self._known: dict[int, list[Sizes]] = {}

    @cached_property
    def _users(self) -> list[list[int]]:
        return self.dissection.graph.users()

    def sizes(self, index: int) -> Sizes:
        """The axes of a node's value that become shorter; of several tensors those of the first."""
        return next(filter(None, map(_shorter, self._axes(index))), {})

    def numbers(self) -> tuple[dict[str, Numbers], dict[str, Numbers]]:
        """The numbers of channels with which each module's forward may reckon, before and after.

        Those that stand in its operations' arguments, also where they stay, and those of all values
        that it sees.
        """
        arguments, values = (defaultdict[str, Numbers](lambda: defaultdict(set)) for _ in "av")
        for node in self.dissection.graph.nodes:
            if node.kind == "call":
                for old, new in self._arguments(node):
                    arguments[node.module][old].add(new)
                for index in (node.index, *node.inputs):
                    for axes in self._axes(index):
                        for old, new in _shorter(axes).values():
                            values[node.module][old].add(new)
        return arguments, values

    def _arguments(self, node: Node) -> Iterator[tuple[int, int]]:
        if node.operation in PADS:
            yield from self._padding(node)
        elif node.operation in BOUNDED:
            yield from self._bounds(node)
        elif node.operation in SIZED:
            for axes in self._axes(node.index):
                yield from axes.values()

    def _padding(self, node: Node) -> Iterator[tuple[int, int]]:
        """How much is padded, by what the padding meets."""
        for reader in self._users[node.index]:
            stay = self._stay(reader)
            for place, much in enumerate(node.args[1]):
                axis = stay.ndim - 1 - place // 2 if stay is not None else 0
                if stay is not None and much > 0 and stay.shape[axis] > 1:
                    along = stay.sum(axis=tuple(a for a in range(stay.ndim) if a != axis)) > 0
                    part = along[-much:] if place % 2 else along[:much]
                    yield much, int(part.sum())

    def _bounds(self, node: Node) -> Iterator[tuple[int, int]]:
        """Where a slice begins and ends."""
        source = node.args[0]
        stay = self._stay(source.index) if isinstance(source, Ref) else None
        axis = node.args[1] if len(node.args) > 1 else 0
        if stay is None or not isinstance(axis, int) or stay.shape[axis] == 1:
            return
        along = np.asarray(np.moveaxis(stay, axis, 0).reshape(stay.shape[axis], -1).any(axis=1))
        for bound in node.args[2:4]:
            if isinstance(bound, int) and abs(bound) <= len(along):
                left = along[bound:] if bound < 0 else along[:bound]
                yield abs(bound), int(left.sum())

    def _stay(self, index: int) -> np.ndarray | None:
        """Which positions of a node's labels stay."""
        if not isinstance(self.dissection.labels.get(index), Tensor):
            return None
        (final,) = self.dissection.final[index]
        return keeps(final, self.dropped) if (final != CONSTANT).any() else None

    def _axes(self, index: int) -> list[Sizes]:
        """Of a node's value, or of several, the axes that channels lie along."""
        if index not in self._known:
            self._known[index] = [
                _along(final, self.dropped) for final in self.dissection.final.get(index, ())
            ]
        return self._known[index]


def _along(final: np.ndarray, dropped: np.ndarray) -> Sizes:
    """The axes that channels lie along, of a value's labels."""
    if (final == CONSTANT).all():
        return {}
    stay = keeps(final, dropped)
    sizes = enumerate(zip(stay.shape, lengths(stay), strict=True))
    return {axis: size for axis, size in sizes if size[0] > 1}


def _shorter(axes: Sizes) -> Sizes:
    """Those that become shorter."""
    return {axis: size for axis, size in axes.items() if size[0] != size[1]}

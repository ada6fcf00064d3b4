"""What an engine is: images and lesions in, the outputs of each lesioned network out."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

from lesion.lesions.edits import Channels, Edit, channels
from lesion.lesions.lesion import Target
from lesion.network.dissection import Dissection


class Measurable(Hashable, Protocol):
    """What an edit is measured for: a lesion, or several units together."""

    @property
    def key(self) -> str:
        """A text that names it."""

    @property
    def seed(self) -> int:
        """Where the random numbers of its recovery start."""


Name = TypeVar("Name", bound=Measurable)


@dataclass(frozen=True, eq=False)
class Cut:
    """An edit, and on which images of a batch it is measured.

    rows: places in the batch, rising, None for all
    """

    edit: Edit
    rows: np.ndarray | None = None

    def within(self, part: range) -> "Cut":
        """The same for a part of the batch."""
        if self.rows is None:
            return self
        inside = self.rows[(self.rows >= part.start) & (self.rows < part.stop)] - part.start
        return Cut(self.edit, None if len(inside) == len(part) else inside)

    def among(self, rows: np.ndarray) -> "Cut":
        """The same where only some rows of the batch are there, its own among them."""
        kept = rows if self.rows is None else self.rows
        return Cut(self.edit, None if len(kept) == len(rows) else np.searchsorted(rows, kept))

    @property
    def any(self) -> bool:
        """Whether there is an image to measure it on."""
        return self.rows is None or len(self.rows) > 0


@dataclass(frozen=True)
class Batches:
    """How many images run at once: in the intact network's first pass, and later."""

    first: int
    later: int


class Engine:
    """Knows one thing: images and edits in, outputs out.

    recovery: the name of what an edited network goes through first, "" for nothing; images: what
        tells the images that it sees from others
    together: how many edited networks it has at once, None for any number
    replays: whether an edit costs less than a whole pass
    """

    dissection: Dissection
    recovery = ""
    images = ""
    together: int | None = None
    replays = False

    def run(
        self,
        tensors: Sequence[Tensor],
        cuts: Mapping[Name, Cut],
        intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[Name | None, Tensor]]:
        """The outputs of each cut, and last under None the intact network's, for one batch.

        A cut's outputs are those of its rows; intact: whether the intact ones are wanted
        keys: numbers of the images, by which an engine may remember them
        """
        raise NotImplementedError

    def obstacle(self, edit: Edit) -> str:
        """Why an edit cannot be measured exactly; "" if it can."""
        return ""

    def hindrance(self, edit: Edit) -> str:
        """Why an edited network cannot go through the recovery exactly; "" if it can."""
        return ""

    def avoid(self, digests: np.ndarray) -> None:
        """From now on no image with these digests may take part in a recovery."""

    def fit(self, fastest: int, room: int) -> int:
        """Makes use of so many bytes; how many images run at once, at most `fastest`."""
        return fastest

    def fit_again(self, edits: Iterable[Edit], images: int, fastest: Batches, room: int) -> Batches:
        """The same where edits come back to some of so many images, one edit a target."""
        first = self.fit(fastest.first, room)
        return Batches(first, first)

    def edit(self, target: Target, dropped: np.ndarray) -> Edit:
        """The edit that removes labels of a target from this engine's network."""
        return channels(self.dissection, target, dropped)

    def recovered(self, name: Name, edit: Edit) -> nn.Module:
        """A copy of the network, whole yet, with the weights that it has after the recovery."""
        raise NotImplementedError

    def fallen(self, name: Name, edit: Channels) -> Channels:
        """What an edited network has lost after the recovery, which may choose other channels."""
        return edit

    def around(self, dropped: np.ndarray) -> "Engine | None":
        """An engine for sets of labels that differ in few units from these; None for no faster."""
        return None

"""What is cut: targets, lesions, and several units at once, each a record with a key."""

import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Target:
    """What a lesion cuts: a unit ("free", "coupled"), one layer's part in a sum ("branch"), a
    "layer" or a "block", blocks of a "stage" or of the "network", or several units at once
    ("joint", `units`).

    A branch's channels are gone up to the sum: from what reads them, from normalisation, from the
    depthwise layers that they go through.  In the sum they count as zero; the others' parts stay.
    """

    name: str
    kind: str
    units: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A text that names it among a network's targets."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Joint:
    """Several units cut together; number: tells apart sets of rates for the same units."""

    units: tuple[str, ...]
    number: int = 0
    seed: int = 0

    @property
    def at(self) -> Target:
        """What it cuts."""
        return Target("", "joint", self.units)

    @property
    def key(self) -> str:
        """A text that names it."""
        return f"joint/{len(self.units)} units/{self.number}/{self.seed}"


@dataclass(frozen=True)
class Lesion:
    """One unit, one kind of damage, one criterion, one amount, one seed, one recovery.

    target: the layer that a "free" or "branch" lesion cuts, the unit that a "coupled" one cuts, or
        the block that is deleted, or the stage or draw of which blocks are
    amount: for `filters` the pruning ratio in (0, 1); pruned of channels fall, so that the
        achieved ratio is pruned / channels
    recovery: what the lesioned network goes through before it is scored, such as "bn"; "" for
        nothing (one-shot)
    """

    target: str
    kind: str
    criterion: str
    amount: float
    pruned: int
    channels: int
    damage: str = "filters"
    rounding: str = "floor-kept"
    seed: int = 0
    recovery: str = ""

    @property
    def at(self) -> Target:
        """What it cuts."""
        return Target(self.target, self.kind)

    @property
    def key(self) -> str:
        """A text that names this lesion, the same in every study of the same subject."""
        return (
            f"{self.damage}/{self.kind}/{self.target}/{self.criterion}/{self.amount:g}"
            f"/{self.rounding}/{self.seed}{'/' if self.recovery else ''}{self.recovery}"
        )


def seed_of(seed: int, layer: str) -> int:
    """The seed of what is drawn for a layer, so that layers of one shape draw otherwise.

    >>> seed_of(0, "conv1") == seed_of(0, "conv2")
    False
    """
    return zlib.crc32(f"{seed} {layer}".encode())  # torch takes 32 bits of a seed


@dataclass(frozen=True)
class Skipped:
    """A layer or unit without lesions, and why: a row with a reason, never missing.

    In front of a reason that is not of filters stands the damage's name.
    """

    target: str
    kind: str
    reason: str

    def by(self, damage: str) -> "Skipped":
        """The same, of a damage by its name."""
        return replace(self, reason=f"{damage}: {self.reason}")

    def told(self, damages: Collection[str]) -> tuple[str, str]:
        """The damage, one of those or "" for filters, and the reason without its name.

        >>> Skipped("conv1", "layer", "n_m: it reads too few inputs").told(["filters", "n_m"])
        ('n_m', 'it reads too few inputs')
        >>> Skipped("conv1", "tied", "its channels meet others: in a sum").told(["filters", "n_m"])
        ('', 'its channels meet others: in a sum')
        """
        name, _, reason = self.reason.partition(": ")
        return (name, reason) if name in damages else ("", self.reason)

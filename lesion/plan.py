"""Which lesions a study holds: every chosen unit at every ratio, each a record with a key."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np

from lesion.anatomy import CONSTANT, Anatomy, Unit
from lesion.errors import LesionError

ROUNDINGS = ("floor-kept", "nearest")


@dataclass(frozen=True)
class Target:
    """What a lesion cuts: a unit ("free", "coupled"), one layer's part in a sum ("branch"), or
    several units at once ("joint", `units`).

    A branch's channels are gone up to the sum: from what reads them, from normalisation, from the
    depthwise layers that they go through.  In the sum they count as zero; the others' parts stay.
    """

    name: str
    kind: str
    units: tuple[str, ...] = ()


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

    target: the layer that a "free" or "branch" lesion cuts, or the unit that a "coupled" one cuts
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


@dataclass(frozen=True)
class Skipped:
    """A layer or unit without lesions, and why: a row with a reason, never missing."""

    target: str
    kind: str
    reason: str


def kept(channels: int, ratio: float, rounding: str = "floor-kept") -> int:
    """How many of `channels` stay at a pruning ratio, at least one.

    "floor-kept" is floor(channels · (1 − ratio)), as in Li et al. 2017; "nearest" rounds the
    pruned count to the nearest whole number, halves to even.

    >>> kept(10, 0.9), kept(16, 0.3), kept(16, 0.3, "nearest"), kept(2, 0.9)
    (1, 11, 11, 1)
    """
    if rounding == "nearest":
        return max(1, channels - round(channels * ratio))
    return max(1, int(channels * (1 - ratio) + 1e-9))  # 10 · (1 − 0.9) is 0.999…98


def targets(
    anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
) -> tuple[list[Target], list[Skipped]]:
    """What to cut, in order of execution, and what not, with the reason.

    units: "free" takes every free unit, and the layers that read the input as branches where they
    are coupled; "all" adds the other coupled layers as branches and the coupled units as wholes
    layers: patterns of layer names (as in a shell); a unit is taken if one of its layers matches

    Raises LesionError for a pattern that matches no layer, and for another word than these.
    """
    if units not in ("free", "all"):
        raise LesionError(f"Expected units free or all, got '{units}'; choose one of them.")
    wanted = matching(anatomy, layers)
    chosen, skipped = [], []
    for unit in anatomy.units:
        members = [name for name in unit.layers if name in wanted]
        if not members:
            continue
        if unit.kind == "tied":
            skipped += [Skipped(name, "tied", unit.reason) for name in members]
            continue
        if unit.kind == "free":
            chosen.append(Target(unit.name, "free"))
            continue
        if units == "all":
            chosen.append(Target(unit.name, "coupled"))
        for name in members:
            chosen_branch, reason = _branch(anatomy, unit, name, units)
            if chosen_branch:
                chosen.append(Target(name, "branch"))
            else:
                skipped.append(Skipped(name, "branch", reason))
    return chosen, skipped


def _branch(anatomy: Anatomy, unit: Unit, name: str, units: str) -> tuple[bool, str]:
    """Whether a coupled layer is cut as a branch, and if not why."""
    layer = anatomy.layer[name]
    if layer.branch:
        return False, layer.branch
    stem = all(label == CONSTANT for label in layer.reads)
    others = len(unit.layers) - 1
    return units == "all" or stem, (
        f"falls together with {others} other layer{'s' if others > 1 else ''} (unit {unit.name}); "
        "--units all measures its part in the sum, and the unit as a whole"
    )


def matching(anatomy: Anatomy, patterns: Sequence[str]) -> set[str]:
    """The layers that patterns name, all for none. Raises LesionError for one that matches none."""
    names = [layer.name for layer in anatomy.layers]
    found = {name for name in names if not patterns}
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            close = get_close_matches(pattern, names, 1)
            hint = f"did you mean {close[0]}?" if close else "lesion layers lists them."
            raise LesionError(f"Expected the pattern of a layer, got '{pattern}'; {hint}")
        found |= matched
    return found


def check_rounding(rounding: str) -> None:
    """Raises LesionError unless the rounding is known."""
    if rounding not in ROUNDINGS:
        raise LesionError(f"Expected rounding {' or '.join(ROUNDINGS)}, got '{rounding}'.")


def falling(
    anatomy: Anatomy, target: Target, scores: np.ndarray, ratio: float, rounding: str
) -> np.ndarray:
    """Which of a target's channels (of a branch's filters) fall, as booleans.

    The lowest scores go first, equal ones in order; every cell loses equally many; and every layer
    keeps the best of its filters, so that none is left without.
    """
    fallen = np.zeros(len(scores), bool)
    for cell in _cells(anatomy, target, len(scores)):
        order = cell[np.argsort(scores[cell], kind="stable")]
        fallen[order[: len(cell) - kept(len(cell), ratio, rounding)]] = True
    for own in _members(anatomy, target):
        if fallen[own].all():
            fallen[own[np.argmax(scores[own])]] = False
    return fallen


def dropped(anatomy: Anatomy, lesion: Lesion, scores: np.ndarray) -> np.ndarray:
    """The labels that fall in a lesion, as a boolean array over all labels."""
    target = lesion.at
    fallen = falling(anatomy, target, scores, lesion.amount, lesion.rounding)
    labels = np.zeros(anatomy.channels, bool)
    labels[np.array(_labels(anatomy, target))[fallen]] = True
    return labels


def _labels(anatomy: Anatomy, target: Target) -> Sequence[int]:
    if target.kind == "branch":
        return anatomy.made_by(target.name)
    return anatomy.unit[target.name].labels


def _cells(anatomy: Anatomy, target: Target, channels: int) -> Iterator[np.ndarray]:
    if target.kind == "branch":
        groups = anatomy.layer[target.name].groups
        yield from np.arange(channels).reshape(groups if channels > groups else 1, -1)
        return
    unit = anatomy.unit[target.name]
    for cell in unit.cells:
        yield np.array(cell) - unit.first


def _members(anatomy: Anatomy, target: Target) -> Iterator[np.ndarray]:
    """For each layer that makes some of a unit's channels, which ones."""
    if target.kind == "branch":
        return
    unit = anatomy.unit[target.name]
    for name in unit.layers:
        labels = np.array(anatomy.made_by(name)) - unit.first
        inside = labels[(labels >= 0) & (labels < unit.channels)]
        if not anatomy.layer[name].depthwise:
            yield np.unique(inside)

"""Kinds of damage: what can be done to a layer.  One module each, found by its name.

A module in this folder is a damage under its own name; other packages add theirs as entry points:

    [project.entry-points."lesion.damage"]
    mine = "my_package.my_damage"

A module has `damage`, an object of a subclass of `Damage`; in Python such an object can be given as
it is (`damage=MyDamage()`).  A dataclass has options: its fields, which may stand behind its name,
as in `quantise:per=tensor,clip=mse`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lesion.boundary.texts import with_options
from lesion.compression.footprint import Saving
from lesion.errors import LesionError
from lesion.lesions.amounts import Amounts
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.ratios import matching
from lesion.network.anatomy import Anatomy
from lesion.plugins import Plugins

if TYPE_CHECKING:
    from lesion.compression.channel_pca import Responses
    from lesion.compression.value_counts import ValueCounts
    from lesion.lesions.edits import Edit
    from lesion.network.dissection import Dissection

plugins = Plugins(__name__, "lesion.damage", "a damage", "damage")


@dataclass(frozen=True)
class Settings:
    """What the lesions of one sweep have in common.

    criterion: the name of what says which channels go first, "" where nothing is asked; rounding,
    seed, recovery: see `lesion.lesions.lesion.Lesion`
    """

    criterion: str = "l1"
    rounding: str = "floor-kept"
    seed: int = 0
    recovery: str = ""


class Damage:
    """One kind of damage: what it can be done to, how much of it, and what it does.

    name: as in keys, tables and options; amounts: what its numbers mean
    scored: whether a criterion says what of a target goes first
    images: how many calibration images it sees before it is done to anything, 0 for none; they are
        training images, never scored nor kept back
    sees: what of a layer it is shown of them, what it reads, value by value (`calibration`), or
        what it gives, channels beside each other (`response_calibration`)
    weighs: whether `lesion`, `edit` and `footprint` are given the layer's weight as `scores`, where
        neither criterion nor images are asked for: what it saves depends on the values

    A damage of layers' weights has a name, amounts and `edit`; `lesion`, `targets` and `saving` do
    for it as they are.  What is stored and computed afterwards, it says in `footprint`.
    """

    name: str
    amounts: Amounts
    scored = True
    images: int = 0
    sees: Literal["inputs", "responses"] = "inputs"
    weighs = False

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
    ) -> tuple[list[Target], list[Skipped]]:
        """What to damage, in order of execution, and what not, with the reason: every layer.

        units: "free" or "all", see `lesion.lesions.targets.targets`; layers: patterns of names,
        none for all
        """
        wanted = matching(anatomy, layers)
        return [Target(n.name, "layer") for n in anatomy.layers if n.name in wanted], []

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """A target's lesion of an amount, or why it has none.

        scores: of its channels by the criterion, or what `calibration` gave, None where neither is
            asked for
        """
        return Lesion(
            target.name,
            target.kind,
            settings.criterion if self.scored else "",
            amount,
            0,
            0,
            self.name,
            "",
            settings.seed,
            settings.recovery,
        )

    def calibration(self, counts: "ValueCounts") -> np.ndarray:
        """What it keeps of the values that a layer reads on all calibration images, as numbers.

        A study keeps them for good, and `lesion`, `edit` and `footprint` take them as `scores`.
        Raises LesionError where the layer cannot be damaged; its text is the reason.
        """
        raise NotImplementedError

    def response_calibration(self, responses: "Responses") -> np.ndarray:
        """The same of what a layer gives, before batch norm, at all positions."""
        raise NotImplementedError

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """What a lesion does to the traced network, see `lesion.lesions.edits`.

        Raises LesionError where a target cannot be damaged exactly; its text is the reason.
        """
        raise NotImplementedError

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving | None:
        """What the layers that a lesion changes cost without it and with it, None if unknown.

        scores: of its target's channels by the criterion, if one scores them
        """
        return None

    def saving(self, anatomy: Anatomy, lesion: Lesion) -> float:
        """How much a lesion saves, compared with other lesions of this damage alone.

        A deciding sweep looks first where most is saved for the images that it takes.  These are
        bit operations, or bits where it saves none; of what saves nothing, or does not say, the
        layer's MACs count by how far the amount goes.
        """
        costs = self.footprint(anatomy, lesion)
        if costs is not None:
            for name in ("bops", "bits"):
                saved = getattr(costs.whole, name) - getattr(costs.left, name)
                if saved > 0:
                    return float(saved)
        layer = anatomy.layer[lesion.target]
        return float(layer.macs) * self._place(lesion.amount)

    def _place(self, amount: float) -> float:
        """How far an amount is from the least harm of the grid, as a share of the way."""
        ends = [self.amounts.severity(end) for end in (*self.amounts.grid, amount)]
        width = max(ends) - min(ends)
        return (ends[-1] - min(ends)) / width if width else 1.0


def names() -> list[str]:
    """The kinds of damage there are."""
    return plugins.names()


def damage(given: str | Damage) -> Damage:
    """A damage by its name, or as it is given. Raises LesionError for anything else.

    A name may have options behind it, such as "quantise:per=tensor".
    """
    found = _loaded(given) if isinstance(given, str) else given
    if not isinstance(found, Damage):
        raise LesionError(
            f"Expected a damage ({', '.join(names())}) or an object of a subclass of "
            f"lesion.Damage, got {type(given).__name__}."
        )
    return found


def _loaded(given: str) -> Any:
    name, options = with_options(given)
    loaded = plugins.load(name)
    if not options:
        return loaded
    every = fields(loaded) if is_dataclass(loaded) else ()
    known: dict[str, Any] = {field.name: field.default for field in every}
    try:
        values = {key: type(known[key])(value) for key, value in options.items()}
    except (KeyError, ValueError) as error:
        text = ", ".join(f"{key}={default}" for key, default in known.items())
        raise LesionError(
            f"Expected options that {name} takes ({text or 'none'}), got '{given}'."
        ) from error
    return type(loaded)(**values)


def plan(
    anatomy: Anatomy,
    scores: Mapping[Target, np.ndarray | None],
    amounts: Sequence[float],
    settings: Settings,
    kind: Damage,
) -> tuple[list[Lesion], list[Skipped]]:
    """The lesions of each target, the least harm first, and those that do nothing with the reason.

    scores: of the targets' channels, None where nothing is scored
    """
    planned = [
        kind.lesion(anatomy, target, amount, known, settings)
        for target, known in scores.items()
        for amount in kind.amounts.sort(amounts)
    ]
    lesions = [lesion for lesion in planned if isinstance(lesion, Lesion)]
    return lesions, [lesion for lesion in planned if isinstance(lesion, Skipped)]

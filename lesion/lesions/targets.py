"""Which units and layers are cut, and which are not, with the reason."""

from collections.abc import Sequence

from lesion.errors import LesionError
from lesion.lesions.lesion import Skipped, Target
from lesion.lesions.ratios import matching
from lesion.network.anatomy import CONSTANT, Anatomy, Unit


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

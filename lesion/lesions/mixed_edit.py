"""Several lesions as one edit: channels that fall, and weights of other layers that are damaged."""

from collections.abc import Callable, Iterable

import numpy as np
from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.damage import Damage, damage
from lesion.lesions.edits import Edit, channels
from lesion.lesions.lesion import Lesion, Target
from lesion.lesions.mended_edit import Mended
from lesion.lesions.readers import Readers
from lesion.lesions.value_edits import reading_through
from lesion.lesions.weight_damage import WeightDamage
from lesion.network.dissection import Dissection

Known = Callable[[Lesion], np.ndarray | None]


def nothing(lesion: Lesion) -> None:
    """What is known of a target without a study."""


def numbers_of(kind: Damage, lesion: Lesion, known: Known) -> np.ndarray | None:
    """What a damage keeps of a lesion's target, None for one that sees no images.

    Raises LesionError where it is wanting.
    """
    numbers = known(lesion) if kind.images else None
    if kind.images and numbers is None:
        raise LesionError(
            f"Expected what {kind.name} keeps of {lesion.target}, which the study holds that the "
            "rates are from; give that study (study=…)."
        )
    return numbers


def mixed_edit(
    dissection: Dissection,
    target: Target,
    dropped: np.ndarray,
    lesions: Iterable[Lesion],
    known: Known = nothing,
    fallen: Edit | None = None,
) -> Edit:
    """The edit that removes labels of a target, and does lesions of layers' weights, and of what
    these read, to what is left of them.

    known: what a damage that sees images keeps of a lesion's target
    fallen: the edit that removes the labels, where it is not that of all of the scored output
    Raises LesionError for a lesion that is none of a layer's weight, or where what is kept of its
    target is wanting.
    """
    edit, parameters = fallen or channels(dissection, target, dropped), dict[str, Tensor]()
    network = dissection.call.network
    readers = Readers(dissection, {name for name, _ in network.named_modules()})
    for lesion in lesions:
        kind = damage(lesion.damage)
        if not isinstance(kind, WeightDamage):
            raise LesionError(f"Expected damages of weights, got {lesion.damage}.")
        numbers = numbers_of(kind, lesion, known)
        damaged = kind.edit_without(dissection, lesion, dropped, numbers)
        parameters |= damaged.weights(readers, network)
        change = kind.input_change(lesion, numbers)
        edit = reading_through(edit, dissection, lesion.target, change)
    return Mended(edit).having(dissection, parameters) if parameters else edit

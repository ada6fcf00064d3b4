"""Several lesions as one edit: channels that fall, and weights of other layers that are damaged."""

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.damage import damage
from lesion.lesions.edits import Edit, channels
from lesion.lesions.lesion import Lesion, Target
from lesion.lesions.mended_edit import Mended
from lesion.lesions.readers import Readers
from lesion.lesions.weight_damage import WeightDamage
from lesion.network.dissection import Dissection


def mixed_edit(
    dissection: Dissection, target: Target, dropped: np.ndarray, lesions: Iterable[Lesion]
) -> Edit:
    """The edit that removes labels of a target, and does lesions of layers' weights to what is left
    of these.

    Raises LesionError for a lesion that is none of a layer's weight.
    """
    fallen, parameters = channels(dissection, target, dropped), dict[str, Tensor]()
    network = dissection.call.network
    readers = Readers(dissection, {name for name, _ in network.named_modules()})
    for lesion in lesions:
        kind = damage(lesion.damage)
        if not isinstance(kind, WeightDamage):
            raise LesionError(f"Expected damages of weights, got {lesion.damage}.")
        parameters |= kind.edit_without(dissection, lesion, dropped).weights(readers, network)
    return Mended(fallen).having(dissection, parameters) if parameters else fallen

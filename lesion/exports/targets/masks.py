"""Masks and kept indices as safetensors, for any other pruner."""

import numpy as np
from safetensors.numpy import save

from lesion.exports.layer_ratios import staying
from lesion.exports.origin import texts
from lesion.exports.targets import Handover

SUFFIX = ".safetensors"


def content(given: Handover) -> bytes:
    """For each layer that loses filters "LAYER.kept" and "LAYER.mask"; the rest as metadata.

    kept: the numbers of the filters that stay, int64, rising; mask: whether each stays, one boolean
    a filter.  The metadata are texts: "guarantee", "goal" …, and "subject" as JSON.
    """
    arrays: dict[str, np.ndarray] = {}
    for layer, mask in staying(given.allocation, given.anatomy).items():
        arrays |= {f"{layer}.kept": np.flatnonzero(mask), f"{layer}.mask": mask}
    return save(arrays, texts(given.allocation))

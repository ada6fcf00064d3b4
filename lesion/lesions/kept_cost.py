"""What layers cost of which channels are gone: numbers, bits and operations."""

from collections.abc import Iterable
from math import prod

import numpy as np

from lesion.compression.footprint import FLOAT, Footprint
from lesion.network.anatomy import Anatomy


def kept_cost(
    anatomy: Anatomy, layers: Iterable[str], share: float = 1.0, gone: np.ndarray | None = None
) -> Footprint:
    """Of layers that keep a share of their filters, or all but the labels that are gone."""
    dropped = np.zeros(anatomy.channels, bool) if gone is None else gone
    parameters = macs = 0
    for layer in map(anatomy.layer.__getitem__, layers):
        names = [name for name in (layer.weight, layer.bias) if name]
        numbers = [prod(anatomy.parameter[name].kept(dropped)) for name in names]
        parameters += round(share * sum(numbers))
        macs += round(share * numbers[0]) * layer.positions
    return Footprint(parameters, FLOAT * parameters, macs, macs, macs * FLOAT * FLOAT)

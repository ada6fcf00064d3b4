"""What a network costs: multiply-accumulates and parameters."""

from dataclasses import dataclass

import numpy as np

from lesion.network.anatomy import Anatomy


@dataclass(frozen=True)
class Cost:
    """The costs of one image.

    macs: multiply-accumulates of convolutions and linear layers; products of activations, as in
        attention, have none
    parameters: every trained number, batch norm and biases included
    weights: those of convolutions and linear layers without biases, as Li et al. 2017 count
    """

    macs: int
    parameters: int
    weights: int


def cost(anatomy: Anatomy, dropped: np.ndarray | None = None) -> Cost:
    """The cost of the network without the labels in the boolean array `dropped` (default: none).

    A layer's multiply-accumulates are its weights that stay times the pixels it computes; so a
    cut makes the layers that read its channels cheaper too.
    """
    gone = np.zeros(anatomy.channels, bool) if dropped is None else dropped
    numbers = {p.name: int(np.prod(p.kept(gone), dtype=np.int64)) for p in anatomy.parameters}
    return Cost(
        macs=sum(layer.positions * numbers[layer.weight] for layer in anatomy.layers),
        parameters=sum(numbers[p.name] for p in anatomy.parameters if p.trained),
        weights=sum(numbers[layer.weight] for layer in anatomy.layers),
    )

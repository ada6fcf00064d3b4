"""What criteria of the error at the consumers have in common: sums of products over outputs."""

import torch
from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.criteria import Group, GroupCriterion


class ContributionSums(GroupCriterion):
    """A criterion of x_i · x_j, what channels i and j add to an output of a layer that reads them,
    summed over outputs: one number for two channels, however many images it sees.

    ‖Σ_{j ∈ T} x_j‖², the error at a layer's outputs without channels T, is a sum of these.
    """

    needs = "activations"

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Adds up the products."""
        rows = activation.double().transpose(0, 1).flatten(1)
        self._sums[layer] = self._sums.get(layer, 0) + rows @ rows.T

    def products(self, group: Group) -> Tensor:
        """The sums for two channels of a target, (channels, channels).

        Those of several layers are added, each layer's divided by its trace, Σ ‖x_j‖², so that none
        counts more for larger outputs.  Raises LesionError where no weight reads the channels.
        """
        if not group.consumers:
            raise LesionError("no layer's weights read its channels")
        total = torch.zeros(group.channels, group.channels, dtype=torch.float64)
        for consumer in group.consumers:
            known = (consumer.shown >= 0).nonzero().reshape(-1)
            sums = self._sums[consumer.layer].cpu()[known][:, known]
            trace, at = sums.trace(), consumer.shown[known]
            total[at[:, None], at] += sums / trace if trace > 0 else 0
        return total

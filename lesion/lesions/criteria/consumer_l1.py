"""consumer_l1: the absolute weights with which a channel is read."""

import torch
from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.criteria import Group, GroupCriterion


class ConsumerL1(GroupCriterion):
    """Σ |W_next[:, j]| over the layers that read channel j; through sums with others for a layer's
    part in one (a branch).

    >>> from lesion.lesions.criteria import Consumer
    >>> both = torch.tensor([0, 1])
    >>> read = Consumer("b", torch.tensor([[1.0, -2.0], [0.0, 2.5]]), both, both)
    >>> ConsumerL1().scores(Group("a", 2, (), (), (read,), False, 0)).tolist()
    [3.0, 2.5]
    """

    name = "consumer_l1"

    def scores(self, group: Group) -> Tensor:
        """The sums. Raises LesionError where no weight reads the channels."""
        if not group.consumers:
            raise LesionError("no layer's weights read its channels")
        return group.total(group.consumers, torch.abs)


score = ConsumerL1

"""group_norm: the squared weights of all that falls with a channel (Fang et al. 2023, DepGraph)."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Group, GroupCriterion


class GroupNorm(GroupCriterion):
    """Σ w² over the filters that make a channel, the factors γ of the norms behind them, and the
    weights that layers read it with; divided by the mean of these sums over the target's channels.
    No root is taken, and no bias counts.

    Of a layer's part in a sum (a branch) what reads the sum stays, and does not count.

    This is Torch-Pruning's GroupMagnitudeImportance() (1.6: p = 2, its mean over members and over
    channels), but for three things: there depthwise filters do not count, nor γ of other norms than
    batch and layer norms; and what a grouped convolution reads a channel with is summed over all
    groups at its place, rather than over the one that it lies in.

    >>> from lesion.lesions.criteria import Consumer, Part
    >>> both = torch.tensor([0, 1])
    >>> made = Part("a", torch.tensor([[3.0], [1.0]]), both)
    >>> read = Consumer("b", torch.tensor([[1.0], [5.0]]), both, both)
    >>> GroupNorm().scores(Group("a", 2, (made,), (), (read,), False, 0))  # of 10 and 26
    tensor([0.5556, 1.4444], dtype=torch.float64)
    """

    name = "group_norm"

    def scores(self, group: Group) -> Tensor:
        """Each channel's share, 1 on average."""
        total = group.total(group.falling, torch.square)
        mean = total.mean()
        return total / mean if mean > 0 else total


score = GroupNorm

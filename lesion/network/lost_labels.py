"""A net below the rules: no channel acts on others unseen.

A channel that enters an operation leaves in its value, is united with what leaves, is cut there or
is tied.  The rules see to that; a channel of which none of this is noted is tied here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lesion.network.graph import Node, refs
from lesion.network.labels import Coupling, ids
from lesion.network.walk import Walk


@dataclass(frozen=True)
class Noted:
    """How much a coupling had noted before an operation."""

    united: int
    tied: int
    edges: int

    @classmethod
    def by(cls, out: Coupling) -> "Noted":
        """What is noted by now."""
        return cls(len(out.united), len(out.tied), len(out.edges))

    def since(self, out: Coupling) -> list[np.ndarray]:
        """The labels that were united, tied or cut since."""
        pairs = [labels for *both, _ in out.united[self.united :] for labels in both]
        tied = [labels for labels, _ in out.tied[self.tied :]]
        return pairs + tied + [ids(edge.labels) for edge in out.edges[self.edges :]]


def tie_lost(walk: Walk, node: Node, before: Noted, leaving: Any, moves: bool) -> None:
    """Ties the layers' channels that enter a call and that nothing accounts for.

    leaving: the labels of its value; moves: whether its first argument may lose positions, such as
        in a slice
    """
    read = refs((node.args[1:] if moves else node.args, node.kwargs))
    lost = np.zeros(walk.out.count, bool)
    for labels in (labels for index in read for labels in _each(walk.labels.get(index))):
        lost[walk.out.of_layers(labels)] = True
    if not lost.any():
        return
    for noted in [*map(ids, _each(leaving)), *before.since(walk.out)]:
        lost[noted[noted >= 0]] = False
    if lost.any():
        reason = f"acts on others in {node.name}, behind which channels cannot be followed"
        walk.out.tied.append((np.flatnonzero(lost), reason))
        walk.out.notes.append(f"{node.module or 'the network'}: what {reason}")


def _each(labels: Any) -> list[Tensor]:
    """One value's labels, or those of several, as a list."""
    if isinstance(labels, (list, tuple)):
        return [array for part in labels for array in _each(part)]
    return [labels] if isinstance(labels, Tensor) else []

"""reorder: residual blocks of equal shape change places (Veit et al. 2016, section 4.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import Saving
from lesion.lesions.amounts import Amounts
from lesion.lesions.block_damage import check_draws, drawn
from lesion.lesions.damage import Damage, Settings
from lesion.lesions.kept_cost import kept_cost
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.network.anatomy import Anatomy, Block

if TYPE_CHECKING:
    from lesion.lesions.edits import Edit
    from lesion.network.dissection import Dissection


@dataclass(eq=False)
class Reorder(Damage):
    """k swaps of two blocks of equal shape within a stage, in several draws.

    Blocks are of equal shape whose layers are, one by one; those that change the stream's shape
    never move.  A draw is a random sequence of swaps, the same for a seed, of which the first k are
    done: each takes any two of all places that may swap, whichever blocks are there by then.  More
    draws leave the first as they are.
    """

    name = "reorder"
    scored = False
    amounts = Amounts(
        (1, 2, 4, 8, 16),
        "number of swaps",
        "swaps of two blocks",
        "swaps",
        of=" of its sequence",
        whole=True,
        example="2 swaps two blocks, and then two again.",
        spared="in order",
        target="draw",
    )
    draws: int = 5

    def __post_init__(self) -> None:
        check_draws(self.draws)

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
    ) -> tuple[list[Target], list[Skipped]]:
        """The draws, see `drawn`, and the layers that never move."""
        draws, pairs = drawn(self, self.draws, anatomy, layers), _pairs(anatomy)
        moving = {name for pair in pairs for block in pair for name in block.members}
        staying = _staying(anatomy)
        skipped = [
            Skipped(layer.name, "layer", staying.get(layer.name, "it belongs to no residual block"))
            for layer in anatomy.layers
            if layer.name not in moving
        ]
        return draws if pairs else [], skipped

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """The lesion, or that all blocks are in their places again."""
        if settings.recovery:
            reason = "blocks that change places are measured as they are, not after a recovery by "
            return Skipped(target.name, target.kind, reason + settings.recovery)
        lesion = super().lesion(anatomy, target, amount, scores, settings)
        if isinstance(lesion, Lesion) and self.order(anatomy, lesion) == _names(anatomy):
            reason = f"{self.amounts.text(amount)}: they leave every block in its place"
            return Skipped(target.name, target.kind, reason)
        return lesion

    def order(self, anatomy: Anatomy, lesion: Lesion) -> list[str]:
        """The network's blocks as they follow each other after a lesion, by name."""
        pairs, order = _pairs(anatomy), _names(anatomy)
        for number in range(int(lesion.amount)):
            text = f"{lesion.seed} {lesion.target} {number}"
            chosen = int.from_bytes(sha256(text.encode()).digest(), "big") % len(pairs)
            first, second = (anatomy.blocks.index(block) for block in pairs[chosen])
            order[first], order[second] = order[second], order[first]
        return order

    def kendall_tau(self, anatomy: Anatomy, lesion: Lesion) -> float:
        """Kendall's rank correlation of all blocks' places after a lesion with those before, 1 for
        the network as it is and -1 for the opposite order."""
        return kendall_tau([_names(anatomy).index(name) for name in self.order(anatomy, lesion)])

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """Each place computes with what its new block holds, see `Reordered`."""
        from lesion.lesions.reordered_edit import Reordered, moved

        anatomy = dissection.anatomy
        return Reordered.of(dissection, moved(self.order(anatomy, lesion), _names(anatomy)))

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving:
        """Of the network, of which it saves nothing."""
        whole = kept_cost(anatomy, anatomy.layer)
        return Saving(whole, whole)

    def saving(self, anatomy: Anatomy, lesion: Lesion) -> float:
        """Nothing; lesions are compared by how far their amounts go."""
        return self._place(lesion.amount)


def kendall_tau(order: Sequence[int]) -> float:
    """Kendall's rank correlation of an order with the rising one.

    >>> round(kendall_tau([1, 0, 2]), 6)
    0.333333
    """
    from scipy.stats import kendalltau  # here, because importing it takes a second

    return float(kendalltau(range(len(order)), order).statistic)


def _names(anatomy: Anatomy) -> list[str]:
    """The blocks in the order of the network."""
    return [block.name for block in anatomy.blocks]


def _pairs(anatomy: Anatomy) -> list[tuple[Block, Block]]:
    """Any two blocks that may swap, in order of execution."""
    moving = [block for block in anatomy.blocks if not _fixed(block)]
    return [
        (first, second)
        for first, second in combinations(moving, 2)
        if first.stage == second.stage and _shape(anatomy, first) == _shape(anatomy, second)
    ]


def _fixed(block: Block) -> str:
    """Why a block never moves, "" where it may."""
    if block.unit:
        return "its block is concatenated to its stream, which is wider behind it"
    if block.shared:
        return "its block shares layers with others"
    return "its block changes the stream's shape" if "down-sampling" in block.position else ""


def _staying(anatomy: Anatomy) -> dict[str, str]:
    """Of each layer of a block that has none to swap with, why."""
    alone = "no other block of its stage has layers of the same shapes"
    return {name: _fixed(block) or alone for block in anatomy.blocks for name in block.members}


def _shape(anatomy: Anatomy, block: Block) -> list[tuple[object, ...]]:
    """What two blocks of equal shape have in common, layer by layer."""
    layers = map(anatomy.layer.__getitem__, block.members)
    return [
        (n.kind, n.channels_in, n.channels, n.groups, n.kernel, n.size_in, n.size, n.bias is None)
        for n in layers
    ]


damage = Reorder()

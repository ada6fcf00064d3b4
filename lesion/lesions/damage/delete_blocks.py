"""delete_blocks: blocks of the network deleted together, at random (Veit et al. 2016)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from lesion.lesions.amounts import Amounts
from lesion.lesions.block_damage import BlockDamage, check_draws, drawn, outside
from lesion.lesions.damage import Settings
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.network.anatomy import Anatomy, Block


@dataclass(eq=False)
class DeleteBlocks(BlockDamage):
    """k blocks are gone, see `BlockDamage`, in several draws.

    A draw is a random order of the network's blocks, the same for a seed, of which the first k
    fall: what is gone at one amount is gone at all larger ones.  More draws leave the first as they
    are.
    """

    name = "delete_blocks"
    amounts = Amounts(
        (1, 2, 3, 5, 8),
        "number of blocks",
        "blocks deleted",
        "blocks",
        of=" of its order",
        whole=True,
        example="2 deletes two of all blocks.",
        target="draw",
    )
    draws: int = 5

    def __post_init__(self) -> None:
        check_draws(self.draws)

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
    ) -> tuple[list[Target], list[Skipped]]:
        """The draws, see `drawn`, and the layers outside blocks."""
        draws = drawn(self, self.draws, anatomy, layers)
        return draws if anatomy.blocks else [], outside(anatomy, anatomy.layer)

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """The lesion, or that the network has fewer blocks."""
        if amount > (few := len(anatomy.blocks)):
            reason = f"{self.amounts.text(amount)}: the network has {few} that a stream passes"
            return Skipped(target.name, target.kind, reason)
        return super().lesion(anatomy, target, amount, scores, settings)

    def blocks(self, anatomy: Anatomy, lesion: Lesion) -> Sequence[Block]:
        """The first of the draw's order."""

        def place(block: Block) -> bytes:
            return sha256(f"{lesion.seed} {lesion.target} {block.name}".encode()).digest()

        return sorted(anatomy.blocks, key=place)[: int(lesion.amount)]

    def among(self, anatomy: Anatomy, lesion: Lesion) -> Iterable[str]:
        """The network's."""
        return anatomy.layer


damage = DeleteBlocks()

"""delete_block: blocks of residual networks deleted one by one (Veit et al. 2016)."""

from collections.abc import Sequence

from lesion.lesions.amounts import Amounts
from lesion.lesions.block_damage import BlockDamage, outside
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.ratios import matching
from lesion.network.anatomy import Anatomy, Block


class DeleteBlock(BlockDamage):
    """One block at a time is gone, see `BlockDamage`."""

    name = "delete_block"
    amounts = Amounts(
        (1,),
        "block",
        "block",
        of="its deletion",
        high=1,
        whole=True,
        closed=True,
        example="1 deletes it.",
        spared="in place",
        target="block",
        only="deleted",
    )

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
    ) -> tuple[list[Target], list[Skipped]]:
        """The blocks of which a layer matches, and the layers outside them with the reason."""
        wanted = matching(anatomy, layers)
        chosen = [block for block in anatomy.blocks if wanted.intersection(block.members)]
        return [Target(block.name, "block") for block in chosen], outside(anatomy, wanted)

    def blocks(self, anatomy: Anatomy, lesion: Lesion) -> Sequence[Block]:
        """The target."""
        return (anatomy.block[lesion.target],)


damage = DeleteBlock()

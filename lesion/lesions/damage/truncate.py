"""truncate: the last blocks of a stage deleted."""

from collections.abc import Iterable, Sequence

import numpy as np

from lesion.lesions.amounts import Amounts
from lesion.lesions.block_damage import BlockDamage
from lesion.lesions.damage import Settings
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.ratios import matching
from lesion.network.anatomy import Anatomy, Block, Layer


class Truncate(BlockDamage):
    """The last k blocks of a stage are gone, see `BlockDamage`.

    Where a layer that looks beyond its own position, a kernel larger than 1, belongs to none of a
    stage's blocks, no stream passes it: blocks before it are not deleted.  Others stay behind the
    stage, as transitions do.
    """

    name = "truncate"
    amounts = Amounts(
        (1, 2, 3),
        "number of blocks",
        "last blocks deleted",
        "blocks",
        of=" at its end",
        whole=True,
        example="2 deletes the last two of each stage.",
        spared="in full length",
        target="stage",
    )

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
    ) -> tuple[list[Target], list[Skipped]]:
        """The stages of which a layer matches, and the layers of none."""
        wanted = matching(anatomy, layers)
        chosen, skipped = list[Target](), list[Skipped]()
        for name, members in anatomy.stages.items():
            if wanted.isdisjoint(layer.name for layer in members):
                continue
            if _last(anatomy, members):
                chosen.append(Target(name, "stage"))
            else:
                skipped.append(Skipped(name, "stage", _end(anatomy, members)))
        skipped += [
            Skipped(layer.name, "layer", "it belongs to no stage")
            for layer in anatomy.layers
            if layer.name in wanted and layer.stage is None
        ]
        return chosen, skipped

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """The lesion, or that the stage has fewer blocks that can be deleted."""
        members = anatomy.stages[target.name]
        if amount > len(_last(anatomy, members)):
            reason = f"{self.amounts.text(amount)}: {_end(anatomy, members)}"
            return Skipped(target.name, target.kind, reason)
        return super().lesion(anatomy, target, amount, scores, settings)

    def blocks(self, anatomy: Anatomy, lesion: Lesion) -> Sequence[Block]:
        """So many of the stage's last."""
        return _last(anatomy, anatomy.stages[lesion.target])[: int(lesion.amount)]

    def among(self, anatomy: Anatomy, lesion: Lesion) -> Iterable[str]:
        """The stage's."""
        return (layer.name for layer in anatomy.stages[lesion.target])


def _last(anatomy: Anatomy, stage: Sequence[Layer]) -> list[Block]:
    """The blocks that can be deleted from a stage's end on, the last first."""
    own = [block for block in anatomy.blocks if block.stage == stage[0].stage]
    ends = [anatomy.places[layer.name] for layer in _unpassed(anatomy, stage)]
    end = max(ends, default=-1)
    return [block for block in reversed(own) if anatomy.places[block.members[0]] > end]


def _unpassed(anatomy: Anatomy, stage: Sequence[Layer]) -> list[Layer]:
    """The layers of a stage that look beyond their position, and that no stream passes."""
    inside = {name for block in anatomy.blocks for name in block.members}
    outer = (layer for layer in stage if layer.name not in inside)
    return [layer for layer in outer if max(layer.kernel, default=1) > 1]


def _end(anatomy: Anatomy, stage: Sequence[Layer]) -> str:
    """Why no more blocks can be deleted from a stage's end on."""
    few = len(_last(anatomy, stage))
    count = f"{few} block{'s' if few > 1 else ''}" if few else "no block that a stream passes"
    before = _unpassed(anatomy, stage)[-1:]
    behind = f", behind {before[0].name}, which no stream passes" if before and few else ""
    return f"it ends in {count}{behind}"


damage = Truncate()

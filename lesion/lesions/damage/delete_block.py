"""delete_block: blocks of residual networks deleted one by one (Veit et al. 2016)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import FLOAT, Saving
from lesion.errors import LesionError
from lesion.lesions.amounts import Amounts
from lesion.lesions.damage import Damage
from lesion.lesions.kept_cost import kept_cost, shrinking
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.ratios import matching
from lesion.network.anatomy import Anatomy, Block, Layer

if TYPE_CHECKING:
    from lesion.lesions.edits import Edit
    from lesion.network.dissection import Dissection


class DeleteBlock(Damage):
    """y = x + f(x) becomes y = x, and y = [x, f(x)] becomes y = x.

    What follows the addition stays, and so does what changes the stream's shape beside a block, a
    projection or padding.  Attention and the layers behind it are two blocks, since each is added.
    A dense block is its filters removed entirely.
    """

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
    scored = False

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
    ) -> tuple[list[Target], list[Skipped]]:
        """The blocks of which a layer matches, and the layers outside them with the reason."""
        wanted = matching(anatomy, layers)
        inside = {name for block in anatomy.blocks for name in block.members}
        chosen = [
            Target(block.name, "block")
            for block in anatomy.blocks
            if wanted.intersection(block.members)
        ]
        outside = (n for n in anatomy.layers if n.name in wanted and n.name not in inside)
        return chosen, [Skipped(layer.name, "layer", _reason(layer)) for layer in outside]

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """The stream alone is left, see `lesion.lesions.bypass`; or channels are gone."""
        from lesion.lesions.bypass import Bypass
        from lesion.lesions.edits import channels

        block = dissection.anatomy.block[lesion.target]
        if not block.unit:
            return Bypass.of(dissection, (block.name,))
        edit = channels(
            dissection, Target(block.unit, "free"), _appended(dissection.anatomy, block)
        )
        if not edit.edges:
            raise LesionError("nothing reads its channels")
        return edit

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving:
        """Of the branch; where it appends channels, of the layers that read them as well."""
        block = anatomy.block[lesion.target]
        gone = _appended(anatomy, block)
        readers = [name for name in shrinking(anatomy, gone) if name not in block.layers]
        staying = (*block.shared, *(name for name in readers if name not in block.shared))
        whole = kept_cost(anatomy, (*block.layers, *staying))
        left = kept_cost(anatomy, staying, gone=gone)
        fewer = block.macs - kept_cost(anatomy, block.layers).macs  # calls of those that stay
        macs = left.macs - fewer
        return Saving(whole, replace(left, macs=macs, dense_macs=macs, bops=macs * FLOAT * FLOAT))


def _appended(anatomy: Anatomy, block: Block) -> np.ndarray:
    """The channels that a dense block appends, as booleans."""
    gone = np.zeros(anatomy.channels, bool)
    if block.unit:
        gone[anatomy.unit[block.unit].labels] = True
    return gone


def _reason(layer: Layer) -> str:
    """Why no deleted block takes a layer with it."""
    if layer.number is None:
        return "it projects the stream beside a block, and stays without the block"
    return "no stream passes beside it that could take its place"


damage = DeleteBlock()

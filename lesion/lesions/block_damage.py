"""Damages that delete blocks: what is done, and what that saves, of one block or several."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import FLOAT, Saving
from lesion.errors import LesionError
from lesion.lesions.damage import Damage
from lesion.lesions.kept_cost import kept_cost
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.ratios import matching
from lesion.network.anatomy import Anatomy, Block, Layer

if TYPE_CHECKING:
    from lesion.lesions.edits import Edit
    from lesion.network.dissection import Dissection


class BlockDamage(Damage):
    """A damage that deletes blocks, each of which a stream passes.

    y = x + f(x) becomes y = x, and y = [x, f(x)] becomes y = x.  What follows the addition stays,
    and so does what changes the stream's shape beside a block, a projection or padding.  Attention
    and the layers behind it are two blocks, since each is added.  A dense block is its filters
    removed entirely.
    """

    scored = False

    def blocks(self, anatomy: Anatomy, lesion: Lesion) -> Sequence[Block]:
        """Those that a lesion deletes."""
        raise NotImplementedError

    def among(self, anatomy: Anatomy, lesion: Lesion) -> Iterable[str]:
        """The layers of which a lesion saves a share, beside those that it changes."""
        return ()

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """The streams alone are left, see `lesion.lesions.bypass`; or channels are gone."""
        from lesion.lesions.bypass import Bypass
        from lesion.lesions.edits import channels

        blocks = self.blocks(dissection.anatomy, lesion)
        units = tuple(block.unit for block in blocks if block.unit)
        if not units:
            return Bypass.of(dissection, tuple(block.name for block in blocks))
        if len(units) < len(blocks):
            raise LesionError("some of its blocks are added to their stream, others concatenated")
        gone = _appended(dissection.anatomy, blocks)
        edit = channels(dissection, Target("", "joint", units), gone)
        if not edit.edges:
            raise LesionError("nothing reads its channels")
        return edit

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving:
        """Of the branches; where they append channels, of the layers that read them as well."""
        blocks = self.blocks(anatomy, lesion)
        gone = _appended(anatomy, blocks)
        deleted, fewer = _without(anatomy, blocks)
        staying = {name for block in blocks for name in block.shared}
        staying.update(anatomy.shrinking(gone), self.among(anatomy, lesion))
        staying -= deleted
        left = kept_cost(anatomy, staying, gone=gone)
        macs = left.macs - fewer
        return Saving(
            kept_cost(anatomy, staying.union(deleted)),
            replace(left, macs=macs, dense_macs=macs, bops=macs * FLOAT * FLOAT),
        )


def check_draws(draws: int) -> None:
    """Raises LesionError unless there is a draw."""
    if draws < 1:
        raise LesionError(f"Expected draws of 1 or more, got {draws}; such as draws=5.")


def drawn(kind: Damage, draws: int, anatomy: Anatomy, layers: Sequence[str]) -> list[Target]:
    """So many draws of a network's blocks.

    Raises LesionError for patterns of some layers: a draw is of all blocks, so that it means the
    same in every study of a network.
    """
    if len(matching(anatomy, layers)) < len(anatomy.layers):
        raise LesionError(
            f"Expected {kind.name} of all layers, since it draws of all blocks, got "
            f"{', '.join(layers)}; leave the patterns out."
        )
    return [Target(f"draw {number + 1}", "network") for number in range(draws)]


def outside(anatomy: Anatomy, names: Collection[str]) -> list[Skipped]:
    """Those of some layers that no deleted block takes with it, with the reason."""
    inside = {name for block in anatomy.blocks for name in block.members}
    return [
        Skipped(layer.name, "layer", _reason(layer))
        for layer in anatomy.layers
        if layer.name in names and layer.name not in inside
    ]


def _reason(layer: Layer) -> str:
    """Why no deleted block takes a layer with it."""
    if layer.number is None:
        return "it projects the stream beside a block, and stays without the block"
    return "no stream passes beside it that could take its place"


def _appended(anatomy: Anatomy, blocks: Iterable[Block]) -> np.ndarray:
    """The channels that dense blocks append, as booleans."""
    gone = np.zeros(anatomy.channels, bool)
    for block in blocks:
        if block.unit:
            gone[anatomy.unit[block.unit].labels] = True
    return gone


def _without(anatomy: Anatomy, blocks: Sequence[Block]) -> tuple[set[str], int]:
    """The layers that run no more, and the multiply-accumulates of calls that others lose.

    Layers that several blocks share run no more where all of their calls are lost.
    """
    deleted, fewer = {name for block in blocks for name in block.layers}, 0
    for shared in {block.shared for block in blocks}:
        sharing = [block for block in blocks if block.shared == shared]
        lost = sum(block.macs - kept_cost(anatomy, block.layers).macs for block in sharing)
        if lost < kept_cost(anatomy, shared).macs:
            fewer += lost
        else:
            deleted.update(shared)
    return deleted, fewer

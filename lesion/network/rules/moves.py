"""Operations that move positions and change no value: they are run on the labels themselves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.network.anatomy import CONSTANT
from lesion.network.graph import Node, Ref, resolve
from lesion.network.labels import compress, ids
from lesion.network.rules.elementwise import join
from lesion.network.rules.opaque import unknown
from lesion.network.signatures import argument, takes
from lesion.network.walk import Rule, Walk

MOVES = {
    "view",
    "_unsafe_view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "transpose",
    "permute",
    "t",
    "slice",
    "select",
    "expand",
    "clone",
    "contiguous",
    "alias",
    "detach",
    "unbind",
    "split",
    "split_with_sizes",
    "chunk",
    "tensor_split",
    "roll",
    "flip",
    "repeat",
    "index",
    "index_select",
    "narrow",
    "movedim",
    "swapaxes",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
    "expand_as",
    "view_as",
    "unfold",
    "stack",
    "lift_fresh_copy",
    "moveaxis",
    "swapdims",
    "mT",
    "numpy_T",
    "ravel",
    "reshape_as",
    "broadcast_to",
    "unsafe_chunk",
    "hsplit",
    "vsplit",
    "dsplit",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "tile",
}
STACKED = {"hstack": 1, "column_stack": 1, "vstack": 0, "row_stack": 0, "dstack": 2}


def move(walk: Walk, node: Node, value: Any) -> Any:
    """The labels where the operation puts them."""
    args = _arguments(walk, node)
    result = _run(walk, node, args)
    if not isinstance(result, Tensor):
        _divided(walk, node, result)
        return [compress(part) for part in result]
    result = compress(result)
    if isinstance(args[0], Tensor):
        before = compress(args[0])
        if node.name in ("slice", "narrow"):
            _part(walk, before, result)
        _turned(walk, before, result)
    return result


def _part(walk: Walk, before: Tensor, after: Tensor) -> None:
    """Channels of which a part is taken: the parts of that size, where they divide them evenly."""
    whole, part = ids(before), ids(after)
    if 1 < len(part) < len(whole) and len(whole) % len(part) == 0 and walk.out.active(after):
        rows = whole.reshape(-1, len(part))
        if max(before.shape) == len(whole) and any(map(np.array_equal, rows, [part] * len(rows))):
            walk.out.parts.append(rows)


def _divided(walk: Walk, node: Node, parts: Sequence[Tensor]) -> None:
    """Equal parts lose equally many, since a forward cuts them by their number or their size."""
    alike = len({part.shape for part in parts}) == 1
    if len(parts) > 1 and alike and any(map(walk.out.active, parts)):
        rows = [ids(compress(part)) for part in parts]
        if len({len(row) for row in rows}) == 1 and not all(map(np.array_equal, rows, rows[1:])):
            walk.out.parts.append(np.stack(rows))


def _turned(walk: Walk, before: Tensor, after: Tensor) -> None:
    """Channels that are laid out in rows, which all stay, lose equally many of each; and where the
    rows are exchanged with what they hold, the same of each."""
    varying = [axis for axis, size in enumerate(after.shape) if size > 1]
    if len(varying) < 2 or not walk.out.active(after):
        return
    if sum(size > 1 for size in before.shape) < 2:
        walk.out.parts.append(np.unique(ids(after).reshape(-1, after.shape[varying[-1]]), axis=0))
    elif not torch.equal(before.flatten(), after.flatten()) and not _rows_move(before, after):
        first = next(axis for axis, size in enumerate(before.shape) if size > 1)
        walk.out.crossed.append(ids(before).reshape(before.shape[first], -1))


def _rows_move(before: Tensor, after: Tensor) -> bool:
    """Whether rows change their places alone, and hold what they held."""
    first, second = (
        np.unique(ids(part).reshape(-1, [size for size in part.shape if size > 1][-1]), axis=0)
        for part in (before, after)
    )
    return np.array_equal(first, second)


def cat(walk: Walk, node: Node, value: Tensor) -> Any:
    """Labels behind each other, along the axis that is named."""
    assert node.op is not None
    return _along(walk, node, value, int(argument(node.op, node.args, node.kwargs, "dim")))


def _along(walk: Walk, node: Node, value: Tensor, dim: int) -> Any:
    """Labels behind each other; united if the axis is one without channels (tokens, say)."""
    parts = [(0, walk.labels_of(ref.index)) for ref in node.args[0]]
    several = [labels for _, labels in parts if walk.out.active(labels)]
    if not several or any(labels.shape[dim] > 1 for labels in several):
        return move(walk, node, value)
    return join(walk, node, parts)


def side_by_side(walk: Walk, node: Node, value: Tensor) -> Any:
    """What is stacked horizontally, say, is concatenated along an axis by its name."""
    if value.dim() <= STACKED[node.name]:
        return unknown(walk, node, value)
    return _along(walk, node, value, STACKED[node.name])


def scatter(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """What y[:, 2:] = … without a trace in y becomes: labels written over others."""
    args = _arguments(walk, node)
    args[1] = walk.whole(node.args[1].index)
    return compress(_run(walk, node, args))


def pad(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """Constants beside the labels; along an axis without channels the padding does not count."""
    args = _arguments(walk, node)
    if node.name == "constant_pad_nd":
        args = [*args[:2], CONSTANT]
    elif len(args) < 3 or args[2] == "constant":
        args = [*args[:2], "constant", CONSTANT]
    else:
        args = args[:3]
    result = _run(walk, node, args)
    before = walk.labels_of(node.args[0].index)
    for axis in range(result.dim()):
        if before.shape[axis] == 1:
            result = _not_constant(result, axis)
    return compress(result)


def _not_constant(labels: Tensor, axis: int) -> Tensor:
    """The one label along an axis that is not CONSTANT, if there is one."""
    most = labels.masked_fill(labels == CONSTANT, -torch.inf).amax(axis, keepdim=True)
    return most.masked_fill(most.isinf(), CONSTANT)


def patches(walk: Walk, node: Node, value: Tensor) -> Any:
    """Every channel once for each pixel of a patch."""
    labels = walk.labels_of(node.args[0].index)
    if any(size > 1 for size in (*labels.shape[:1], *labels.shape[2:])):
        return unknown(walk, node, value)
    whole = labels.expand(-1, walk.values[node.args[0].index].shape[1], -1, -1).flatten(1)
    return compress(whole.repeat_interleave(value.shape[1] // whole.shape[1], 1).unsqueeze(2))


def repeated(walk: Walk, node: Node, value: Tensor) -> Any:
    """Each position several times; not what gives numbers of positions."""
    assert node.op is not None
    return (move if takes(node.op, "self") else unknown)(walk, node, value)


def _arguments(walk: Walk, node: Node) -> list[Any]:
    """The operation's arguments with labels in place of the first, a tensor or several."""
    first = node.args[0]
    moved: Any = (
        walk.whole(first.index)
        if isinstance(first, Ref)
        else [walk.whole(ref.index) for ref in first]
    )
    return [moved, *resolve(node.args[1:], walk.values)]


def _run(walk: Walk, node: Node, args: list[Any]) -> Any:
    assert node.op is not None
    return node.op(*args, **resolve(node.kwargs, walk.values))


def item(walk: Walk, node: Node, value: Any) -> Any:
    """The labels of one of several tensors."""
    return walk.labels_of(node.args[0].index)[node.args[1]]


RULES: dict[str, Rule] = {
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(("slice_scatter", "select_scatter"), scatter),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    **dict.fromkeys(STACKED, side_by_side),
    "repeat_interleave": repeated,
    "im2col": patches,
}

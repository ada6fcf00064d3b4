"""The pruned network itself: made by Torch-Pruning, checked, kept in a file and built up again.

small = apply(allocation, network, example)
save_pruned(small, allocation, "small.safetensors", example)
again = load_pruned(make_network(), "small.safetensors")
"""

import json
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lesion.boundary.files import write
from lesion.errors import LesionError, first_line
from lesion.exports.match import match, outputs
from lesion.exports.origin import about, texts
from lesion.exports.ownership import owning
from lesion.exports.targets.torch_pruning import pruned
from lesion.network.graph import Call
from lesion.network.trace import quiet
from lesion.rates.allocation import Allocation
from lesion.subject.adapter import Adapter, BatchAdapter, Unlabelled
from lesion.subject.batch import moved
from lesion.subject.network import device_of, evaluating


def apply(
    allocation: Allocation, network: nn.Module, example: Any, adapter: Adapter | None = None
) -> nn.Module:
    """A copy of the network without what falls, in the same mode; the network stays as it is.

    example: one batch of two images or more, as for `lesion.layers`
    Every tensor of the copy is compared with what the rates leave of the network's.  Modules that
    share a parameter share what stays of it.  Weights that are computed from others, and lose
    something, are plain parameters of the copy; a warning says so.
    Raises LesionError where a tensor differs, or the copy does not run, as `to_torch_pruning` does.
    """
    small, note = applied(allocation, network, example, adapter)
    if note:
        warnings.warn(note, stacklevel=2)
    return small


def applied(
    allocation: Allocation, network: nn.Module, example: Any, adapter: Adapter | None = None
) -> tuple[nn.Module, str]:
    """The same, and in words what became of computed weights; "" where there are none."""
    owned = owning(match(allocation, network, example, adapter))
    return pruned(owned), owned.note


def save_pruned(
    small: nn.Module,
    allocation: Allocation,
    path: str | Path,
    example: Any = None,
    adapter: Adapter | None = None,
) -> None:
    """The weights as safetensors, with the rates in its metadata, which `load_pruned` needs.

    small: what `apply` gave, trained further or not
    example: a batch; the shape of its images is kept, so that loading needs none, where they are
        all that the network reads of it
    """
    state = {name: value.contiguous().clone() for name, value in small.state_dict().items()}
    said = texts(allocation) | {"allocation": json.dumps(allocation.to_dict())}
    images = _images(example, adapter)
    if images is not None:
        said["example"] = json.dumps(list(images.shape))
    write(path, save(state, said))


def load_pruned(
    network: nn.Module, path: str | Path, example: Any = None, adapter: Adapter | None = None
) -> nn.Module:
    """The smaller network that `save_pruned` wrote, from a whole one of its kind.

    network: a whole one, with any weights, which stays as it is; example: a batch, where the file
        was written without a tensor
    Raises LesionError where the file holds no pruned network, or one of another kind.
    """
    allocation, shape = _read(path)
    if example is None and not shape:
        raise LesionError(
            f"Expected a batch to rebuild the network of {path}, which was saved without the shape "
            "of its images; give example=…."
        )
    if example is None:
        dtype = next((parameter.dtype for parameter in network.parameters()), torch.float32)
        example = torch.zeros(shape, dtype=dtype)
    small, _ = applied(allocation, network, example, adapter)
    try:
        small.load_state_dict(load_file(path))
    except RuntimeError as error:  # names and shapes that differ
        raise LesionError(
            f"Expected weights in {path} that fit {type(network).__name__}, but they do not: "
            f"{' '.join(str(error).split())}"
        ) from error
    return small


def export_pruned(
    small: nn.Module,
    allocation: Allocation,
    path: str | Path,
    example: Any,
    adapter: Adapter | None = None,
) -> None:
    """The pruned network in evaluation mode as a program of `torch.export`, usually "….pt2".

    It takes the images, or all tensors of a batch that holds more than images and labels, of any
    number of images where torch can tell; "lesion.json" among its extra files says whose rates
    these are.
    Raises LesionError where torch cannot export the network.
    """
    batch = moved(example, device_of(small))
    module, given = _program(small, batch, adapter)
    tensors = tuple(tensor.detach() for tensor in given)  # torch.export marks what it is given
    images = tensors[0].shape[:1]
    free = tuple(
        {0: torch.export.Dim.AUTO} if tensor.shape[:1] == images else None for tensor in tensors
    )
    try:
        with evaluating(small), torch.no_grad(), quiet():
            shapes: Any = free if module is small else (free,)
            program = torch.export.export(module, tensors, dynamic_shapes=shapes, strict=False)
        extra = {"lesion.json": json.dumps(about(allocation))}
        file = BytesIO()  # torch ends the process where a disk is full
        torch.export.save(program, file, extra_files=extra)
    except Exception as error:  # torch.export raises a different class for each thing it refuses
        raise LesionError(
            f"Expected a network that torch.export can trace, but it refuses "
            f"{type(small).__name__} ({first_line(error)}); keep it with save_pruned."
        ) from error
    write(path, file.getvalue())


def _program(
    network: nn.Module, batch: Any, adapter: Adapter | None
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """What is exported, and its arguments: where images are all it reads, the network itself."""
    images = _images(batch, adapter)
    if images is not None:
        return network, (images,)
    call = Call(network, lambda module, given: outputs(module, given, adapter), batch)
    return call, call.tensors(batch)


def _images(example: Any, adapter: Adapter | None) -> Tensor | None:
    """The images of a batch, if the network reads nothing else of it: a tensor, or with labels."""
    if adapter is not None and not isinstance(adapter, (BatchAdapter, Unlabelled)):
        return None
    pair = isinstance(example, (tuple, list)) and len(example) == 2
    images = example[0] if pair and not isinstance(adapter, Unlabelled) else example
    return images if isinstance(images, Tensor) else None


def _read(path: str | Path) -> tuple[Allocation, list[int]]:
    """The rates in a file, and the shape of the batch, [] without."""
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise LesionError(
            f"Expected a pruned network in {path}, but it cannot be read ({first_line(error)})."
        ) from error
    if "allocation" not in said:
        raise LesionError(
            f"Expected a pruned network in {path}, but it lacks the rates; give a file that "
            "save_pruned wrote."
        )
    shape = said.get("example", "")
    return Allocation.from_dict(json.loads(said["allocation"])), json.loads(shape or "[]")

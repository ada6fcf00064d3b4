"""Pruned networks as programs, for runtimes without their classes: torch.export and ONNX."""

import json
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from lesion.boundary.files import write
from lesion.errors import LesionError, first_line
from lesion.exports.match import outputs
from lesion.exports.origin import about
from lesion.exports.outputs import difference
from lesion.network.graph import Call
from lesion.network.trace import quiet
from lesion.rates.allocation import Allocation
from lesion.subject.adapter import Adapter, BatchAdapter, Unlabelled
from lesion.subject.batch import moved
from lesion.subject.network import device_of, evaluating
from lesion.subject.snapshot import unchanged


def export_pruned(
    small: nn.Module,
    allocation: Allocation,
    path: str | Path,
    example: Any,
    adapter: Adapter | None = None,
) -> None:
    """The pruned network in evaluation mode as a program: ONNX at "….onnx", else `torch.export`.

    It takes the images, or all tensors of a batch that holds more than images and labels, of any
    number of images where torch can tell; "lesion.json" among the extra files of torch.export, or
    "lesion" among the metadata of ONNX, says whose rates these are.
    It is run once, ONNX where ONNX Runtime is installed, and its outputs are the network's to 1e-4
    of their size.  ONNX needs the extra: `pip install "lesion[onnx]"`.
    Raises LesionError where torch cannot export the network, or the program gives other outputs.
    """
    if onnx := Path(path).suffix == ".onnx":
        _check_installed()
    batch = moved(example, device_of(small))
    module, given = _program(small, batch, adapter)
    tensors = tuple(tensor.detach() for tensor in given)  # torch.export marks what it is given
    said = json.dumps(about(allocation))
    with unchanged(small), evaluating(small), torch.no_grad(), quiet():
        wanted = _flat(module(*(tensor.clone() for tensor in tensors)))
        program = _exported(small, module, tensors)
        if onnx:
            content, got = _as_onnx(program, tensors, said)
        else:
            content, got = _as_pt2(program, said), _flat(program.module()(*tensors))
    if got is not None and (problem := difference(got, wanted)):
        raise LesionError(
            f"Expected the program for {path} to give what the network gives, but {problem}; keep "
            "the network with save_pruned."
        )
    write(path, content)


def _exported(small: nn.Module, module: nn.Module, tensors: tuple[Tensor, ...]) -> ExportedProgram:
    images = tensors[0].shape[:1]
    free = tuple(
        {0: torch.export.Dim.AUTO} if tensor.shape[:1] == images else None for tensor in tensors
    )
    shapes: Any = free if module is small else (free,)
    try:
        return torch.export.export(module, tensors, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch.export raises a different class for each thing it refuses
        raise LesionError(
            f"Expected a network that torch.export can trace, but it refuses "
            f"{type(small).__name__} ({first_line(error)}); keep it with save_pruned."
        ) from error


def _as_pt2(program: ExportedProgram, said: str) -> bytes:
    file = BytesIO()  # torch ends the process where a disk is full
    torch.export.save(program, file, extra_files={"lesion.json": said})
    return file.getvalue()


def _as_onnx(
    program: ExportedProgram, tensors: tuple[Tensor, ...], said: str
) -> tuple[bytes, list[Tensor] | None]:
    """The program as ONNX, and what ONNX Runtime gives for the tensors, None without it."""
    try:
        converted = torch.onnx.export(program, dynamo=True, verbose=False)
        assert converted is not None
        proto = converted.model_proto
        entry = proto.metadata_props.add()
        entry.key, entry.value = "lesion", said
        content: bytes = proto.SerializeToString()
    except Exception as error:  # the converter raises a different class for each thing it lacks
        raise LesionError(
            "Expected a network whose operations ONNX has, but torch cannot convert it "
            f"({first_line(_root(error))}); export it as ….pt2, or keep it with save_pruned."
        ) from error
    return content, _onnx_outputs(content, tensors) if find_spec("onnxruntime") else None


def _root(error: BaseException) -> BaseException:
    """What an error was raised from in the end: the converter's own say only how far it came."""
    return _root(error.__cause__) if error.__cause__ else error


def _onnx_outputs(content: bytes, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        arrays = [tensor.cpu().numpy() for tensor in tensors]
        names = [given.name for given in session.get_inputs()]
        results = session.run(None, dict(zip(names, arrays, strict=True)))
    except Exception as error:  # of classes that onnxruntime hides
        raise LesionError(
            f"Expected a program that ONNX Runtime runs, but it fails ({first_line(error)}); "
            "export it as ….pt2, or keep it with save_pruned."
        ) from error
    return [torch.from_numpy(result) for result in results]


def _check_installed() -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise LesionError(
            f'Expected {" and ".join(missing)} for an .onnx file; pip install "lesion[onnx]".'
        )


def _flat(given: Any) -> list[Tensor]:
    """The tensors in outputs, in the order in which torch.export takes them."""
    return [leaf.detach() for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]


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

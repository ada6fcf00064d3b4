"""What is found in a batch and in a network's outputs: tensors, logits, labels, rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lesion.errors import SubjectError


def logits(outputs: Any) -> Tensor:
    """The logits, shape (N, classes), in the outputs of a network.

    Outputs are a tensor; a dict or an object ("logits", "out", or its only tensor); or a tuple or
    list (its first tensor of that shape, if there is none of another width).

    >>> logits({"aux": torch.zeros(1, 2), "out": torch.ones(1, 2)})
    tensor([[1., 1.]])
    """
    tensor = _tensor(outputs)
    if isinstance(outputs, (tuple, list)) and not _called_logits(outputs):
        fitting = [value for value in outputs if _may_be_logits(value)]
        tensor = fitting[0] if len({value.shape for value in fitting}) == 1 else None
    if not _may_be_logits(tensor):
        choose = len(tensors_in(outputs)) > 1
        hint = "choose one of them (--output 1; adapter=lesion.Output(1)), or " if choose else ""
        raise SubjectError(
            "Expected logits of shape (images, classes) among the network's outputs, "
            f"got {describe(outputs)}; {hint}give an adapter whose forward returns them."
        )
    return tensor


def output(outputs: Any) -> Tensor:
    """The tensor (N, …) in the outputs of a network, found as `logits` finds it, of any shape."""
    tensor = _tensor(outputs)
    if tensor is None:
        raise SubjectError(
            f"Expected one tensor among the network's outputs, got {describe(outputs)}; give an "
            "adapter whose forward returns it."
        )
    return tensor


def first_output(outputs: Any) -> Tensor:
    """The tensor that `output` finds, or the first of all, however deep they lie."""
    found = _tensor(outputs)
    if found is None:
        found = next(every_tensor(outputs), None)
    return output(outputs) if found is None else found


def _tensor(outputs: Any) -> Tensor | None:
    if isinstance(outputs, Tensor):
        return outputs
    if _called_logits(outputs):
        return outputs.logits  # type: ignore[no-any-return]
    tensors = tensors_in(outputs)
    named = [tensors[name] for name in ("logits", "out") if name in tensors]
    first = len(tensors) == 1 or isinstance(outputs, (tuple, list))
    return named[0] if named else next(iter(tensors.values()), None) if first else None


def _called_logits(outputs: Any) -> bool:
    return isinstance(getattr(outputs, "logits", None), Tensor)


def _may_be_logits(value: Any) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point()


def tensors_in(outputs: Any) -> dict[str | int, Tensor]:
    """The tensors among a network's outputs, by their names or places; {} for one alone.

    >>> list(tensors_in(("text", torch.zeros(1)))), list(tensors_in({"a": torch.zeros(1)}))
    ([1], ['a'])
    """
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(outputs, Mapping):
        parts = outputs.items()
    elif isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        parts = zip(outputs._fields, outputs, strict=True)
    elif isinstance(outputs, (tuple, list)):
        parts = enumerate(outputs)
    elif not isinstance(outputs, Tensor) and hasattr(outputs, "__dict__"):
        parts = vars(outputs).items()
    return {name: value for name, value in parts if isinstance(value, Tensor)}


def every_tensor(outputs: Any) -> Iterator[Tensor]:
    """The tensors in a network's outputs, however deep: in sequences, mappings and dataclasses.

    >>> [tensor.item() for tensor in every_tensor({"a": (torch.tensor(1), [torch.tensor(2)])})]
    [1, 2]
    """
    if isinstance(outputs, Tensor):
        yield outputs
        return
    if is_dataclass(outputs) and not isinstance(outputs, (type, Mapping)):
        outputs = vars(outputs)
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    for value in parts if isinstance(outputs, (tuple, list, Mapping)) else ():
        yield from every_tensor(value)


def moved(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on `device`; other things as they are."""
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(value, device) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(moved(value, device) for value in batch)
    if isinstance(batch, dict):
        return {name: moved(value, device) for name, value in batch.items()}
    return batch.to(device) if hasattr(batch, "to") else batch


def cloned(batch: Any) -> Any:
    """The batch with copies of its tensors, for a network that may change what it is given."""
    return pytree.tree_map_only(Tensor, torch.clone, batch)


def describe(value: Any) -> str:
    """A value in a few words for an error: types, shapes, names.

    >>> describe((torch.zeros(2, 3), [torch.zeros(2).int()]))
    '(float32 (2, 3), [int32 (2,)])'
    """
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {describe(v)}" for k, v in list(value.items())[:6]) + "}"
    if isinstance(value, (tuple, list)):
        left, right = "()" if isinstance(value, tuple) else "[]"
        return left + ", ".join(map(describe, value[:4])) + (", …" * (len(value) > 4)) + right
    return type(value).__name__

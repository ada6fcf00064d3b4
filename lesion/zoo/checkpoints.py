"""Weights from a file into a network, without running code that the file may hold."""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lesion.errors import SubjectError

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "weights",
    "params",
)
PREFIXES = ("module.", "model.", "_orig_mod.", "network.", "net.")
STEPS = "num_batches_tracked"  # batch norm's counter: old files lack it, evaluation ignores it
SHOWN = 3

State = dict[str, Tensor]


def load(network: nn.Module, path: Path) -> None:
    """Puts the weights in `path` into the network.

    Understands safetensors and what torch.save makes of a state_dict, alone or under a key such as
    "state_dict" or "model", with names that begin with "module.", "model." or "_orig_mod.".
    Raises SubjectError where the file is missing, unreadable, holds code, or does not fit.
    """
    network.load_state_dict(fitted(read(path), network, path.name), strict=False)


def read(path: Path) -> State:
    """The names and tensors in a safetensors file or a saved state_dict."""
    if not path.is_file():
        raise SubjectError(f"Expected a file of weights at {path}, found none; check the path.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise SubjectError(
                f"Expected a safetensors file, but {path} cannot be read as one ({error}); "
                "it may be damaged: copy or save it again."
            ) from error
    return _tensors(_unpickled(path), path)


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is in the error
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is not its own
        code = re.search(r"(?:GLOBAL|class|global:?) '?([\w.]+)'? was not an allowed", str(error))
        if code or "TorchScript" in str(error):
            what = f"{code.group(1)}" if code else "a TorchScript program"
            raise SubjectError(
                f"Expected plain weights, but {path} holds pickled Python objects ({what}), and "
                "loading those can run code; save the weights alone, with "
                "torch.save(network.state_dict(), FILE) or as safetensors."
            ) from error
        kind = "the file ends early" if isinstance(error, EOFError) else type(error).__name__
        raise SubjectError(
            f"Expected weights saved by torch.save or as safetensors, but {path} cannot be read "
            f"as such ({kind}); it may be damaged, or of another kind."
        ) from error


def _tensors(content: Any, path: Path) -> State:
    """The state_dict in a checkpoint, wherever its wrappers put it."""
    seen = set[int]()
    while isinstance(content, Mapping) and id(content) not in seen:  # one may hold itself
        seen.add(id(content))
        inner = next((content[k] for k in WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
            if tensors:
                return tensors
            break
        content = inner
    came = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        came = f"a dict of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    raise SubjectError(
        f"Expected a state_dict (names and tensors) in {path}, got {came}; "
        "save it with torch.save(network.state_dict(), FILE)."
    )


def fitted(state: State, network: nn.Module, source: str) -> State:
    """`state` under the names of the network's own state_dict.

    Raises SubjectError naming the first tensors that are missing, unexpected or of another shape.
    """
    expected = {name: v for name, v in network.state_dict().items() if isinstance(v, Tensor)}
    state = max(_renamed(state), key=lambda names: len(expected.keys() & names.keys()))
    missing = [name for name in expected if name not in state and not name.endswith(STEPS)]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"'{name}' is {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    complaints = [
        *_listed("missing ", [f"'{name}'" for name in missing]),
        *_listed("unexpected ", [f"'{name}'" for name in unexpected]),
        *_listed("", shapes),
    ]
    if complaints:
        raise SubjectError(
            f"Expected weights of this {type(network).__name__}, but those in {source} do not fit: "
            f"{'; '.join(complaints)}; give the weights of this network, "
            "or the network of these weights (number of classes included)."
        )
    _check_plain(state, expected, source)
    return state


def _check_plain(state: State, expected: State, source: str) -> None:
    """Raises SubjectError for tensors whose values would be lost, or changed, on the way."""
    for name in expected.keys() & state.keys():
        if name.endswith(STEPS):
            continue
        kind = _unlike(state[name], expected[name])
        if kind:
            raise SubjectError(
                f"Expected weights of dense {_dtype(expected[name])}, or what converts to it, but "
                f"'{name}' in {source} is {kind}; save the state_dict of the network as it was "
                "trained."
            )


def _unlike(tensor: Tensor, expected: Tensor) -> str:
    """What a tensor is that cannot stand for the network's own; "" if it can."""
    if tensor.is_meta:
        return "without values (on the device meta)"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout is not torch.strided or tensor.is_nested:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_complex() and not expected.is_complex():
        return "complex"
    numbers = tensor.is_floating_point() or tensor.is_complex()
    return _dtype(tensor) if expected.is_floating_point() and not numbers else ""


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _renamed(state: State) -> Iterator[State]:
    """The state itself, then without one leading prefix after another."""
    while True:
        yield state
        prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in state)), None)
        if prefix is None:
            return
        shorter = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        if len(shorter) < len(state):
            return  # two tensors would share a name
        state = shorter


def _listed(kind: str, names: list[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield kind + ", ".join(names[:SHOWN]) + more

"""What an answer may depend on besides the images: random numbers, and what earlier calls left."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tag, Tensor, nn

from lesion.network.graph import Graph, Node

KEPT = {"copy", "fill", "zeros_like"}  # whose first argument gives its shape alone


def drawing(graph: Graph) -> Node | None:
    """The first operation behind the output that draws random numbers, None without one."""
    return next((node for node in behind(graph) if node.kind == "call" and _draws(node)), None)


def kept(graph: Graph) -> str:
    """The first parameter or buffer that the output depends on and the forward changes; or ""."""
    parameters = (node.name for node in behind(graph) if node.kind == "parameter")
    return next((name for name in parameters if name in graph.written), "")


def behind(graph: Graph) -> list[Node]:
    """The nodes on whose values the output depends, in order."""
    wanted, nodes = {graph.output}, []
    for node in reversed(graph.nodes):
        if node.index in wanted:
            nodes.append(node)
            wanted.update(node.inputs[1:] if node.operation in KEPT else node.inputs)
    return nodes[::-1]


def _draws(node: Node) -> bool:
    """Whether a call draws; dropout in evaluation mode, or with a probability of zero, does not."""
    if Tag.nondeterministic_seeded not in getattr(node.op, "tags", ()):
        return False
    given = _arguments(node)
    if not given.get("train", True) or not given.get("training", True):
        return False
    return not any(given.get(name, 1) == 0 for name in ("p", "dropout_p"))


def _arguments(node: Node) -> dict[str, object]:
    """A call's arguments by name, those left out with their defaults."""
    op: Any = getattr(node.op, "changing", node.op)
    parameters = op._schema.arguments
    defaults = {p.name: p.default_value for p in parameters if p.has_default_value()}
    positional = zip((p.name for p in parameters), node.args, strict=False)
    return {**defaults, **dict(positional), **node.kwargs}


def streams() -> dict[str, bytes]:
    """Where the common sources of random numbers stand."""
    devices: list[Tensor] = []
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        devices = torch.cuda.get_rng_state_all()
    torchs = b"".join(tensor.numpy().tobytes() for tensor in (torch.get_rng_state(), *devices))
    numpys = b"".join(np.asarray(part).tobytes() for part in np.random.get_state())
    python = repr(random.getstate()).encode()
    return {"torch": torchs, "Python's random": python, "numpy.random": numpys}


def state(network: nn.Module) -> dict[str, Any]:
    """What a network's modules hold besides parameters and modules, in forms that tell changes."""
    return {
        f"{name}.{key}".removeprefix("."): _form(value)
        for name, module in network.named_modules()
        for key, value in (*vars(module).items(), *module._buffers.items())
        if not key.startswith("_") or key not in vars(nn.Module())
    }


def _form(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)):
        return value
    size = len(value) if isinstance(value, (list, dict, set)) else getattr(value, "_version", 0)
    return id(value), size

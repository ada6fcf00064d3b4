"""Which nodes of an ONNX file compute which layers: those that hold the layers' weights.

Names tell nothing sure: exporters number nodes, and fold batch norms and transpositions into
weights of other names.  So weights are compared: those of a node are a layer's where each filter
points the same way.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lesion.errors import LesionError, first_line
from lesion.lesions.readers import tensor_of
from lesion.network.anatomy import Anatomy

OPERATIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
NEAR = 0.01  # how far filters may point apart, of their length: more than half precision needs


def nodes_of(
    path: Path, network: nn.Module, anatomy: Anatomy, layers: Sequence[str]
) -> dict[str, str]:
    """The nodes that compute the layers named, in the order of the file, each with its layer.

    Raises LesionError where the file cannot be read, a layer has no node in it, or a node has no
    name or weights that several layers have.
    """
    weights = {
        layer.name: tensor_of(network, layer.weight).detach().float().cpu().numpy()
        for layer in anatomy.layers
    }
    names = {layer.weight: layer.name for layer in anatomy.layers}
    nodes: dict[str, str] = {}
    for node, held, values in _held(_read(path)):
        alike = [layer for layer, weight in weights.items() if same_filters(values, weight)]
        if len(alike) > 1 and names.get(held) in alike:
            alike = [names[held]]
        if set(alike) & set(layers):
            _check(path, node, alike)
            nodes[node] = alike[0]
    missing = [layer for layer in layers if layer not in nodes.values()]
    if missing:
        raise LesionError(
            f"Expected a node with the weight of {missing[0]} in {path}, got none; give an ONNX "
            "file of the network that was swept, neither pruned nor quantised."
        )
    return nodes


def _check(path: Path, node: str, alike: Sequence[str]) -> None:
    if len(alike) > 1 or not node:
        what = f"weights of both {alike[0]} and {alike[1]}" if len(alike) > 1 else "no name"
        raise LesionError(
            f"Expected nodes in {path} that can be told apart, but one that computes {alike[0]} "
            f"has {what}; export the network anew by torch.onnx.export."
        )


def same_filters(values: np.ndarray, weight: np.ndarray) -> bool:
    """Whether a node's weight is a layer's, as it is or with a factor for each of its filters.

    >>> weight = np.array([[1.0, 2.0], [3.0, 1.0]])
    >>> same_filters(weight * [[2.0], [-1.0]], weight), same_filters(weight.T, weight)
    (True, True)
    >>> same_filters(weight + [[0.0, 1.0], [1.0, 0.0]], weight)
    False
    """
    turned = [values, values.T] if values.ndim == 2 else [values]
    return any(_alike(each, weight) for each in turned if each.shape == weight.shape)


def _alike(values: np.ndarray, weight: np.ndarray) -> bool:
    if np.allclose(values, weight, NEAR, 1e-6 * float(np.abs(weight).max(initial=0.0))):
        return True
    if not values.any():
        return False  # a factor of zero makes any weight of any other
    return any(_parallel(values, weight, axis) for axis in (0, 1))


def _parallel(values: np.ndarray, weight: np.ndarray, axis: int) -> bool:
    """Whether all slices along an axis of the filters point the same way, or the opposite one."""
    filters = [np.moveaxis(each, axis, 0).astype(np.float64) for each in (values, weight)]
    found, known = (each.reshape(len(each), -1) for each in filters)
    if found.shape[1] < 2:
        return False  # numbers all point the same way
    squares = (known**2).sum(1)
    factors = (found * known).sum(1) / np.where(squares, squares, 1.0)
    apart = np.linalg.norm(found - factors[:, None] * known, axis=1)
    return bool((apart <= NEAR * np.linalg.norm(found, axis=1)).all())


def _read(path: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise LesionError(
            'Expected onnx, which reads an .onnx file; pip install "lesion[onnx]".'
        ) from error
    try:
        return onnx.load(path).graph
    except Exception as error:  # protobuf raises errors of its own, and files those of the system
        raise LesionError(
            f"Expected an ONNX file, but {path} cannot be read ({first_line(error)}); write one by "
            "torch.onnx.export."
        ) from error


def _held(graph: Any) -> Iterator[tuple[str, str, np.ndarray]]:
    """Of each constant weight the node that computes with it, what it is called, and its values."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}
    for name, node in made.items():
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[name] = node.attribute[0].t
    for node in graph.node:
        if node.op_type not in OPERATIONS:
            continue
        for given in node.input[:2]:
            name, turns = _source(given, made)
            if name in constants:
                values = numpy_helper.to_array(constants[name]).astype(np.float32)
                for turn in turns:
                    values = values.transpose(turn)
                yield node.name, name, values


def _source(name: str, made: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """What a value is before it is passed on, cast and transposed, and its transpositions."""
    turns: list[Any] = []
    while name in made and made[name].op_type in ("Identity", "Cast", "Transpose"):
        node = made[name]
        if node.op_type == "Transpose":
            turns.insert(0, next((tuple(a.ints) for a in node.attribute if a.name == "perm"), None))
        name = node.input[0]
    return name, turns

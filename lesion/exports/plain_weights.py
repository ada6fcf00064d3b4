"""Weights that are computed from others, as by weight norm: made parameters where they lose
something, since what is computed of fewer is not what stays of what was computed."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lesion.errors import LesionError
from lesion.exports.match import Match
from lesion.network.constants import WEIGHTED
from lesion.network.dissection import Dissection
from lesion.network.graph import Graph, Node, Ref, state_of
from lesion.network.parameter_masks import masks
from lesion.network.torch_layers import LAYERS, as_layer, kind_of, put_in_place

INSTEAD = "hand over which filters stay (--to masks)"


def note(layers: Iterable[str]) -> str:
    """What becomes of the weights of such layers, in words; "" for none."""
    names = ", ".join(layers)
    return names and (
        f"The weights of {names} are computed from others (as by weight norm); in the pruned "
        "network they are plain parameters with the values that they have now."
    )


def computing(matched: Match) -> dict[str, Node]:
    """The modules whose computed weights lose something, and that do what one of torch's layers
    does with them, each with its call."""
    return {node.module: node for _, node in computed(matched) if _is_layer(matched, node)}


def check_plain(matched: Match, plain: Iterable[str] = ()) -> None:
    """Raises LesionError where what falls lies in weights that are no parameters of a layer.

    plain: modules whose weights are made parameters
    """
    wanting = {name for name, node in computed(matched) if node.module not in plain}
    for layer in matched.anatomy.layers:
        if layer.weight in wanting or layer.bias in wanting:
            raise LesionError(
                f"Expected weights that are parameters, but that of {layer.name} is computed from "
                "others at every pass; make it a parameter (remove_parametrizations or "
                f"prune.remove of torch.nn.utils) and sweep that network, or {INSTEAD}."
            )


def computed(matched: Match) -> list[tuple[str, Node]]:
    """The weights and biases that lose something and are computed, each with its layer's call."""
    losing, graph = masks(matched.anatomy, matched.dropped), matched.dissection.graph
    return [
        (leaf.name, node)
        for node in calls(matched.dissection)
        for leaf in _leaves(graph, node).values()
        if leaf.name in losing and _sources(graph, leaf)
    ]


def _leaves(graph: Graph, node: Node) -> dict[str, Node]:
    """The weight and bias that a layer's call takes."""
    pairs = zip(("weight", "bias"), node.args[1:3], strict=False)
    return {leaf: graph.nodes[ref.index] for leaf, ref in pairs if isinstance(ref, Ref)}


def _sources(graph: Graph, leaf: Node) -> list[str]:
    """The parameters that one is computed from; none where it is another layer's, turned round.

    A computed one may have the name of the parameter whose place it takes.
    """
    names = [graph.nodes[ref.index].name for ref in leaf.args]
    turned = names != [leaf.name] and all(
        graph.parameters[name] is graph.parameters[leaf.name] for name in names
    )
    return [] if turned else names


def _is_layer(matched: Match, node: Node) -> bool:
    """Whether a call is all that a module of torch's kinds does with the images, or torch's own."""
    module = matched.network.get_submodule(node.module)
    if not node.module or not isinstance(module, LAYERS):
        return False
    graph = matched.dissection.graph
    varying = (graph.nodes[index] for index in graph.varying())
    inside = f"{node.module}."
    steps = {step.operation for step in varying if f"{step.module}.".startswith(inside)}
    return type(module).forward is kind_of(module).forward or steps == {node.operation}


def calls(dissection: Dissection) -> list[Node]:
    """The calls that are layers."""
    return [node for node in dissection.graph.nodes if node.operation in WEIGHTED]


def make_plain(network: nn.Module, graph: Graph, layers: Mapping[str, Node]) -> None:
    """Puts torch's own layers in the place of modules, with the weights that those compute."""
    tensors = dict(state_of(network))
    made: dict[str, nn.Parameter] = {}
    for path, node in layers.items():
        module = network.get_submodule(path)
        plain = as_layer(module)
        for leaf, source in _leaves(graph, node).items():
            if source.name not in made:
                made[source.name] = _parameter(tensors, graph, source)
            setattr(plain, leaf, made[source.name])
        put_in_place(network, module, plain)


def _parameter(tensors: Mapping[str, Tensor], graph: Graph, leaf: Node) -> nn.Parameter:
    """The parameter that a weight or bias is, or one with the value that is computed."""
    names = _sources(graph, leaf)
    tensor = tensors.get(leaf.name)
    if not names and isinstance(tensor, nn.Parameter):
        return tensor
    learns = any(tensors[name].requires_grad for name in names if name in tensors)
    return nn.Parameter(graph.parameters[leaf.name].detach().clone(), learns)

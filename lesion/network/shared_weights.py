"""Weights that serve for more than one thing: which of them cannot lose a filter, and why not."""

from lesion.network.constants import WEIGHTED
from lesion.network.graph import Graph, Node, Ref


def shared(graph: Graph) -> dict[str, str]:
    """For weights of layers that something else uses too, in another way, what that is.

    A weight that a layer uses turned round too is left out: its axes stay those of channels.
    """
    layers = [n for n in graph.nodes if n.operation in WEIGHTED and _weight(graph, n)]
    weights = {n.args[1].index: n for n in layers}
    uses: dict[int, list[tuple[int, str]]] = {}
    for index, node in weights.items():
        for root in _roots(graph, index):
            uses.setdefault(root, []).append((index, node.name))
    conflicts: dict[str, str] = {}
    for root, sharers in uses.items():
        for index, _ in sharers:
            others = [name for at, name in sharers if not _linked(graph, index, at, weights)]
            others += [node.name for node in _plain(graph, root)]
            if others and _follows(graph, root, index):
                conflicts[graph.nodes[index].name] = others[0]
    return conflicts


def _weight(graph: Graph, node: Node) -> bool:
    return isinstance(node.args[1], Ref) and graph.nodes[node.args[1].index].kind == "parameter"


def _roots(graph: Graph, index: int) -> list[int]:
    """The parameters of the network that a weight is computed from, or is."""
    sources = [ref.index for ref in graph.nodes[index].args]
    return [root for at in sources for root in _roots(graph, at)] if sources else [index]


def _linked(graph: Graph, first: int, second: int, weights: dict[int, Node]) -> bool:
    """Whether two weights are the same, or one the other turned round, both without groups."""
    if first == second:
        return True
    same = graph.parameters[graph.nodes[first].name] is graph.parameters[graph.nodes[second].name]
    return same and all(_ungrouped(weights[at]) for at in (first, second))


def _ungrouped(node: Node) -> bool:
    return "linear" in node.name or len(node.args) < 7 or node.args[6] == 1


def _plain(graph: Graph, root: int) -> list[Node]:
    """The calls that take a parameter for something else than a layer's weight or bias."""
    return [
        node
        for node in graph.nodes
        if node.kind == "call"
        and root in node.inputs
        and not (node.name in WEIGHTED and Ref(root) in node.args[1:3])
    ]


def _follows(graph: Graph, root: int, weight: int) -> bool:
    """Whether a parameter has an axis as long as one along which its weight has channels."""
    sizes = set(graph.parameters[graph.nodes[weight].name].shape[:2]) - {1}
    return bool(sizes & set(graph.parameters[graph.nodes[root].name].shape))

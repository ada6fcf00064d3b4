"""From a network and one batch to its anatomy, with the graph and edges that the engine cuts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lesion.errors import SubjectError
from lesion.network.alike import Alike
from lesion.network.anatomy import CONSTANT, Anatomy, Layer
from lesion.network.blocks import blocks
from lesion.network.canonical import lowered
from lesion.network.couple import couple
from lesion.network.dissection import Dissection
from lesion.network.eager import check_eager
from lesion.network.graph import Call, Forward, Graph, of_the_batch
from lesion.network.hidden_inputs import others, with_hidden
from lesion.network.labels import Coupling, Edge, Making
from lesion.network.parameter_axes import parameters
from lesion.network.record import record
from lesion.network.sliceable import sliceable
from lesion.network.stages import places
from lesion.network.trace import TraceError, trace
from lesion.network.training_only import with_training
from lesion.network.units import Joined, join
from lesion.subject.checks import check_network
from lesion.subject.snapshot import unchanged


def dissect(network: nn.Module, forward: Forward, batch: Any, *, scored: bool = True) -> Dissection:
    """The anatomy of `forward(network, batch)`, the network being in evaluation mode.

    scored: whether what `forward` gives is all that counts, so that layers which only other outputs
        of the network depend on are tied

    A network that cannot be traced for any input is traced for this batch alone; then its anatomy
    says under `whole` why it has to be measured by whole forward passes.  The network comes back as
    it was.  Raises SubjectError for one that mixes the images of a batch, draws random numbers or
    keeps a state.
    """
    check_network(network)
    call = Call(network, forward, batch)
    with unchanged(network):
        graph, whole = _followed_through(call, network, forward, batch)
    with torch.no_grad():
        coupling = couple(graph, call.tensors(batch), scored=scored)
    coupling = with_training(coupling, call, batch)
    names = _names(coupling.makings)
    joined = join(coupling, names)
    makings = {names[weight]: made for weight, made in coupling.makings.items()}
    flows = {name: _flow(made, coupling, joined) for name, made in makings.items()}
    layers = _layers(graph, makings, joined, flows)
    deletable, branches = blocks(coupling, makings, joined, layers)
    anatomy = Anatomy(
        layers=layers,
        units=joined.units,
        parameters=parameters(network, coupling, joined),
        notes=tuple(dict.fromkeys(coupling.notes)),
        whole=whole,
        blocks=deletable,
    )
    mixing = [edge for edge in coupling.edges if edge.role in ("read", "norm")]
    counting = graph.reaching if scored else {node.index for node in graph.nodes}
    reads, other_reads = (
        tuple(_final(edge, joined) for edge in mixing if (edge.node in counting) is on_the_way)
        for on_the_way in (True, False)
    )
    nodes = {name: tuple(made.nodes) for name, made in makings.items()}
    numbered = frozenset(_numbered(coupling, joined, network))
    dissection = Dissection(
        anatomy=anatomy,
        graph=graph,
        call=call,
        reads=reads,
        other_reads=other_reads,
        flows=flows,
        sizes=coupling.sizes,
        nodes=nodes,
        labels=coupling.labels,
        joined=joined,
        numbered=numbered,
        branches=branches,
    )
    return sliceable(dissection)


def _numbered(coupling: Coupling, joined: Joined, network: nn.Module) -> Iterator[str]:
    """The units whose channels are laid out by numbers, which may be their forward's own.

    Layers and norms are given numbers too; those of torch's modules are known to follow.
    """
    modules, nodes = dict(network.named_modules()), coupling.graph.nodes
    given = {"layer_norm": "normalized_shape", "rms_norm": "normalized_shape"}
    reading = [edge for edge in coupling.edges if edge.role in ("norm", "carry")]
    functional = [
        edge.labels.numpy().astype(int)
        for edge in reading
        if (name := given.get(nodes[edge.node].operation, "groups" * (edge.role == "carry")))
        and not hasattr(modules.get(nodes[edge.node].module), name)
    ]
    places = [joined.labels(labels).reshape(-1) for labels in (*coupling.numbered, *functional)]
    labels = np.unique(np.concatenate([np.zeros(0, int), *places]))
    for unit in joined.units:
        if ((labels >= unit.first) & (labels < unit.first + unit.channels)).any():
            yield unit.name


def _followed_through(
    call: Call, network: nn.Module, forward: Forward, batch: Any
) -> tuple[Graph, str]:
    """The graph, and why it is of this batch alone if it is.

    The network runs before it is traced, so that no trace is in what it keeps from its first run.
    """
    alike, whole = Alike(call, call.tensors(batch)), ""
    try:
        graph = trace(network, forward, batch)
    except TraceError as error:
        check_eager(network, str(error))
        graph, whole = _recorded(network, forward, batch), str(error)
    general = lowered(graph)
    _check_images_apart(general)
    alike.check(graph, bool(whole))
    return general, whole


def _recorded(network: nn.Module, forward: Forward, batch: Any) -> Graph:
    """The graph of this batch alone; a second record tells which of its constants are no such."""
    graph = record(network, forward, batch)
    return with_hidden(graph, record(network, forward, others(batch)))


def _names(makings: dict[str, Making]) -> dict[str, str]:
    """For each weight the name of its layer: that of its module, unless that has several."""
    plain = {
        weight: made.module or weight.rpartition(".")[0] or weight
        for weight, made in makings.items()
    }
    count = Counter(plain.values())
    return {
        weight: name if count[name] == 1 or weight == f"{name}.weight" else weight
        for weight, name in plain.items()
    }


def _check_images_apart(graph: Graph) -> None:
    varying = graph.varying(by_size=False)
    for node in graph.nodes:
        if node.kind == "call" and of_the_batch(node) and node.args[0].index in varying:
            where = f"{node.module}, which" if node.module else "one that"
            raise SubjectError(
                f"Expected batch norms with running statistics, got {where} normalises by the "
                "images of its batch, so that an image's outputs depend on those beside it; give "
                "it running statistics (track_running_stats=True), or another normalisation."
            )


def _final(edge: Edge, joined: Joined) -> Edge:
    labels = joined.labels(edge.labels.numpy().astype(int))
    return replace(edge, labels=torch.from_numpy(labels))


def _flow(made: Making, coupling: Coupling, joined: Joined) -> tuple[Edge, ...]:
    """The edges where the layer's own labels arrive, other layers' labels there made CONSTANT."""
    mine, followers = _followed(made, coupling)
    flow, scored = [], coupling.graph.reaching
    for edge in coupling.edges:
        raw = edge.labels.numpy().astype(int)
        arriving = np.isin(raw, mine)
        on_the_way = edge.node in scored or edge.role == "output"
        if arriving.any() and on_the_way and edge.node not in followers:
            labels = np.where(arriving, joined.labels(raw), CONSTANT)
            flow.append(replace(edge, labels=torch.from_numpy(labels)))
    return tuple(flow)


def _followed(made: Making, coupling: Coupling) -> tuple[np.ndarray, set[int]]:
    """A layer's labels with those of the depthwise layers that read them, and where these run.

    One that runs several times is left out: it may read other values there.
    """
    mine, nodes = made.makes, set[int]()
    for making in coupling.makings.values():
        read = np.isin(making.reads, mine)
        if making.depthwise and len(making.nodes) == 1 and read.any():
            mine = np.concatenate([mine, making.makes.reshape(len(read), -1)[read].reshape(-1)])
            nodes.update(making.nodes)
    return mine, nodes


def _layers(
    graph: Graph,
    makings: dict[str, Making],
    joined: Joined,
    flows: dict[str, tuple[Edge, ...]],
) -> tuple[Layer, ...]:
    place = places(graph, makings)
    owner = {name: unit for unit in reversed(joined.units) for name in unit.layers}
    return tuple(
        Layer(
            name=name,
            number=place[name].number,
            kind=made.kind,
            channels_in=len(made.reads),
            channels=len(made.makes),
            groups=made.groups,
            kernel=made.kernel,
            size=made.size,
            size_in=made.size_in,
            positions=made.macs // int(np.prod(graph.parameters[made.weight].shape)),
            macs=made.macs,
            weight=made.weight,
            bias=made.bias,
            unit=owner[name].name,
            branch=owner[name].reason or _branch(flows[name]),
            stage=place[name].stage,
            block=place[name].block,
            position=place[name].position,
            reads=tuple(joined.labels(made.reads).tolist()),
            makes=tuple(joined.labels(made.makes).tolist()),
        )
        for name, made in makings.items()
    )


def _branch(flow: tuple[Edge, ...]) -> str:
    roles = {edge.role for edge in flow}
    if "gate" in roles:
        return "its channels multiply others (a gate), so that no part of a sum is theirs"
    if "meet" in roles:
        return "its channels meet others in an operation that is no sum"
    if "carry" in roles:
        return "a depthwise layer that runs several times reads its channels"
    if not roles:
        return "nothing reads its channels"
    return ""

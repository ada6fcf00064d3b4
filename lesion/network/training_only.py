"""Layers that run in training alone, such as auxiliary heads: what they read falls for them too."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lesion.network.canonical import lowered
from lesion.network.couple import couple_again
from lesion.network.graph import Call, Graph
from lesion.network.labels import Coupling, floats
from lesion.network.trace import TraceError, trace
from lesion.subject.snapshot import unchanged

REASON = "its layer runs in training alone"


def with_training(coupling: Coupling, call: Call, batch: Any) -> Coupling:
    """The coupling with what labels tell where the network runs as in training.

    Only for a network with parameters that it does not read in evaluation mode.  Modules that have
    parts are in training mode, others, such as batch norm and dropout, are not.  Where that cannot
    be traced nothing is added.
    """
    network, tensors = call.network, call.tensors(batch)
    if not _unread(network, coupling.graph):
        return coupling
    with unchanged(network):
        for module in network.modules():
            module.training = next(module.children(), None) is not None
        try:
            graph = lowered(trace(network, call.adapted, batch))
        except TraceError:
            return coupling
        known = {name: replace(made, nodes=[-1]) for name, made in coupling.makings.items()}
        further = replace(coupling, makings=known, edges=[], notes=[], sizes={})
        with torch.no_grad():
            couple_again(graph, tensors, further)  # its operations may write to the network too
    makings = dict(coupling.makings)
    for name, made in known.items():
        if name not in makings:
            makings[name] = replace(made, nodes=[], macs=0)
            further.tie(floats(made.makes), REASON)
            coupling.graph.parameters.setdefault(name, graph.parameters[name])
    return replace(coupling, makings=makings, count=further.count)


def _unread(network: nn.Module, graph: Graph) -> bool:
    """Whether the network has parameters that it does not read in evaluation mode."""
    users = graph.users()
    held = (node for node in graph.nodes if node.kind == "parameter" and users[node.index])
    read = {graph.parameters[node.name].data_ptr() for node in held}
    return any(p.numel() > 0 and p.data_ptr() not in read for p in network.parameters())

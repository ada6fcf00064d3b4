"""A network that cannot be traced as the list of what it did with one batch."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from lesion.network.functional import changes, written
from lesion.network.graph import CallOfAll, Forward, Graph, state_of
from lesion.network.trace import functional, graph_of, named, outputs_of, quiet


def record(network: nn.Module, forward: Forward, batch: Any) -> Graph:
    """The graph of what the network does with this very batch, whatever it would do with others."""
    call = CallOfAll(network, forward, batch)
    state = {name: value.detach() for name, value in state_of(network, tied=False)}

    def run(parameters: dict[str, Tensor], *tensors: Tensor) -> Any:
        prefixed = {f"network.{name}": value for name, value in parameters.items()}
        return torch.func.functional_call(call, prefixed, tensors)

    tensors = call.tensors(batch)
    with torch.no_grad(), quiet():
        traced = make_fx(
            run, pre_dispatch=True, tracing_mode="real", _error_on_data_dependent_ops=False
        )(state, *(tensor.clone() for tensor in tensors))
        if any(map(changes, traced.graph.nodes)):
            return _recorded_anew(traced, state, tensors)
    placeholders = [node.name for node in traced.graph.nodes if node.op == "placeholder"]
    names = dict(zip(placeholders, state, strict=False))
    values = dict(state)
    for fx_node in traced.graph.nodes:
        if fx_node.op == "get_attr":
            names[fx_node.name] = fx_node.target
            values[fx_node.target] = getattr(traced, fx_node.target)
    (end,) = (n for n in traced.graph.nodes if n.op == "output")
    return graph_of(traced.graph, names, values, end.args[0])


def _recorded_anew(
    traced: GraphModule, state: dict[str, Tensor], tensors: tuple[Tensor, ...]
) -> Graph:
    """The graph of a record in which values change: its operations traced, so that none does."""
    for fx_node in reversed(traced.graph.nodes):
        if not fx_node.users and not changes(fx_node) and fx_node.op == "call_function":
            traced.graph.erase_node(fx_node)  # such as a number taken out of a tensor
    traced.recompile()
    program = torch.export.export(traced, (state, *tensors), strict=False)
    names = dict(zip(program.graph_signature.user_inputs, state, strict=False))
    changed = named(written(program.graph), names)
    program = functional(program)
    values = dict(state)
    for spec in program.graph_signature.input_specs:
        if spec.target is not None:
            names[spec.arg.name] = spec.target
            values[spec.target] = getattr(traced, spec.target)
    graph = graph_of(program.graph, names, values, outputs_of(program))
    return replace(graph, written=changed)

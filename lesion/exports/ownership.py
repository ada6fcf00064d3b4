"""A copy of a network in which each layer that loses something has parameters of its own.

Filters are taken out of parameters, one module at a time.  So weights that are computed from others
become parameters, and modules that share a tensor get one each, until they have lost the same of
it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from lesion.exports.match import Match
from lesion.exports.plain_weights import calls, computing, make_plain, note
from lesion.network.anatomy import Unit
from lesion.network.copy import copied
from lesion.network.dissect import dissect
from lesion.network.dissection import Dissection
from lesion.network.graph import Graph, resolve
from lesion.network.parameter_masks import masks
from lesion.rates.unit_rate import UnitRate
from lesion.subject.network import evaluating

Place = tuple[str, str]  # a module's name, and what a tensor is called there


@dataclass(frozen=True, eq=False)
class Owned:
    """A copy of a network, ready to be pruned.

    match: the copy and its rates; computed: the layers whose weights were computed from others;
    shared: the places of each tensor that several modules have in common
    """

    match: Match
    computed: tuple[str, ...]
    shared: tuple[tuple[Place, ...], ...]

    @property
    def note(self) -> str:
        """What became of computed weights, in words; "" where there are none."""
        return note(self.computed)

    @cached_property
    def apart(self) -> tuple[str, ...]:
        """The names of tensors that several modules share and that lose something."""
        names = (".".join(filter(None, place)) for places in self.shared for place in places)
        losing = masks(self.match.anatomy, self.match.dropped)
        return tuple(name for name in names if name in losing)

    def joined(self, network: nn.Module) -> nn.Module:
        """The network with one tensor again for all places of one, where they hold the same."""
        for (path, leaf), *rest in self.shared:
            tensor = getattr(network.get_submodule(path), leaf)
            for path, leaf in rest:
                module = network.get_submodule(path)
                if torch.equal(getattr(module, leaf), tensor):
                    setattr(module, leaf, tensor)
        return network


def owning(matched: Match) -> Owned:
    """A copy of the network, with the rates for it.

    Only weights that lose something are made parameters, and only those of modules that do what
    one of torch's layers does with them; others stay computed.
    """
    network = copied(matched.network)
    layers = computing(matched)
    make_plain(network, matched.dissection.graph, layers)
    shared = tuple(_shared(network))
    _part(network, shared)
    dissection = _followed(matched, network) if layers or shared else None
    if dissection is None:
        return Owned(replace(matched, network=copied(matched.network)), (), ())
    return Owned(_transferred(matched, network, dissection), tuple(layers), shared)


def _shared(network: nn.Module) -> Iterator[tuple[Place, ...]]:
    """The places of each tensor that several modules have in common."""
    places = defaultdict[int, list[Place]](list)
    for path, module in network.named_modules():
        for leaf, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                places[id(tensor)].append((path, leaf))
    yield from (tuple(shared) for shared in places.values() if len(shared) > 1)


def _part(network: nn.Module, shared: tuple[tuple[Place, ...], ...]) -> None:
    """Gives each place a tensor of its own."""
    for path, leaf in (place for places in shared for place in places[1:]):
        module = network.get_submodule(path)
        tensor = getattr(module, leaf)
        value = tensor.detach().clone()
        learns = tensor.requires_grad
        of_kind = isinstance(tensor, nn.Parameter)
        setattr(module, leaf, nn.Parameter(value, learns) if of_kind else value)


def _followed(matched: Match, network: nn.Module) -> Dissection | None:
    """The copy, followed; None where it does not take the network's steps."""
    try:
        with evaluating(network):
            dissection = dissect(network, matched.forward, matched.batch)
    except Exception:  # the network is the user's: it may miss what its own modules had
        return None
    same = _steps(dissection.graph) == _steps(matched.dissection.graph)
    return dissection if same else None


def _steps(graph: Graph) -> list[tuple[str, str]]:
    """What is done with the images, one call after the other, whatever the weights."""
    varying = sorted(graph.varying())
    numbers = dict.fromkeys(range(len(graph.nodes))) | {at: n for n, at in enumerate(varying)}
    steps = [graph.nodes[at] for at in varying]
    return [(step.operation, repr(resolve((step.args, step.kwargs), numbers))) for step in steps]


def _transferred(matched: Match, network: nn.Module, dissection: Dissection) -> Match:
    """The rates for the copy: of each layer falls what falls of it in the network."""
    anatomy = dissection.anatomy
    gone = np.zeros(anatomy.channels, bool)
    for before, now in zip(_layers(matched.dissection), _layers(dissection), strict=True):
        if before and now:
            labels = np.array(anatomy.made_by(now), int)
            gone[labels[matched.falling(before) & (labels >= 0)]] = True
    rates = tuple(_rate(unit, gone) for unit in anatomy.units)
    allocation = replace(matched.allocation, rates=rates)
    return replace(matched, allocation=allocation, network=network, dissection=dissection)


def _layers(dissection: Dissection) -> list[str]:
    """The names of the layers, call by call; "" for one without."""
    names = {layer.weight: layer.name for layer in dissection.anatomy.layers}
    nodes = dissection.graph.nodes
    return [names.get(nodes[call.args[1].index].name, "") for call in calls(dissection)]


def _rate(unit: Unit, gone: np.ndarray) -> UnitRate:
    kept = np.flatnonzero(~gone[unit.first : unit.first + unit.channels]).tolist()
    return UnitRate(unit.name, unit.kind, None, unit.channels, tuple(kept), {})

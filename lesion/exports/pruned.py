"""The pruned network itself: a copy whose tensors are sliced, checked against the lesioned network.

small = apply(allocation, network, example)
save_pruned(small, allocation, "small.safetensors")
again = load_pruned(make_network, "small.safetensors")
"""

import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lesion.compression.tensors import Rounding
from lesion.errors import LesionError, first_line
from lesion.exports.factored import can_be_factored, factored, in_series
from lesion.exports.match import Match, match
from lesion.exports.outputs import difference
from lesion.exports.plain_weights import INSTEAD, check_plain, computing, make_plain, note
from lesion.exports.quantised_inputs import with_roundings
from lesion.lesions.damage import damage
from lesion.lesions.damage.low_rank import LowRank, ranks
from lesion.lesions.edits import Channels, Edit
from lesion.lesions.lesion import Target, seed_of
from lesion.lesions.mended_edit import Mended
from lesion.lesions.mixed_edit import mixed_edit, nothing, numbers_of
from lesion.lesions.readers import tensor_of
from lesion.lesions.weight_damage import WeightDamage, reads_left, shape_without
from lesion.network.copy import copied
from lesion.network.graph import CallOfAll
from lesion.network.labels import Edge
from lesion.network.program import Run, compile_program
from lesion.network.resized import Resized
from lesion.network.slices import Slices
from lesion.network.torch_layers import put_in_place
from lesion.rates.allocation import Allocation
from lesion.study.study import Study
from lesion.subject.adapter import Adapter
from lesion.subject.batch import cloned
from lesion.subject.network import evaluating
from lesion.subject.snapshot import unchanged


def apply(
    allocation: Allocation,
    network: nn.Module,
    example: Any,
    adapter: Adapter | None = None,
    *,
    study: Study | None = None,
) -> nn.Module:
    """A copy of the network without what falls, in the same mode; the network stays as it is.

    example: one batch of two images or more, as for `lesion.layers`
    study: that of the rates, where damages are among them that have seen calibration images
    Parameters and buffers are sliced, and the numbers of channels that modules hold follow
    (`out_channels`, `num_features`, `groups`, and what else a forward reckons with), so that the
    copy is of the network's own classes, and is trained, copied and exported as that was.  Modules
    that share a parameter share what stays of it.  Weights that are computed from others, and lose
    something, are plain parameters of the copy; a warning says so.  Where rates damage weights,
    the copy has these, and layers of low rank are the smaller layers that they are made of, one
    behind the other (`nn.Sequential`), where a forward lets them; what a layer reads in few bits is
    rounded in front of it (`lesion.exports.quantised_inputs`).
    The copy has run, on the example, and its outputs were those of the network whose fallen
    channels contribute nothing.  Raises LesionError where they are not, or where it does not run.
    """
    small, remark = applied(allocation, network, example, adapter, study)
    if remark:
        warnings.warn(remark, stacklevel=2)
    return small


def applied(
    allocation: Allocation,
    network: nn.Module,
    example: Any,
    adapter: Adapter | None = None,
    study: Study | None = None,
) -> tuple[nn.Module, str]:
    """The same, and in words what became of computed weights; "" where there are none."""
    known = study.known if study else nothing
    matched = match(allocation, network, example, adapter, known)
    _check_held(matched)
    plain = computing(matched)
    check_plain(matched, plain)
    small = copied(network)
    make_plain(small, matched.dissection.graph, plain)
    if plain and _unlike(matched, small, outputs_of(matched, network)):
        check_plain(matched)
    _change_weights(small, matched)
    resized = Resized(matched.dissection, matched.dropped)
    slices = Slices.of(small, matched.dissection, resized)
    slices.cut(small)
    wanted, further = lesioned(matched), slices.with_numbers(small, resized)
    needed = further.numbers_of(small)
    further.number(small)  # what this forward does not read, an exporter's may
    few = _rounded_inputs(matched)
    whole = with_roundings(small, few)
    if problem := _unlike(matched, whole, wanted):
        needed.number(small)
        whole = with_roundings(small, few)
        if further.attributes == slices.attributes or _unlike(matched, whole, wanted):
            raise LesionError(f"{problem}; {_why(few)}.")
    return _with_factors(whole, matched, wanted), note(plain)


def _why(few: Collection[str]) -> str:
    """What may keep a smaller network from giving what it should."""
    if few:
        return (
            f"its forward may ask {', '.join(few)}, which read few bits, for more than their "
            "outputs; recommend by damages that leave inputs as they are"
        )
    return f"it may hold numbers of channels: {INSTEAD}"


def _rounded_inputs(matched: Match) -> dict[str, Rounding]:
    """What rounds the inputs of layers that rates have read few bits."""
    changes = {}
    for lesion in matched.allocation.changes:
        kind = damage(lesion.damage)
        assert isinstance(kind, WeightDamage)  # or it had been refused by now
        change = kind.input_change(lesion, numbers_of(kind, lesion, matched.known))
        if isinstance(change, Rounding):
            changes[lesion.target] = change
    return changes


def _with_factors(small: nn.Module, matched: Match, wanted: Sequence[Tensor]) -> nn.Module:
    """The network with layers of low rank as the smaller layers that they are made of; with their
    whole weights where it does not run with these."""
    layers = dict(_factored_layers(small, matched))
    if not layers:
        return small
    apart = copied(small)
    for path, made in layers.items():
        put_in_place(apart, apart.get_submodule(path), made)
    return small if _unlike(matched, apart, wanted) else apart


def _factored_layers(small: nn.Module, matched: Match) -> Iterator[tuple[str, nn.Module]]:
    """What can stand in the place of modules, by their paths; made of the intact weights, as what
    they compose was."""
    anatomy, network = matched.anatomy, matched.dissection.call.network
    for lesion in matched.allocation.changes:
        kind, layer = damage(lesion.damage), anatomy.layer[lesion.target]
        path, _, leaf = layer.weight.rpartition(".")
        module = small.get_submodule(path)
        if not isinstance(kind, LowRank) or leaf != "weight" or not can_be_factored(module):
            continue
        stay = reads_left(anatomy, layer.name, matched.dropped)
        weight = tensor_of(network, layer.weight)[:, torch.from_numpy(stay)]
        shape = shape_without(anatomy, layer.name, matched.dropped)
        numbers = numbers_of(kind, lesion, matched.known)
        if numbers is not None:
            yield path, in_series(module, kind.projection(shape, lesion.amount, numbers), weight)
            continue
        most = ranks(shape, kind.form, lesion.amount)
        yield path, factored(module, weight, kind.form, most, seed_of(lesion.seed, layer.name))


def _change_weights(small: nn.Module, matched: Match) -> None:
    """A copy has the weights that the rates damage, before it is sliced."""
    edit = _edit(matched, matched.dissection.reads)
    if isinstance(edit, Mended):
        edit.mend(small)


def _edit(matched: Match, edges: Sequence[Edge]) -> Edit:
    """What the rates do to the network, where its channels are read at these edges."""
    fallen, changes = Channels(tuple(edges), matched.dropped), matched.allocation.changes
    whole = matched.dissection, Target("", "joint"), matched.dropped
    return mixed_edit(*whole, changes, matched.known, fallen)


def _check_held(matched: Match) -> None:
    for rate in matched.allocation.cut:
        if held := matched.anatomy.unit[rate.unit].held:
            raise LesionError(
                f"Expected rates that leave a network which runs, but {rate.unit} cannot be made "
                f"smaller ({held}); {INSTEAD}."
            )


def lesioned(matched: Match) -> list[Tensor]:
    """All outputs of the network whose fallen channels contribute nothing, for its batch, the
    scored one first."""
    dissection, outputs = matched.dissection, []
    tensors = dissection.call.tensors(matched.batch)
    for output in (dissection.graph.output, *dissection.graph.others):
        program = compile_program(replace(dissection.graph, output=output), fold=False)
        reads = (*dissection.reads, *dissection.other_reads)
        edges = tuple(edge for edge in reads if edge.node in program.position)
        edited = _edit(matched, edges).steps(program)
        steps = tuple(edited.get(place, step) for place, step in enumerate(program.steps))
        with torch.no_grad():
            outputs.append(Run(replace(program, steps=steps), tensors).output())
    return outputs


def outputs_of(matched: Match, network: nn.Module) -> list[Tensor]:
    """All outputs of a network for the batch, the scored one first."""
    call = CallOfAll(network, matched.forward, matched.batch)
    with unchanged(network), evaluating(network), torch.no_grad():
        outputs: list[Tensor] = call(*call.tensors(cloned(matched.batch)))
    return outputs


def _unlike(matched: Match, small: nn.Module, wanted: Sequence[Tensor]) -> str:
    """What is wrong with the outputs of a smaller network, "" if nothing is."""
    try:
        outputs = outputs_of(matched, small)
    except Exception as error:  # the network is the user's: it may raise anything
        return (
            "Expected a network that runs without what falls, but its forward fails "
            f"({type(error).__name__}: {first_line(error)})"
        )
    problem = difference(outputs, wanted)
    return problem and (
        "Expected the pruned network to give what the network gives whose fallen channels "
        f"contribute nothing, but {problem}"
    )

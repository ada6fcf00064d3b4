"""Commands that hand rates over: `lesion export | apply`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lesion.cli import options
from lesion.cli.app import app
from lesion.cli.joint import bench_of
from lesion.cli.option_groups import Rates, Recalled, Reshown, check_out, taking
from lesion.cli.output import put, say, tell
from lesion.cli.rates import rated
from lesion.cli.recall import recalled
from lesion.errors import LesionError, StudyError
from lesion.rates.allocation import Allocation
from lesion.results.advice import Advice
from lesion.results.advise import advise
from lesion.study.header import Header
from lesion.study.study import Study
from lesion.words import grouped

if TYPE_CHECKING:
    from lesion.zoo import Tried

PROGRAMS = (".onnx", ".pt2")


@app.command()
@taking(measured=Reshown, rates=Rates)
def export(
    study: options.StudyFile,
    to: options.To,
    rates: Rates,
    measured: Reshown,
    out: options.Exported = None,
    bits: options.Bits = None,
    onnx: options.Onnx = None,
) -> None:
    """Write the rates as another tool takes them: a pruner's own form, masks, or plain tables.

    torch-pruning and torch-prune are resolved on the network itself, which is taken as it was
    swept, or from --network and --data. Tools that quantise (nncf, onnxruntime, torchao, modelopt,
    tensorrt, aimet) take what a study of --damage quantise says: which layers to exclude.
    """
    from lesion.exports import export as exports
    from lesion.exports import targets

    target = targets.target(to)  # an unknown one is refused before all work
    exports.check_options(to, bits, onnx)
    check_out(out, study, *measured.inputs, *rates.inputs, onnx)
    with Study.open(study) as opened:
        given, header = _given(opened, rates, to), opened.header
    more = {}
    if measured.network is not None or onnx is not None or getattr(target, "RESOLVED", False):
        tried = _tried(measured, header, study)
        _check(header, tried)
        more = {"network": tried.network, "example": tried.example, "adapter": tried.adapter}
    content = exports.export(given, to, out, anatomy=header.anatomy, bits=bits, onnx=onnx, **more)
    if out is not None:
        say(f"{to}: {out}")
    elif isinstance(content, str):
        put(content.rstrip("\n"))
    else:
        raise LesionError(f"Expected a file for {to}, which is not text; give one with -o.")


@app.command()
@taking(measured=Reshown, rates=Rates)
def apply(
    study: options.StudyFile,
    out: options.PrunedFile,
    rates: Rates,
    measured: Reshown,
    recover: options.Recover = "",
    train: options.Train = None,
    device: options.Device = None,
) -> None:
    """Prune the network by the rates, run it, and save it.

    With --recover: with the weights that it has after that, cut by these rates. A file that ends in
    .onnx or .pt2 holds a program (ONNX, torch.export), any other the weights as safetensors, which
    `lesion.load_pruned` puts into a whole network, and which a network that Torch-Pruning has
    pruned by these rates takes as its state_dict.
    """
    from lesion.exports.programs import export_pruned
    from lesion.exports.pruned import applied
    from lesion.exports.pruned_files import save_pruned

    check_out(out, study, *measured.inputs, *rates.inputs)
    if train is not None and not recover:
        raise LesionError(
            "Expected a recovery for the training images, got none; give --recover reconstruct,bn, "
            "or leave out --train."
        )
    with Study.open(study) as opened:
        (allocation, _), header = rated(opened, rates), opened.header
        tried = _tried(measured, header, study)
        _check(header, tried)
        network = tried.network
        if recover:
            from lesion.joint.recover import recover as recovered

            bench = bench_of(opened, measured, device, recover, train)
            network, allocation = recovered(bench, allocation)
            network = network.to("cpu")
        example, adapter = tried.example, tried.adapter
        small, note = applied(allocation, network, example, adapter, opened)
    if out.suffix in PROGRAMS:
        export_pruned(small, allocation, out, example, adapter)
    else:
        save_pruned(small, allocation, out)
    if note:
        tell(note)
    before, after = (sum(p.numel() for p in net.parameters()) for net in (tried.network, small))
    say(
        f"{grouped(after)} of {grouped(before)} parameters; outputs as those of the lesioned "
        f"network\npruned network: {out}"
    )
    if out.suffix not in PROGRAMS:
        say(f'in Python: lesion.load_pruned(make_network, "{out}"), the whole one or what makes it')


def _tried(measured: Recalled, header: Header, path: Path) -> "Tried":
    """The network that was swept, run on two images."""
    return recalled(measured, header.settings, path).tried(header.settings.get("seed", 0))


def _given(study: Study, rates: Rates, to: str) -> Allocation | Advice:
    """What a target takes of a study: rates of filters, or advice on another damage.

    Raises LesionError where the study, or the damage named, is of another.
    """
    from lesion.exports import targets

    takes = targets.damage_of(targets.target(to))
    if rates.rates is not None:
        targets.check_takes(to, targets.FILTERS)
        return rated(study, rates)[0]
    alike = (name for name in study.damages if name.partition(":")[0] == takes)
    named = replace(rates, damage=rates.damage or next(alike, None))
    targets.check_takes(to, named.reading(study).damage)
    if takes == targets.FILTERS:
        return rated(study, named)[0]
    if rates.bounded:
        raise LesionError(f"Expected no budget for {to}, which takes bits; leave it out.")
    rates.check_details()
    return advise(named.reading(study).asking(rates.max_drop, None))


def _check(header: Header, tried: "Tried") -> None:
    """Raises StudyError where the study is of other weights."""
    from lesion.subject.weights import fingerprint

    if fingerprint(tried.network) != header.subject["weights"]:
        raise StudyError(
            "Expected the network that the study measured, but its weights are others; give those, "
            "or sweep this network."
        )

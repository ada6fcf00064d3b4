"""Commands that hand rates over: `lesion export | apply`."""

from typing import TYPE_CHECKING

from lesion import options
from lesion.allocation import Allocation
from lesion.commands import app
from lesion.commands.rating import rated
from lesion.commands.records import Measured, PerhapsMeasured, Rates, check_out, taking
from lesion.errors import LesionError, StudyError
from lesion.showing import put, say, tell
from lesion.study import Study
from lesion.wording import grouped

if TYPE_CHECKING:
    from lesion.subject import Subject


@app.command()
@taking(measured=PerhapsMeasured, rates=Rates)
def export(
    study: options.StudyFile,
    measured: PerhapsMeasured,
    rates: Rates,
    to: options.To,
    out: options.Exported = None,
) -> None:
    """Write the rates as another tool takes them: a pruner's own form, masks, or plain tables.

    torch-pruning and torch-prune are resolved on the network itself, and need --network and --data.
    """
    from lesion import exports

    exports.target(to)  # an unknown one is refused before all work
    check_out(out, study, *measured.inputs, *rates.inputs)
    with Study.open(study) as opened:
        allocation, anatomy = rated(opened, rates), opened.anatomy
    given = {}
    if measured.network is not None:
        subject = measured.subject(score="agreement")
        _check(allocation, subject)
        given = {"network": subject.network, "example": subject.example, "adapter": subject.adapter}
    content = exports.export(allocation, to, out, anatomy=anatomy, **given)
    if out is not None:
        say(f"{to}: {out}")
    elif isinstance(content, str):
        put(content.rstrip("\n"))
    else:
        raise LesionError(f"Expected a file for {to}, which is not text; give one with -o.")


@app.command()
@taking(measured=Measured, rates=Rates)
def apply(
    study: options.StudyFile,
    measured: Measured,
    rates: Rates,
    out: options.PrunedFile,
) -> None:
    """Prune the network by the rates with Torch-Pruning, and save it.

    A file that ends in .pt2 holds a program of torch.export, any other the weights as safetensors,
    which `lesion.load_pruned` puts into a whole network.
    """
    from lesion.applying import applied, export_pruned, save_pruned

    check_out(out, study, *measured.inputs, *rates.inputs)
    with Study.open(study) as opened:
        allocation = rated(opened, rates)
    subject = measured.subject(score="agreement")
    _check(allocation, subject)
    example, adapter = subject.example, subject.adapter
    small, note = applied(allocation, subject.network, example, adapter)
    if out.suffix == ".pt2":
        export_pruned(small, allocation, out, example, adapter)
    else:
        save_pruned(small, allocation, out, example, adapter)
    if note:
        tell(note)
    before, after = (sum(p.numel() for p in net.parameters()) for net in (subject.network, small))
    say(f"{grouped(after)} of {grouped(before)} parameters\npruned network: {out}")


def _check(allocation: Allocation, subject: "Subject") -> None:
    """Raises StudyError where the rates were chosen for other weights."""
    from lesion.subject import fingerprint

    if fingerprint(subject.network) != allocation.subject["weights"]:
        raise StudyError(
            "Expected the network that the study measured, but its weights are others; give those, "
            "or sweep this network."
        )

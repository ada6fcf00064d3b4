"""A command that holds criteria against the oracle: `lesion criteria`."""

from lesion.boundary.texts import listed
from lesion.cli import options
from lesion.cli.app import app
from lesion.cli.option_groups import Measured, check_figures, taking
from lesion.cli.options.values import Format, Units
from lesion.cli.output import itemise, put, reasons, say, say_where, show, tell
from lesion.cli.progress import best_device

LESS = ("raw", "scaled", "needs", "seconds", "layers")


@app.command()
@taking(measured=Measured)
def criteria(
    measured: Measured,
    train: options.Shown = None,
    criteria: options.Several = None,
    images: options.Removed = None,
    layers: options.Layers = None,
    units: options.WhichUnits = Units.free,
    confidence: options.Confidence = 95,
    seed: options.Seed = 0,
    device: options.Device = None,
    out: options.Tables = None,
    formats: options.Formats = "png",
    format: options.As = Format.table,
) -> None:
    """Say which criteria rank filters as their removal does, and where norms may be trusted.

    Each filter is removed alone and the loss measured, on training images: the oracle. Beside it:
    Spearman's rank correlation of every criterion, how far its scores depend on which images it
    saw, and the seconds that they took.
    """
    from lesion.boundary.json_text import as_json
    from lesion.sweeps.choices import Choices
    from lesion.sweeps.prepare import placed
    from lesion.sweeps.yardstick import compared

    check_figures(out, formats)
    choices = Choices(units=units.value, layers=listed(layers), seed=seed)
    choices.check()
    subject = measured.subject(score="agreement", train=train, seed=seed)
    with placed(subject.network, device or best_device()):
        agreement = compared(subject, listed(criteria), images, choices, confidence, _done)
    if format is Format.json:
        put(as_json(agreement.to_dict()))
    elif format is Format.csv:
        show(agreement.criteria, format)
    else:
        show(agreement.criteria.drop(columns="reason"), format, LESS)
        say(agreement.text())
        frame = agreement.criteria
        itemise("without numbers:", reasons(frame.assign(layer=frame["criterion"])))
        say("May a norm criterion be trusted? The norms of the filters, by their mean:")
        show(agreement.norms, format)
    if out is not None:
        from lesion.reports.plots.save import save_criteria

        for path in save_criteria(agreement, out, formats=listed(formats)):
            say_where(str(path), format)


def _done(name: str, seconds: float) -> None:
    """Tells that a criterion is done."""
    tell(f"{name}: {seconds:.1f} s")

"""Groups of options that commands share, as records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesion.boundary.files import check_file, check_folder
from lesion.boundary.texts import listed, numbers, shape_of
from lesion.cli import options
from lesion.errors import LesionError
from lesion.rates.budget import Budget, share
from lesion.rates.recommend import choosing
from lesion.results.reading import Reading
from lesion.study.study import Study

if TYPE_CHECKING:
    from lesion.subject.subject import Subject
    from lesion.zoo import Tried


@dataclass(frozen=True)
class Measured:
    """What is measured: the options that say which network, weights, images and preprocessing."""

    network: options.Network
    data: options.Data
    weights: options.Weights = None
    classes: options.Classes = None
    class_map: options.ClassMap = None
    resize: options.Resize = None
    crop: options.Crop = None
    mean: options.Mean = None
    std: options.Std = None
    output: options.Scored = None

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """What names files that are read."""
        return self.network, self.weights, self.data, self.class_map

    @property
    def named(self) -> dict[str, Any]:
        """The options as what opens a subject takes them, network and data apart."""
        return {
            "classes": self.classes,
            "resize": self.resize,
            "crop": self.crop,
            "mean": numbers(self.mean, "--mean"),
            "std": numbers(self.std, "--std"),
        }

    def subject(self, **more: Any) -> "Subject":
        """The subject that they name; more: see `lesion.zoo.open_subject`."""
        from lesion import zoo

        chosen: dict[str, Any] = {"output": self.output, "class_map": self.class_map}
        return zoo.open_subject(
            self.network, self.weights, self.data, **chosen, **self.named, **more
        )

    def tried(self, seed: int = 0) -> "Tried":
        """The network, run on two images; nothing is scored."""
        from lesion import zoo

        shape = shape_of(getattr(self, "input", None))
        if not shape and self.data is None:
            raise LesionError("Expected --data or the shape of an input, such as --input 3x32x32.")
        named = zoo.Named(self.network, self.weights, self.data or "", seed=seed, **self.named)
        return zoo.try_network(named, self.output, shape)


@dataclass(frozen=True)
class Shown(Measured):
    """The same where nothing is scored, so that the shape of an input is enough."""

    data: options.ShownData = None  # type: ignore[assignment]
    input: options.InputShape = None


@dataclass(frozen=True)
class Resumed(Measured):
    """The same where a study may know them, see `lesion.cli.recall`."""

    network: options.KnownNetwork = None  # type: ignore[assignment]
    data: options.KnownData = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Recalled(Measured):
    """The same where there is a study, so that few need to say them."""

    network: options.OtherNetwork = None  # type: ignore[assignment]
    data: options.OtherData = None  # type: ignore[assignment]
    weights: options.OtherWeights = None


@dataclass(frozen=True)
class Reshown(Recalled):
    """The same, where the shape of an input is enough."""

    input: options.InputShape = None


@dataclass(frozen=True)
class Rates:
    """Which rates: a budget that they meet, saved ones, or those of the stages without either."""

    macs: options.Macs = None
    params: options.Params = None
    latency: options.Latency = None
    bytes: options.Bytes = None
    bops: options.Bops = None
    rates: options.RatesFile = None
    times: options.TimesFile = None
    by: options.ByWhat = None
    per: options.PerWhat = options.Per.unit
    align: options.Align = 1
    least: options.Least = 1
    max_rate: options.MaxRate = 1.0
    pin: options.Pins = None
    skip: options.Whole = None
    max_drop: options.MaxDrop = None
    criterion: options.Criterion = None
    damage: options.Damage = None
    after: options.Recovered = ""

    @property
    def inputs(self) -> tuple[Path | None, ...]:
        """The files that are read."""
        return self.rates, self.times

    @property
    def shares(self) -> tuple[str, ...]:
        """What is asked of resources."""
        bounds = self.macs, self.params, self.latency, self.bytes, self.bops
        return tuple(share for share in bounds if share is not None)

    @property
    def bounded(self) -> bool:
        """Whether a budget is asked for."""
        return bool(self.shares)

    def reading(self, study: Study) -> Reading:
        """The lesions that they rest on."""
        if self.bounded:
            return choosing(study, self.criterion, None, self.damage, self.after)
        return Reading.of(study, self.criterion, None, self.damage, self.after)

    def check_details(self) -> None:
        """Raises LesionError for options that say how a budget is met, where there is none."""
        if self.bounded:
            return
        plain = Rates()
        for name in ("times", "by", "per", "align", "least", "max_rate", "pin", "skip"):
            if getattr(self, name) != getattr(plain, name):
                option = "--" + name.replace("_", "-")
                raise LesionError(
                    f"Expected a budget for {option}, got none; give --macs 50%, or leave it out."
                )

    def budget(self) -> Budget:
        """The budget that is asked for."""
        return Budget(
            self.macs,
            self.params,
            self.latency,
            self.max_drop,
            self.per.value,
            self.align,
            self.least,
            self.max_rate,
            pinned(self.pin or ()),
            listed(self.skip),
            self.bytes,
            self.bops,
        )


def check_out(out: Path | None, *inputs: str | Path | None) -> None:
    """Raises LesionError where the file that is asked for cannot be written, before all work."""
    if out is not None:
        check_file(out, *inputs)


def check_figures(out: Path | None, formats: str) -> None:
    """The same of a folder for figures, and of their formats; draws no windows from now on."""
    if out is None:
        return
    import matplotlib

    matplotlib.use("Agg")
    from lesion.reports.plots.save import check_formats

    check_formats(listed(formats))
    check_folder(out)


def pinned(texts: Sequence[str]) -> dict[str, float]:
    """Patterns and their rates.

    >>> pinned(["layer1.*=0.3", "fc=20%"])
    {'layer1.*': 0.3, 'fc': 0.2}
    """
    rates: dict[str, float] = {}
    for text in texts:
        pattern, _, rate = text.partition("=")
        value = share(rate) if rate else "nothing"
        if isinstance(value, str):
            raise LesionError(f"Expected a rate such as 'layer1.*=0.3' for --pin, got '{text}'.")
        if rates.setdefault(pattern, value) != value:
            raise LesionError(f"Expected one rate for {pattern}, got several; drop one of them.")
    return rates


def taking(**groups: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that is given records, each in a parameter of that name, made of options.

    Typer reads options from a signature, so the records' fields stand in it in their place; help
    has the same order.
    """

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        fields = {name: list(signature(kind).parameters.values()) for name, kind in groups.items()}

        def run(**options: Any) -> None:
            records = {
                name: kind(**{field.name: options.pop(field.name) for field in fields[name]})
                for name, kind in groups.items()
            }
            command(**records, **options)

        every = [
            each.replace(kind=Parameter.KEYWORD_ONLY)  # so that needed ones may stand anywhere
            for parameter in signature(command).parameters.values()
            for each in fields.get(parameter.name, [parameter])
        ]
        run.__signature__ = Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in every}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return with_options

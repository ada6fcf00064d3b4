"""Where Python callers come in: what each argument of the public functions may be."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lesion.boundary import arguments as take
from lesion.errors import LesionError, SubjectError, staying

F = TypeVar("F", bound=Callable[..., Any])
OPTIONAL = ("layers", "recover", "after", "by", "part")  # None means their default
SEEDS = 2**63 - 1  # what a study's file can hold
SHOWN = 40  # letters of a value


class Kind(NamedTuple):
    """What an argument may be, in words, and what takes it; more: what to do about another."""

    what: str
    take: take.Take
    more: str = ""
    error: type[LesionError] = LesionError


class Argument(NamedTuple):
    """An argument of a function, or a field of a record.

    parameters: the function's, by name; none for a record
    """

    owner: Callable[..., Any]
    name: str
    kind: Kind
    parameters: Mapping[str, Parameter]

    def take(self, value: Any) -> Any:
        """The value as the package takes it, or the kind's error, which says what came."""
        if value is None and self.name in OPTIONAL and self.parameters:
            default = self.parameters[self.name].default
            if default is not Parameter.empty:
                return default  # as where it is not given
        try:
            return self.kind.take(value)
        except (ValueError, TypeError) as error:
            hints = [str(error) if isinstance(error, ValueError) else "", self.kind.more]
            hints += [f"it takes {places}"] if (places := ", ".join(self._places())) else []
            raise self.kind.error(
                f"Expected {self.kind.what}, got {_came(value)}, for {self.name} of lesion."
                f"{self.owner.__qualname__}; {'; '.join(filter(None, hints)) or 'give that'}."
            ) from error

    def _places(self) -> list[str]:
        """The names of the arguments that may be given by their place."""
        return [
            name
            for name, parameter in self.parameters.items()
            if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD and name not in ("cls", "self")
        ]


NETWORK = Kind(
    "a torch.nn.Module",
    take.instance("torch.nn", "Module"),
    "give the network itself, not its name or its state_dict",
    SubjectError,
)
STUDY = Kind(
    "a Study", take.instance("lesion.study.study", "Study"), "open it with lesion.Study.open"
)
DATA = Kind("a Dataset or DataLoader", take.images, error=SubjectError)
NUMBER = Kind("a number", take.number)
WHOLE = Kind("a whole number", take.integer)
COUNT = Kind("a whole number of at least 1", take.from_(1))
COUNT_OR_NONE = Kind("a whole number of at least 0", take.from_(0))
TEXT = Kind("a text", take.text)
PATH = Kind("the path of a file", take.path)
PATTERNS = Kind("names or patterns of layers", take.patterns)
SHARE = Kind("a share such as 0.5, '50%' or 'least'", take.remaining)
FRAME = Kind("a table", take.instance("pandas", "DataFrame"), "lesion.curves(study) gives it")
BENCH = Kind("a bench", take.instance("lesion.joint.bench", "Bench"), "lesion.bench makes one")
FLAG = Kind("True or False", take.flag)
BUDGET = Kind("a Budget", take.instance("lesion.rates.budget", "Budget"))

SHARED = (
    (NETWORK, "network small"),
    (DATA, "data train"),
    (NUMBER, "max_drop confidence half_width ratio holdout timeout max_rate"),
    (WHOLE, "align least"),
    (COUNT, "images pairs batch"),
    (COUNT_OR_NONE, "rounds workers"),
    (
        TEXT,
        "units rounding order estimand guarantee by column damage to part per name "
        "preprocessing after saved",
    ),
    (PATH, "out path onnx"),
    (PATTERNS, "layers skip highlight"),
    (SHARE, "macs params latency bytes bops"),
)
"""The kinds that arguments of several names are of."""
KINDS: Mapping[str, Kind] = {
    **{name: kind for kind, names in SHARED for name in names.split()},
    "study": STUDY,
    "example": Kind("one batch of two images or more", take.batch, error=SubjectError),
    "criterion": Kind("the name of a criterion", take.text),
    "criteria": Kind("names of criteria, functions or objects", take.criteria),
    "agreement": Kind(
        "an Agreement",
        take.instance("lesion.lesions.agreement", "Agreement"),
        "lesion.criteria gives one",
    ),
    "runtime": Kind("the name of a runtime or a function", take.named),
    "runner": Kind("the name of a runner", take.runner, "or an object with its method run"),
    "paths": Kind("the paths of studies", take.paths),
    "allocation": Kind(
        "an Allocation",
        take.instance("lesion.rates.allocation", "Allocation"),
        "lesion.recommend makes one of a budget, Allocation.load reads one",
    ),
    "bits": Kind("a bit width from 2 to 16", take.from_(2, 16)),
    "budget": BUDGET._replace(more="such as lesion.Budget(macs=0.5)"),
    "close_loop": BUDGET,
    "anatomy": Kind(
        "an Anatomy",
        take.instance("lesion.network.anatomy", "Anatomy"),
        "lesion.layers makes one",
    ),
    "advice": Kind(
        "an Advice", take.instance("lesion.results.advice", "Advice"), "lesion.recommend makes one"
    ),
    "bench": BENCH,
    "recovered": BENCH,
    "times": Kind(
        "a table of times",
        take.instance("lesion.rates.latency", "Times"),
        "lesion.time makes one, Times.load reads one",
    ),
    "tolerances": Kind("tolerances in points", take.numbers),
    "class_names": Kind("names of classes, in the order of the labels or by label", take.names),
    "tradeoff": FRAME._replace(more="lesion.tradeoff gives it"),
    "interactions": Kind(
        "interactions",
        take.instance("lesion.joint.interactions", "Interactions"),
        "lesion.interactions gives them",
    ),
    "adapter": Kind("an adapter with the methods forward and targets", take.adapter),
    "shares": Kind("shares that may remain, numbers between 0 and 1", take.numbers),
    "ratios": Kind("pruning ratios, numbers between 0 and 1", take.numbers),
    "sets": Kind("a number of sets, from 1 to 100000", take.from_(1, 100_000)),
    "seed": Kind(f"a seed from 0 to {SEEDS}", take.from_(0, SEEDS)),
    "full": FLAG,
    "by_class": FLAG,
    "score": Kind("the name of a score or a function score(outputs, targets)", take.named),
    "recover": Kind("a name or a function", take.named),
    "memory": Kind("an amount of memory such as '4G'", take.amount),
    "device": Kind("a device such as 'cuda'", take.device),
    "progress": Kind("a function", take.called),
    "log": Kind(
        "texts such as 'jsonl:FILE'", take.logs, "or objects with the methods of lesion.sweeps.logs"
    ),
    "picture": TEXT,
    "curves": FRAME,
    "frame": FRAME._replace(more="see its documentation"),
    "ax": Kind("matplotlib's Axes", take.instance("matplotlib.axes", "Axes")),
    "rates": Kind("a ratio for each unit, by name", take.rates),
    "scores": Kind("an array of scores for each unit, by name", take.arrays),
    "norms": Kind("an array of norms for each layer, by name", take.arrays),
    "pins": Kind("a rate for each pattern of layers", take.rates),
}
CRITERION = Kind(
    "the name of a criterion",
    take.criterion,
    "or a function of a layer's filters, or an object of a subclass of lesion.Criterion",
)
DAMAGE = Kind("the name of a damage", take.damage, "or an object of a subclass of lesion.Damage")
PROGRESS = Kind("True, False or a function", take.progress)
OTHERWISE: Mapping[tuple[str, str], Kind] = {
    **{(function, "progress"): PROGRESS for function in ("sweep", "evaluate")},
    **{(function, "criterion"): CRITERION for function in ("sweep", "evaluate")},
    **{(function, "damage"): DAMAGE for function in ("sweep", "evaluate")},
    ("export", "allocation"): Kind(
        "an Allocation",
        take.either(
            take.instance("lesion.rates.allocation", "Allocation"),
            take.instance("lesion.results.advice", "Advice"),
        ),
        "or the Advice on bits that lesion.recommend gives; with a budget it makes an Allocation",
    ),
    ("load_pruned", "network"): Kind(
        "a torch.nn.Module or a function that makes one",
        take.either(NETWORK.take, take.called),
        NETWORK.more,
        SubjectError,
    ),
    ("report", "interactions"): Kind(
        "interactions or their table",
        take.either(
            take.instance("lesion.joint.interactions", "Interactions"),
            take.instance("pandas", "DataFrame"),
        ),
        "lesion.interactions gives them",
    ),
    ("cost", "dropped"): Kind("booleans, one a label of the anatomy", take.labels),
    ("plot_recovery", "study"): Kind("a Study or its curves", take.either(STUDY.take, FRAME.take)),
}


def public(function: F) -> F:
    """The function for callers from outside: each argument is what it expects, or a LesionError
    says in a sentence what came, and how the function is called."""
    declared = signature(function)
    parameters = declared.parameters
    known = {
        name: Argument(function, name, kind, parameters)
        for name in parameters
        if (kind := _kind(function.__name__, name))
    }

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        try:
            given = declared.bind(*args, **options)
        except TypeError as error:
            takes = f"it takes {', '.join(parameters)}"
            raise TypeError(f"lesion.{function.__name__}: {error}; {takes}") from None
        for name, value in given.arguments.items():
            if name in known and value is not parameters[name].default:
                given.arguments[name] = known[name].take(value)
        _check_lengths(given.arguments)
        with staying():
            return function(*given.args, **given.kwargs)

    called.__module__ = "lesion"  # where it is found, also by pickle
    return called  # type: ignore[return-value]


def fields(record: Any, *names: str) -> None:
    """The same for fields of a frozen record, as it is made."""
    for name in names:
        value = getattr(record, name)
        if value is not type(record).__dataclass_fields__[name].default:
            argument = Argument(type(record), name, KINDS[name], {})
            object.__setattr__(record, name, argument.take(value))


def _kind(function: str, name: str) -> Kind | None:
    return OTHERWISE.get((function, name)) or KINDS.get(name)


def _came(value: Any) -> str:
    """A value in a few words."""
    if value is None or isinstance(value, (bool, int, float, np.generic)):
        return str(value)[:SHOWN]
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= SHOWN else f"'{value[:SHOWN]}…'"
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    if kind == "function":
        return "a function"
    return f"{kind} {tuple(shape)}" if isinstance(shape, tuple) else kind


def _check_lengths(arguments: Mapping[str, Any]) -> None:
    """Raises LesionError for arrays that are not as long as what the anatomy has of it."""
    anatomy: Any = arguments.get("anatomy")
    dropped = arguments.get("dropped")
    if dropped is not None and len(dropped) != anatomy.channels:
        raise LesionError(
            f"Expected booleans, one for each of the anatomy's {anatomy.channels} labels, got "
            f"{len(dropped)}; Allocation.dropped(anatomy) gives them."
        )
    for name, scores in (arguments.get("scores") or {}).items():
        unit = anatomy.unit.get(name)
        if unit is not None and np.shape(scores) != (unit.channels,):
            raise LesionError(
                f"Expected a score for each of the {unit.channels} channels of {name}, got shape "
                f"{np.shape(scores)}; Study.scores gives them."
            )

"""Where Python callers come in: what each argument of the public functions may be."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lesion import arguments as take
from lesion.errors import LesionError, SubjectError, staying

F = TypeVar("F", bound=Callable[..., Any])
SEEDS = 2**63 - 1  # what a study's file can hold
SHOWN = 40  # letters of a value


class Kind(NamedTuple):
    """What an argument may be, in words, and what takes it; more: what to do about another."""

    what: str
    take: take.Take
    more: str = ""
    error: type[LesionError] = LesionError


NETWORK = Kind("a torch.nn.Module", take.instance("torch.nn", "Module"),
               "give the network itself, not its name or its state_dict", SubjectError)  # fmt: skip
STUDY = Kind("a Study", take.instance("lesion.study", "Study"), "open it with lesion.Study.open")
DATA = Kind("a Dataset or DataLoader", take.images, error=SubjectError)
BATCH = Kind("one batch of two images or more", take.batch, error=SubjectError)
NUMBER, TEXT, FLAG = Kind("a number", take.number), Kind("a text", take.text), Kind(
    "True or False", take.flag
)  # fmt: skip
PATH = Kind("the path of a file", take.path)
COUNT = Kind("a whole number of at least 1", take.from_(1))
WHOLE = Kind("a whole number", take.integer)
FRAME = Kind("a table", take.instance("pandas", "DataFrame"), "lesion.curves(study) gives it")
NAMED = Kind("a name or a function", take.named)
PATTERNS = Kind("names or patterns of layers", take.patterns)
SHARE = Kind("a share such as 0.5, '50%' or 'least'", take.remaining)
CRITERION = Kind("the name of a criterion", take.text,
                 "functions are none: a criterion is a module in lesion.criteria")  # fmt: skip

KINDS: Mapping[str, Kind] = {
    "network": NETWORK, "small": NETWORK, "study": STUDY, "data": DATA, "train": DATA,
    "example": BATCH, "out": PATH, "path": PATH, "criterion": CRITERION,
    "paths": Kind("the paths of studies", take.paths),
    "allocation": Kind("an Allocation", take.instance("lesion.allocation", "Allocation"),
                       "lesion.allocate makes one, Allocation.load reads one"),
    "budget": Kind("a Budget", take.instance("lesion.budget", "Budget"),
                   "such as lesion.Budget(macs=0.5)"),
    "close_loop": Kind("a Budget", take.instance("lesion.budget", "Budget")),
    "anatomy": Kind("an Anatomy", take.instance("lesion.anatomy", "Anatomy"),
                    "lesion.find_layers makes one"),
    "advice": Kind("an Advice", take.instance("lesion.advice", "Advice"),
                   "lesion.recommend makes one"),
    "bench": Kind("a bench", take.instance("lesion.together", "Bench"), "lesion.bench makes one"),
    "times": Kind("a table of times", take.instance("lesion.latency", "Times")),
    "found": Kind("interactions", take.instance("lesion.interactions", "Interactions"),
                  "lesion.find_interactions gives them"),
    "adapter": Kind("an adapter with the methods forward and targets", take.adapter),
    "ratios": Kind("pruning ratios, numbers between 0 and 1", take.numbers),
    "layers": PATTERNS, "skip": PATTERNS, "highlight": PATTERNS,
    "max_drop": NUMBER, "confidence": NUMBER, "half_width": NUMBER, "ratio": NUMBER,
    "holdout": NUMBER, "timeout": NUMBER, "max_rate": NUMBER,
    "limit": COUNT, "images": COUNT, "pairs": COUNT, "align": WHOLE, "least": WHOLE,
    "sets": Kind("a number of sets, from 1 to 100000", take.from_(1, 100_000)),
    "rounds": Kind("a whole number of at least 0", take.from_(0)),
    "workers": Kind("a whole number of at least 0", take.from_(0)),
    "seed": Kind(f"a seed from 0 to {SEEDS}", take.from_(0, SEEDS)),
    "full": FLAG, "units": TEXT, "rounding": TEXT, "order": TEXT, "estimand": TEXT,
    "guarantee": TEXT, "by": TEXT, "column": TEXT, "damage": TEXT, "to": TEXT, "part": TEXT,
    "per": TEXT, "name": TEXT, "preprocessing": TEXT,
    "score": Kind("the name of a score or a function score(outputs, targets)", take.named),
    "recovery": NAMED,
    "memory": Kind("an amount of memory such as '4G'", take.amount),
    "device": Kind("a device such as 'cuda'", take.device),
    "progress": Kind("a function", take.called),
    "curves": FRAME, "frame": FRAME._replace(more="see its documentation"),
    "ax": Kind("matplotlib's Axes", take.instance("matplotlib.axes", "Axes")),
    "rates": Kind("a ratio for each unit, by name", take.rates),
    "scores": Kind("an array of scores for each unit, by name", take.arrays),
    "norms": Kind("an array of norms for each layer, by name", take.arrays),
    "pins": Kind("a rate for each pattern of layers", take.rates),
    "macs": SHARE, "params": SHARE, "latency": SHARE,
}  # fmt: skip
OTHERWISE: Mapping[tuple[str, str], Kind] = {
    ("cost", "dropped"): Kind("booleans, one a label of the anatomy", take.labels),
    ("plot_recovery", "study"): Kind("a Study or its curves", take.either(STUDY.take, FRAME.take)),
}


def public(function: F) -> F:
    """The function for callers from outside: each argument is what it expects, or a LesionError
    says in a sentence what came, and how the function is called."""
    own = signature(function)
    taken = {name: kind for name in own.parameters if (kind := _kind(function.__name__, name))}

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        given = own.bind(*args, **options)
        for name, value in given.arguments.items():
            if name in taken and value is not own.parameters[name].default:
                given.arguments[name] = _taken(function, taken[name], name, value, own.parameters)
        _check_lengths(given.arguments)
        with staying():
            return function(*given.args, **given.kwargs)

    called.__module__ = __package__  # where it is found, also by pickle
    return called  # type: ignore[return-value]


def fields(record: Any, *names: str) -> None:
    """The same for fields of a frozen record, as it is made."""
    for name in names:
        value = getattr(record, name)
        if value is not type(record).__dataclass_fields__[name].default:
            made = _taken(type(record), KINDS[name], name, value, {})
            object.__setattr__(record, name, made)


def _kind(function: str, name: str) -> Kind | None:
    return OTHERWISE.get((function, name)) or KINDS.get(name)


def _taken(
    function: Callable[..., Any], kind: Kind, name: str, value: Any,
    parameters: Mapping[str, Parameter],
) -> Any:  # fmt: skip
    if value is None and name in ("layers", "recovery", "by", "part") and parameters:
        return parameters[name].default  # as where it is not given
    try:
        return kind.take(value)
    except (ValueError, TypeError) as error:
        places = ", ".join(
            name for name, own in parameters.items()
            if own.kind is own.POSITIONAL_OR_KEYWORD and name not in ("cls", "self")
        )  # fmt: skip
        hints = [str(error) if isinstance(error, ValueError) else "", kind.more]
        hints += [f"it takes {places}"] if places else []
        raise kind.error(
            f"Expected {kind.what}, got {_came(value)}, for {name} of lesion."
            f"{function.__qualname__}; {'; '.join(filter(None, hints)) or 'give that'}."
        ) from error


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
    for name, own in (arguments.get("scores") or {}).items():
        unit = anatomy.unit.get(name)
        if unit is not None and np.shape(own) != (unit.channels,):
            raise LesionError(
                f"Expected a score for each of the {unit.channels} channels of {name}, got shape "
                f"{np.shape(own)}; Study.scores gives them."
            )

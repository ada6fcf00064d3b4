"""Recoveries by their names: several in turn, those without training first."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from lesion.engine.mend import Mend
from lesion.engine.mends import Bias, Fit, Fold, Reconstruct, Statistics
from lesion.engine.retrain import OPTIONS, Distill, Finetune, Recover, Recovery, Users
from lesion.errors import LesionError

FITS: Mapping[str, type[Fit]] = {fit.word: fit for fit in (Bias, Fold, Reconstruct)}
TRAININGS: Mapping[str, type[Finetune]] = {kind.word: kind for kind in (Finetune, Distill)}
KNOWN = {"bn", *FITS, *TRAININGS}
READ: Mapping[str, Callable[[str], Any]] = {"masks": str, "every": int}  # other options: numbers
WORD = re.compile(r"[a-z]+(?::\d+)?(?:,[a-z]+=[^,=]+)*")
WORDS = re.compile(rf"{WORD.pattern}(?:,{WORD.pattern})*")


@dataclass(frozen=True)
class Chain:
    """Recoveries in turn: those without training first, and at most one with it."""

    mends: tuple[Mend, ...]
    training: Recovery | None = None

    @property
    def name(self) -> str:
        """Their names."""
        last = [self.training.name] if self.training else []
        return ",".join([*(mend.name for mend in self.mends), *last])


def parse(given: str | Recover) -> Chain:
    """The recoveries that a text or function stands for.

    Without training, on unlabelled images: "bias", "reconstruct" and "fold" (also with how many
    images, as "reconstruct:512", and "reconstruct,ridge=0.01"), "bn".  By training:
    "finetune:STEPS", with options "finetune:STEPS,lr=0.001,momentum=0,decay=0" and, for channels
    that are chosen anew meanwhile, "masks=gdp,every=20" (or dns, soft, agp); "distill:STEPS", with
    these and "temperature=4,share=0.9,attention=10"; or a function `recover(network, batches)`.
    Several with commas between them, training last.

    Raises LesionError for anything else.

    >>> parse("finetune:0100,lr=0.01,decay=0").name
    'finetune:100,decay=0'
    >>> parse("reconstruct:512,ridge=0.01,bn").name
    'reconstruct:512,ridge=0.01,bn'
    """
    if not isinstance(given, str):
        if callable(given):
            return Chain((), Users(given))
        raise _unknown(type(given).__name__)
    mends, training = list[Mend](), None
    for word in WORD.findall(given) if WORDS.fullmatch(given) else [given]:
        made = _made(word, given)
        if training is not None or any(type(made) is type(mend) for mend in mends):
            raise _unknown(given)
        if isinstance(made, Finetune):
            training = made
        else:
            mends.append(made)
    return Chain(tuple(mends), training)


def _made(word: str, given: str) -> Mend | Finetune:
    """One recovery, such as "finetune:100,lr=0.01"."""
    first, *options = word.split(",")
    kind, _, count = first.partition(":")
    try:
        values = dict(option.split("=") for option in options)
        if kind in TRAININGS:
            named = {OPTIONS[o]: READ.get(o, float)(value) for o, value in values.items()}
            return TRAININGS[kind](int(count), **named)
        if word == "bn":
            return Statistics()
        fit: Any = FITS[kind](**{"images": int(count)} if count else {})
        made: Fit = replace(fit, **{option: float(value) for option, value in values.items()})
    except (ValueError, KeyError, TypeError) as error:
        raise _unknown(given) from error
    if made.images < 1 or not all(0 <= float(value) < inf for value in values.values()):
        raise _unknown(given)
    return made


def _unknown(given: str) -> LesionError:
    return LesionError(
        "Expected a recovery bias, fold, reconstruct, bn, several of them with commas, "
        "finetune:STEPS, finetune:STEPS,lr=0.001,momentum=0,decay=0, distill:STEPS or a function "
        f"recover(network, batches), got '{given}'."
    )

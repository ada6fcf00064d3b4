"""What `lesion recommend` says of one kind of lesions, at each of several tolerances."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lesion.errors import EvidenceError, LesionError
from lesion.rates.allocate import by_stages
from lesion.rates.allocation import Allocation
from lesion.reports.page.texts import Texts, rounded
from lesion.results.advice import Advice
from lesion.results.advise import advise
from lesion.results.reading import Reading
from lesion.subject.outcomes import EVALUATION

GRID = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30)  # points
COARSE = (0.2, 0.5, 1, 2, 5, 10)  # where more than MANY lesions stopped early: each takes a while
MANY = 1000
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # of a whole evaluation's baseline
CODES = {"safe": "s", "sensitive": "x", "undecided": "u"}


@dataclass(frozen=True)
class Answer:
    """What is recommended at a tolerance, and the stages' rates together; or why nothing is.

    rates: of filters alone
    """

    max_drop: float
    advice: Advice | None = None
    rates: Allocation | None = None
    refusal: str = ""


def grid(reading: Reading) -> tuple[float, ...]:
    """The usual tolerances, and those that the study was asked; of an evaluation shares of it."""
    swept = {aim.max_drop for aim in reading.study.aims if aim.column == reading.column}
    if reading.column == EVALUATION:
        usual = {float(f"{share * abs(reading.baseline):.3g}") for share in SHARES}
        return tuple(sorted({drop for drop in usual if drop} | swept))
    stopped = sum(not (drop.interval or drop.reason) for drop in reading.counted.values())
    return tuple(sorted({float(drop) for drop in (COARSE if stopped > MANY else GRID)} | swept))


def answers(reading: Reading, tolerances: Sequence[float]) -> list[Answer]:
    """An answer at each tolerance, as `lesion.recommend` and `lesion recommend -o` give it.

    Raises LesionError for a tolerance that cannot be, EvidenceError where nothing is measured.
    """
    _ = reading.baseline, reading.totals, reading.drops, reading.recorded  # once, for all
    made = [_advised(reading, max_drop) for max_drop in tolerances]
    advised = [answer.advice for answer in made if answer.advice is not None]
    if not reading.filters or not advised:
        return made
    rates = _together(reading, advised)
    return [
        Answer(answer.max_drop, answer.advice, next(rates)) if answer.advice else answer
        for answer in made
    ]


def _advised(reading: Reading, max_drop: float) -> Answer:
    question = reading.asking(max_drop, None)
    try:
        return Answer(max_drop, advise(question))
    except EvidenceError as error:
        return Answer(max_drop, refusal=str(error))


def _together(reading: Reading, advised: Sequence[Advice]) -> Iterator[Allocation | None]:
    try:
        yield from by_stages(reading, advised)
    except LesionError:  # no free unit has lesions
        yield from [None] * len(advised)


def packed(answer: Answer, targets: Sequence[tuple[str, str]], texts: Texts) -> dict[str, Any]:
    """An answer as JSON values: of each target, by name and kind, its status, rates and reason.

    status: a letter a target, see CODES; skipped: 1 where it is to be left whole; reasons and
    other texts by their numbers
    """
    if answer.advice is None:
        return {"max_drop": answer.max_drop, "refusal": texts.add(answer.refusal)}
    advice = answer.advice
    known = {(entry.layer, entry.kind): entry for entry in advice.layers}
    entries = [known[target] for target in targets]
    ranks = {id(entry): place for place, entry in enumerate(advice.ranking, 1)}
    return {
        "max_drop": answer.max_drop,
        "status": "".join(CODES[entry.status] for entry in entries),
        "rates": [entry.rate for entry in entries],
        "shared": [entry.stage_rate for entry in entries],
        "skipped": "".join("01"[entry.skipped] for entry in entries),
        "ranks": [ranks.get(id(entry)) for entry in entries],
        "reasons": [texts.add(entry.reason) for entry in entries],
        "stages": [
            {"stage": each.stage, "rate": each.rate, "layers": len(each.layers),
             "skipped": len(each.skipped)}
            for each in advice.stages
        ],
        "guarantee": texts.add(advice.guarantee),
        "caveat": texts.add(advice.caveat),
        "judged": texts.add(advice.judged),
        "boundaries": texts.add(advice.boundaries),
        "together": _costs(answer.rates, texts) if answer.rates else None,
    }  # fmt: skip


def _costs(rates: Allocation, texts: Texts) -> dict[str, Any]:
    """What the stages' rates leave, and what they lose together."""
    return {
        "macs": [rates.pruned.macs, rates.intact.macs],
        "parameters": [rates.pruned.parameters, rates.intact.parameters],
        "drop": rounded(rates.drop),
        "high": rounded(rates.high),
        "guarantee": texts.add(rates.guarantee),
    }

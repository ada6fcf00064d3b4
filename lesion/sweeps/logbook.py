"""What logs are told of a sweep: what it is of, how far it is, and at the end what came out."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pandas as pd

from lesion.errors import EvidenceError
from lesion.lesions.lesion import Lesion
from lesion.sweeps.logs import AMOUNT, ANSWERS, Log
from lesion.sweeps.loop import Sweep
from lesion.sweeps.progress import Progress

EVERY = 1.0  # seconds between two notes


def logged(sweep: Sweep, logs: Sequence[Log]) -> Iterator[Progress]:
    """The steps of a sweep as they come: logs are told of one a second and of the last, then what
    came out.  Where it is broken off they are told that."""
    if not logs:
        yield from sweep
        return
    whole = False
    try:
        for log in logs:
            log.begin(_about(sweep))
        yield from _noted(sweep, logs)
        _tell_results(sweep, logs)
        whole = True
    finally:
        for log in logs:
            log.end(whole)


def _about(sweep: Sweep) -> dict[str, str | float]:
    header, aim = sweep.study.header, sweep.goal.aim
    lesion = next(iter(sweep.lesions))
    return {
        "study": str(sweep.study.path),
        "network": str(header.settings.get("name", "")),
        "goal": type(sweep.goal).__name__.lower(),
        "max_drop": aim.max_drop,
        "confidence": aim.confidence,
        "half_width": aim.half_width,
        "score": aim.column,
        "damage": lesion.damage,
        "criterion": lesion.criterion,
        "recovery": lesion.recovery,
        "layers": len({lesion.at for lesion in sweep.lesions}),
        "lesions": len(sweep.lesions),
        "images": sweep.images,
    }


def _noted(sweep: Sweep, logs: Sequence[Log]) -> Iterator[Progress]:
    start = time.monotonic()
    last, due, step = start, True, None
    for step in sweep:
        now = time.monotonic()
        if due := now - last >= EVERY:
            last = now
            _note(sweep, step, now - start, logs)
        yield step
    if step is not None and not due:
        _note(sweep, step, time.monotonic() - start, logs)


def _note(sweep: Sweep, step: Progress, seconds: float, logs: Sequence[Log]) -> None:
    numbers = {
        "sweep/share": min(step.done / max(step.total, 1), 1.0),
        "sweep/total": step.total,
        "sweep/images": sweep.study.images,
        "sweep/seconds": seconds,
        "sweep/answers_a_second": step.done / max(seconds, 1e-9),
    }
    for log in logs:
        log.numbers(numbers, step.done, ANSWERS)


def _tell_results(sweep: Sweep, logs: Sequence[Log]) -> None:
    """Drops and accuracies along amounts, and the tables of lesions and layers."""
    study, first = sweep.study, next(iter(sweep.lesions))
    frame = study.curves(damage=first.damage)
    frame = frame[frame["criterion"].eq(first.criterion) & frame["recovery"].eq(first.recovery)]
    amounts = study.damages[first.damage]
    measured = frame[frame["drop"].notna()].assign(
        shown=lambda rows: rows["amount"].map(amounts.shown).round().astype(int)
    )
    for shown, rows in measured.groupby("shown"):
        for log in logs:
            log.numbers(_of_layers(rows), int(shown), AMOUNT)
    tables = {"curves": frame, **_layers(sweep, first)}
    for name, rows in tables.items():
        for log in logs:
            log.table(name, rows)


def _of_layers(rows: pd.DataFrame) -> dict[str, float]:
    """Drop and accuracy of each layer, by names in which its kind stands where that is no layer."""
    numbers: dict[str, float] = {}
    for row in rows.to_dict("records"):
        name = row["layer"] if row["kind"] != "coupled" else f"{row['layer']} (coupled)"
        numbers |= {f"drop/{name}": row["drop"], f"accuracy/{name}": row["accuracy"]}
    return numbers


def _layers(sweep: Sweep, first: Lesion) -> dict[str, pd.DataFrame]:
    """What each layer stands, none where the study holds too little to say so."""
    aim = sweep.goal.aim
    with suppress(EvidenceError):
        advice = sweep.study.recommend(
            aim.max_drop,
            aim.confidence,
            first.criterion,
            damage=first.damage,
            after=first.recovery,
        )
        return {"layers": advice.table()}
    return {}

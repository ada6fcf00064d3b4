"""Random sets of rates, measured together on the study's own images."""

from collections.abc import Iterator

import numpy as np

from lesion.allocating import choices
from lesion.budget import Budget
from lesion.calibration import Calibration
from lesion.candidates import Candidate, Candidates, dropped
from lesion.composing import joint_drop, losses
from lesion.curves import column_of
from lesion.errors import EvidenceError
from lesion.judging import criterion_of
from lesion.plan import Joint
from lesion.study import Study
from lesion.together import Bench

SETS = 40


def calibrate(
    study: Study, bench: Bench, *, sets: int = SETS, images: int = 2000, seed: int = 0,
    criterion: str | None = None,
) -> Calibration:  # fmt: skip
    """Random sets of rates, what their single drops predict, and what they lose together.

    A set draws a highest ratio, and of each unit one up to it, both from those measured, so that
    light and heavy sets come alike. They are measured on the first `images` of the study's order;
    those kept back are not touched. The study remembers it: upper predictions are made by it.

    Raises EvidenceError where the study has no curves.
    """
    column = column_of(study, None)
    criterion = criterion_of(study, criterion, "")
    found = choices(study, Budget(), criterion, column)
    if all(len(own) == 1 for own in found.values()):
        raise EvidenceError(f"Expected curves of units in {study.path}, but it has none: sweep it.")
    used = study.header.order[:images]
    intact = bench.intact(used)
    drawn = list(random_sets(found, sets, np.random.default_rng(seed)))
    base = intact.outcomes[column].astype(float).mean()
    cuts = {Joint(tuple(one), number): dropped(study.anatomy, one)
            for number, one in enumerate(drawn)}  # fmt: skip
    outcomes = bench.outcomes(cuts, used, intact)
    measured = [100 * (base - own[column].astype(float).mean()) for own in outcomes.values()]
    baseline = 100 * float(study.intact().outcomes[column].mean())
    predicted = [
        joint_drop(losses(np.array([c.high for c in one.values()]), baseline).sum(), baseline)
        for one in drawn
    ]
    made = Calibration(tuple(predicted), tuple(map(float, measured)), baseline, len(used))
    study.set_calibration(made.to_json())
    return made


def random_sets(
    found: Candidates, sets: int, rng: np.random.Generator
) -> Iterator[dict[str, Candidate]]:
    """For each set the units that lose channels, with what they lose; none is empty."""
    ratios = sorted({one.asked for own in found.values() for one in own if one.pruned})
    while sets:
        top = ratios[rng.integers(len(ratios))]
        drawn = {}
        for unit, own in found.items():
            able = [one for one in own if one.asked <= top]
            one = able[rng.integers(len(able))]
            if one.pruned:
                drawn[unit] = one
        if drawn:
            sets -= 1
            yield drawn

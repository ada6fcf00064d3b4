"""Random sets of rates, measured together on the study's own images."""

from collections.abc import Iterator

import numpy as np

from lesion.allocating import choices
from lesion.budget import Budget
from lesion.calibration import Calibration
from lesion.candidates import Candidates, dropped
from lesion.curves import column_of
from lesion.errors import EvidenceError
from lesion.judging import criterion_of
from lesion.knobs import Choice
from lesion.plan import Joint
from lesion.predicting import basis
from lesion.study import Study
from lesion.together import Bench

SETS = 59  # the fewest that tell


def calibrate(
    study: Study, bench: Bench, *, sets: int = SETS, images: int = 2000, seed: int = 0,
    criterion: str | None = None,
) -> Calibration:  # fmt: skip
    """Random sets of rates, what their single cuts predict, and what they lose together.

    A set draws a highest ratio, and of each unit one up to it, both from those measured, so that
    light and heavy sets come alike. They are measured on the first `images` of the study's order;
    those kept back are not touched. The study remembers it: upper predictions are made by it.

    Raises EvidenceError where the study has no curves, or judges a score that is no accuracy.
    """
    column = column_of(study, None)
    criterion = criterion_of(study, criterion, "")
    found = choices(study, Budget(), criterion, column)
    if all(len(own) == 1 for own in found.values()):
        raise EvidenceError(f"Expected curves of units in {study.path}, but it has none: sweep it.")
    known = basis(study, found, column, criterion)
    if not known.composes:
        raise EvidenceError(
            f"Expected a study of accuracies, whose joint drops are predicted, but {study.path} "
            "judges another score, of which none is; measure rates together by lesion refine."
        )
    used = study.header.order[:images]
    intact = bench.intact(used)
    drawn = list(random_sets(found, sets, np.random.default_rng(seed)))
    base = intact.outcomes[column].astype(float).mean()
    cuts = {
        Joint(tuple(one), number): dropped(
            study.anatomy, {unit: found[unit][at] for unit, at in one.items()}
        )
        for number, one in enumerate(drawn)
    }
    outcomes = bench.outcomes(cuts, used, intact)
    measured = [100 * (base - own[column].astype(float).mean()) for own in outcomes.values()]
    nothing = dict.fromkeys(found, 0)
    predicted = tuple(known.predicted(nothing | one).high for one in drawn)
    made = Calibration(predicted, tuple(map(float, measured)), known.baseline, len(used), known.by)
    study.set_calibration(made.to_json())
    return made


def random_sets(found: Candidates, sets: int, rng: np.random.Generator) -> Iterator[Choice]:
    """For each set the units that lose channels, with what they lose; none is empty."""
    ratios = sorted({one.asked for own in found.values() for one in own if one.pruned})
    while sets:
        top = ratios[rng.integers(len(ratios))]
        drawn = {}
        for unit, own in found.items():
            at = int(rng.integers(sum(one.asked <= top for one in own)))
            if own[at].pruned:
                drawn[unit] = at
        if drawn:
            sets -= 1
            yield drawn

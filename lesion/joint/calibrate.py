"""Random sets of rates, measured together on the study's own images."""

from collections.abc import Iterator

import numpy as np

from lesion.errors import EvidenceError
from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.rates.budget import Budget
from lesion.rates.calibration import Calibration
from lesion.rates.candidates import Candidates, candidates, dropped
from lesion.rates.knobs import Choice
from lesion.rates.prediction import Basis, basis
from lesion.results.reading import Reading, column_of
from lesion.study.study import Study

SETS = 59  # the fewest that tell


def calibrate(
    study: Study,
    bench: Bench,
    *,
    sets: int = SETS,
    images: int = 2000,
    seed: int = 0,
    criterion: str | None = None,
) -> Calibration:
    """Random sets of rates, what their single cuts predict, and what they lose together.

    A set draws a highest ratio, and of each unit one up to it, both from those measured, so that
    light and heavy sets come alike. They are measured on the first `images` of the study's order;
    those kept back are not touched. The study remembers it: upper predictions are made by it.

    Raises EvidenceError where the study has no curves, or judges a score that is no accuracy.
    """
    choices, known = _known(Reading.of(study, criterion))
    used = study.header.order[:images]
    intact = bench.intact(used)
    drawn = list(random_sets(choices, sets, np.random.default_rng(seed)))
    cuts = {
        Joint(tuple(choice), number): dropped(
            study.anatomy, {unit: choices[unit][at] for unit, at in choice.items()}
        )
        for number, choice in enumerate(drawn)
    }
    column = column_of(study)
    base = intact.outcomes[column].astype(float).mean()
    outcomes = bench.outcomes(cuts, used, intact).values()
    measured = tuple(float(100 * (base - part[column].astype(float).mean())) for part in outcomes)
    nothing = dict.fromkeys(choices, 0)
    predicted = tuple(known.predicted(nothing | choice).high for choice in drawn)
    made = Calibration(predicted, measured, known.baseline, len(used), known.by)
    study.set_calibration(made.to_json())
    return made


def _known(reading: Reading) -> tuple[Candidates, Basis]:
    """What sets are made of and predicted by. Raises EvidenceError where nothing is known."""
    path, choices = reading.study.path, candidates(reading, Budget())
    if all(len(some) == 1 for some in choices.values()):
        raise EvidenceError(f"Expected curves of units in {path}, but it has none: sweep it.")
    known = basis(reading, choices)
    if not known.composes:
        raise EvidenceError(
            f"Expected a study of accuracies, whose joint drops are predicted, but {path} "
            "judges another score, of which none is; measure rates together by lesion refine."
        )
    return choices, known


def random_sets(choices: Candidates, sets: int, rng: np.random.Generator) -> Iterator[Choice]:
    """For each set the units that lose channels, with what they lose; none is empty."""
    ratios = sorted({choice.asked for some in choices.values() for choice in some if choice.pruned})
    while sets:
        top = ratios[rng.integers(len(ratios))]
        drawn = {}
        for unit, some in choices.items():
            at = int(rng.integers(sum(choice.asked <= top for choice in some)))
            if some[at].pruned:
                drawn[unit] = at
        if drawn:
            sets -= 1
            yield drawn

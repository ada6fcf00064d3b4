"""Rates improved by measuring them together.

What a cut does to an image's margin depends on what else is cut.  So around the rates at hand every
rate is moved a little, the others as they are, and it is measured how each image's margin moves.
The best of the states around is searched for by the sums of these moves; if it measures better it
is the new middle, else one looks less far (a trust region: Conn, Gould, Toint 2000, chapter 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lesion.errors import LesionError
from lesion.joint.bench import Bench
from lesion.joint.level import levelled
from lesion.lesions.lesion import Joint
from lesion.rates.allocate import described, reading_of, timed
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.rates.candidates import Candidate, Candidates, candidates, dropped
from lesion.rates.knobs import Choice, Knobs, State
from lesion.rates.local_search import Search
from lesion.rates.margins import LEVEL, Shifts, Soft
from lesion.rates.optimise import accounts_of, bounds_of, groups
from lesion.rates.prediction import MARGIN, basis
from lesion.results.drops import paired
from lesion.results.reading import Reading
from lesion.study.study import Study
from lesion.subject.outcomes import Intact
from lesion.words import grouped

if TYPE_CHECKING:
    from lesion.rates.latency import Times

MEASURED = (
    "Measured together{} on {} images, by which they were also chosen; "
    "`{}` measures them on others."
)
REACH = 2  # settings to either side
TRIES = 4  # of the best by prediction, at each reach
STEPS = 16  # of a unit's channels
FEWEST = 250  # images that say how margins move


@dataclass(eq=False)
class _Trials:
    """The images that rates are tried on.

    intact: their rows of the intact network
    """

    reading: Reading
    bench: Bench
    knobs: Knobs
    images: tuple[int, ...]
    intact: Intact

    @property
    def score(self) -> str:
        """The column of outcomes that is judged."""
        return self.reading.column

    @property
    def column(self) -> str:
        """The column that is looked at: the margins, where they say what the score is."""
        known = self.score == "top1" and MARGIN in self.intact.outcomes.columns
        return MARGIN if known else self.score

    def values(self, states: Sequence[State]) -> np.ndarray:
        """(states, images) margins, or scores where there are none."""
        cut = (
            tuple(unit for unit, choice in self.taken(state).items() if choice.pruned)
            for state in states
        )
        return self._measured(self.bench, list(zip(cut, states, strict=True)))

    def around(self, state: State, values: np.ndarray, reach: int = REACH) -> Shifts:
        """By how much the settings nearby of each knob move the values."""
        places = [
            (knob, setting)
            for knob, at in enumerate(state)
            for setting in range(len(self.knobs.settings[knob]))
            if 0 < abs(setting - at) <= reach
        ]
        moves = [np.zeros((len(knob), len(values)), np.float32) for knob in self.knobs.settings]
        for (knob, setting), there in zip(places, self._nearby(state, places), strict=True):
            moves[knob][setting] = there - values
        scores = self.intact.outcomes[self.score].astype(float)
        kind = Soft if self.soft else Shifts
        return kind(scores, state, values, moves, self.column == MARGIN)

    def _nearby(self, state: State, places: Sequence[tuple[int, int]]) -> np.ndarray:
        """(places, images) values where one knob of a state has another setting."""
        tried = [(*state[:knob], setting, *state[knob + 1 :]) for knob, setting in places]
        near = self.bench.around(dropped(self.reading.anatomy, self.taken(state)))
        if near is None:
            return self.values(tried)
        moved = (tuple(self.knobs.settings[knob][0]) for knob, _ in places)
        return self._measured(near, list(zip(moved, tried, strict=True)))

    def _measured(
        self, bench: Bench, states: Sequence[tuple[tuple[str, ...], State]]
    ) -> np.ndarray:
        """The values in states, each with the units that are cut; without any, the intact ones."""
        values = np.empty((len(states), len(self.images)), np.float32)
        values[:] = self.intact.outcomes[self.column]
        cuts = {
            Joint(units, number): dropped(self.reading.anatomy, self.taken(state))
            for number, (units, state) in enumerate(states)
            if units
        }
        for joint, outcomes in bench.outcomes(cuts, self.images, self.intact).items():
            values[joint.number] = outcomes[self.column]
        return values

    @property
    def few(self) -> "_Trials":
        """The same on the first quarter of its images, which is enough to see where to go."""
        first = max(len(self.images) // 4, FEWEST)
        return replace(self, images=self.images[:first], intact=self.intact.take(slice(first)))

    @property
    def soft(self) -> bool:
        """Whether margins count by how large they are: what is mended is right on most images."""
        return self.column == MARGIN and bool(self.bench.engine.recovery)

    def worth(self, values: np.ndarray) -> float:
        """What values are compared by: the mean score that they stand for, or less their loss."""
        if self.soft:
            return -float(Soft.loss(values))
        return float((values > 0 if self.column == MARGIN else values).mean(dtype=float))

    def taken(self, state: State) -> dict[str, Candidate]:
        """What each unit loses."""
        choice = self.knobs.choice(state)
        return {unit: self.knobs.candidates[unit][at] for unit, at in choice.items()}


def refine(
    study: Study,
    bench: Bench,
    allocation: Allocation,
    budget: Budget,
    *,
    images: int = 2000,
    rounds: int = 6,
    times: "Times | None" = None,
    after: str = "",
    by: str = "",
) -> Allocation:
    """The rates after at most so many rounds, with the joint drop that they measure.

    allocation: rates that were allocated from this study by this budget
    images: how many of the study's order to try them on; those kept back are not touched
    after, by: where the bench has a recovery, which lesions the rates go by, and how, see
        `recommend`; the rates are then those of a few that are best after it, see
        `lesion.joint.level`, and where it is least squares without training moved on from there

    Where layers share their stage's rate, those that skip it keep skipping it.
    A round takes at most four passes a unit over a quarter of the images (250 at least), and eight
    over all. Raises LesionError for a budget of the least, which names no share, and for lesions
    that recovered where nothing recovers.
    """
    if after and not bench.engine.recovery:
        raise LesionError(
            f"Expected a bench with a recovery, since lesions that recovered by {after} are to be "
            "judged, got one without; give lesion.bench(…, recover=…, train=…), or leave out after."
        )
    reading = reading_of(study, allocation, after)
    return improved(reading, bench, allocation, budget, images, rounds, times, by)


def improved(
    reading: Reading,
    bench: Bench,
    allocation: Allocation,
    budget: Budget,
    images: int = 2000,
    rounds: int = 6,
    times: "Times | None" = None,
    by: str = "",
) -> Allocation:
    """The same, with the lesions that the rates rest on."""
    allocation.check_filters("rates that are refined")
    if not bench.engine.recovery:
        return refined(reading, bench, allocation, budget, images, rounds, times)
    level = levelled(reading, bench, allocation, budget, images, times, by)
    if bench.around(level.dropped(reading.anatomy)) is None:  # where it trains, or fits nothing
        return level
    return refined(reading, bench, level, budget, images, rounds, times)


def refined(
    reading: Reading,
    bench: Bench,
    allocation: Allocation,
    budget: Budget,
    images: int = 2000,
    rounds: int = 6,
    times: "Times | None" = None,
) -> Allocation:
    """The rates moved until nothing near measures better.

    Where networks are mended, units are moved in finer steps than were measured.
    """
    allocation.check_filters("rates that are refined")
    budget.check_shares()
    choices = candidates(reading, budget, _finer(allocation) if bench.engine.recovery else None)
    knobs = _knobs(reading, choices, allocation, budget, times)
    used = reading.study.header.order[:images]
    trials = _Trials(reading, bench, knobs, used, bench.intact(used))
    starts = [knobs.state(_where(choices, allocation))]
    predicted = bench.engine.recovery or basis(reading, choices).by == "margins"
    if trials.column == MARGIN and not predicted:
        starts += _started(trials.few)
    values, state = max(
        zip(trials.values(starts), starts, strict=True), key=lambda tried: trials.worth(tried[0])
    )
    for _ in range(rounds):
        better = _better(trials, state, values)
        if better is None:
            break
        state, values = better
    return timed(_described(trials, state, values, budget), reading, times)


def _finer(allocation: Allocation) -> dict[str, tuple[float, ...]]:
    """Ratios of units in steps of a sixteenth, and the one that each has."""
    steps = tuple(step / STEPS for step in range(1, STEPS))
    return {rate.unit: (*steps, rate.rate) for rate in allocation.rates}


def _knobs(
    reading: Reading,
    choices: Candidates,
    allocation: Allocation,
    budget: Budget,
    times: "Times | None",
) -> Knobs:
    """What can be set: of layers that share their stage's rate, those that take it."""
    bounds = bounds_of(budget, accounts_of(reading.anatomy, choices, times))
    cut = {rate.unit for rate in allocation.cut}
    shared = groups(reading.anatomy, choices, budget)
    taking = [members for group in shared if (members := [unit for unit in group if unit in cut])]
    skipping = {unit for group in shared for unit in group} - cut
    return Knobs.of(choices, taking, bounds, still=skipping)


def _started(trials: _Trials) -> list[State]:
    """The best by single cuts' moves of margins, for studies that do not hold them."""
    whole = (0,) * len(trials.knobs.settings)
    most = max(len(knob) for knob in trials.knobs.settings)
    shifts = trials.around(whole, trials.values([whole])[0], most)
    best = Search(trials.knobs, shifts).best(whole)
    return [] if best is None else [best]


def _better(trials: _Trials, state: State, values: np.ndarray) -> tuple[State, np.ndarray] | None:
    """A state nearby that measures better, None where none was found."""
    few, known = trials.few, {state}
    shifts = few.around(state, values[: len(few.images)])
    for reach in range(REACH, 0, -1):
        for _ in range(TRIES):
            wanted = Search(trials.knobs, shifts, reach=reach, known=known).best(state)
            if wanted is None or wanted in known:
                break
            known.add(wanted)
            (there,) = trials.values([wanted])
            if trials.worth(there) > trials.worth(values):
                return wanted, there
    return None


def _where(choices: Candidates, allocation: Allocation) -> Choice:
    """The number of the choice that each unit has."""
    kept = {rate.unit: rate.kept for rate in allocation.rates}
    stay = {
        unit: [tuple(np.flatnonzero(~choice.fallen).tolist()) for choice in candidates_of_unit]
        for unit, candidates_of_unit in choices.items()
    }
    return {unit: stay[unit].index(kept[unit]) for unit in choices}


def _described(trials: _Trials, state: State, values: np.ndarray, budget: Budget) -> Allocation:
    """The rates with the drop that they measure, and the upper end of its interval."""
    goal = f"{budget.words()}, refined by measuring"
    base = trials.intact.outcomes[trials.score]
    drop, _, high = paired(base, values > 0 if trials.column == MARGIN else values, LEVEL)
    recovery = trials.bench.engine.recovery
    after = f" after recovery by {recovery}" if recovery else ""
    verify = "lesion verify --recover" if recovery else "lesion verify"
    return replace(
        described(trials.reading, trials.taken(state), goal),
        drop=100 * drop,
        high=100 * high,
        measured=True,
        guarantee=MEASURED.format(after, grouped(len(trials.images)), verify),
    )

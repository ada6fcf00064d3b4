"""A study as one question reads it: which lesions count, what each costs, and what is certain."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from lesion.errors import EvidenceError, LesionError
from lesion.lesions.amounts import Amounts
from lesion.lesions.lesion import Lesion
from lesion.network.anatomy import Anatomy
from lesion.results.drops import Drop, proportion
from lesion.results.held import named, recovered
from lesion.study.aim import Aim
from lesion.study.decisions import Decision, Decisions, Evaluated, asked, settled, totals
from lesion.study.recorded import Recorded
from lesion.study.study import Study
from lesion.subject.outcomes import EVALUATION, SCORES, Intact
from lesion.words import UNMEASURED

CRITERION, DAMAGE = "l1", "filters"


@dataclass(frozen=True, eq=False)
class Reading:
    """The lesions of one criterion, damage and recovery, put to one question.

    It is made once a command. What it gives is worked out at its first use, from what the study
    holds then, and stays.

    aim: what is asked of the lesions; confidence: of the drops' intervals, in per cent
    others: readings of damages of weights, of which rates may be mixed beside these lesions
    """

    study: Study
    aim: Aim
    criterion: str = CRITERION
    damage: str = DAMAGE
    recovery: str = ""
    confidence: float = 95
    others: "tuple[Reading, ...]" = ()

    @classmethod
    def of(
        cls,
        study: Study,
        criterion: str | None = None,
        column: str | None = None,
        damage: str | None = None,
        recovery: str = "",
        confidence: float = 95,
    ) -> "Reading":
        """The lesions that are named, under what was asked of them last.

        criterion: None for "l1" where it was measured, else the first that was; damage: the same
            with "filters"; column: the score to judge, None for the study's own

        Raises EvidenceError for what the study does not hold, LesionError for a score or confidence
        that cannot be.
        """
        proportion(confidence)
        aim = last_aim(study, column_of(study, column))
        lesions = recovered(study, recovery)
        kinds = [lesion.damage for lesion in lesions]
        damage = named(study, "kinds of damage", damage, DAMAGE, kinds)
        criteria = [lesion.criterion for lesion in lesions if lesion.damage == damage]
        criterion = named(study, "criteria", criterion, CRITERION, criteria)
        return cls(study, aim, criterion, damage, recovery, confidence)

    @classmethod
    def each(
        cls, study: Study, column: str | None, confidence: float, damage: str | None = None
    ) -> "list[Reading]":
        """A reading for each criterion, damage and recovery of a study, or of one damage alone."""
        proportion(confidence)
        aim = last_aim(study, column_of(study, column))
        families = dict.fromkeys(
            (lesion.criterion, lesion.damage, lesion.recovery)
            for lesion in study.lesions
            if damage in (None, lesion.damage)
        )
        return [cls(study, aim, *family, confidence) for family in families]

    def asking(
        self, max_drop: float | None, confidence: float | None, guarantee: str = "study"
    ) -> "Reading":
        """The same put to another question, and with intervals as confident as that.

        None for what was asked last. A sweep that decided on the tolerance answers before one that
        narrowed intervals, whichever came last: it knows more of it.
        Raises LesionError for what cannot be asked, and where nobody names what a network that is
        evaluated as a whole may lose.
        """
        if self.column == EVALUATION and max_drop is None:
            raise LesionError(
                "Expected a tolerance in the evaluation's own unit, got none; give --max-drop, "
                f"the intact network having {self.baseline:.4g}."
            )
        aim = replace(
            self.aim,
            max_drop=self.aim.max_drop if max_drop is None else max_drop,
            confidence=self.aim.confidence if confidence is None else confidence,
            guarantee=guarantee,
        )
        aim.check()
        decided = {(each.column, each.max_drop) for each in self.study.aims if not each.half_width}
        if (aim.column, aim.max_drop) in decided:
            aim = replace(aim, half_width=0.0)
        return self.under(aim, aim.confidence)

    def under(self, aim: Aim, confidence: float) -> "Reading":
        """The same lesions under another question; itself where it is the same."""
        if (aim, confidence) == (self.aim, self.confidence):
            return self
        others = tuple(reading.under(aim, confidence) for reading in self.others)
        reading = replace(self, aim=aim, confidence=confidence, others=others)
        if aim.column == self.column:
            reading._keep(self)
        return reading

    def _keep(self, known: "Reading") -> None:
        """Take over what another question about the same score has worked out already."""
        same = ["amounts", "planned", "failed", "lesions", "intact", "baseline", "totals"]
        same.append("recorded")
        if self.confidence == known.confidence:
            same.append("counted")
        self.__dict__.update(
            {name: known.__dict__[name] for name in same if name in known.__dict__}
        )

    @property
    def anatomy(self) -> Anatomy:
        """The network's layers and units."""
        return self.study.anatomy

    @property
    def column(self) -> str:
        """The score that is judged."""
        return self.aim.column

    @property
    def filters(self) -> bool:
        """Whether the lesions prune, so that there are rates and savings."""
        return self.damage == DAMAGE

    @cached_property
    def amounts(self) -> Amounts:
        """How amounts of the damage read, and which of them hurt more."""
        return self.study.damages[self.damage]

    @cached_property
    def planned(self) -> tuple[Lesion, ...]:
        """The lesions, in the order in which they came into the study."""
        family = self.criterion, self.damage, self.recovery
        return tuple(
            lesion
            for lesion in self.study.lesions
            if (lesion.criterion, lesion.damage, lesion.recovery) == family
        )

    @cached_property
    def failed(self) -> dict[Lesion, str]:
        """Those that cannot be measured, and why."""
        return self.study.failed

    @cached_property
    def lesions(self) -> tuple[Lesion, ...]:
        """Those that can be measured."""
        return tuple(lesion for lesion in self.planned if lesion not in self.failed)

    @cached_property
    def intact(self) -> Intact:
        """What the intact network made of the images."""
        return self.study.intact()

    @property
    def images(self) -> int:
        """How many images the intact network has seen; 0 where it was evaluated as a whole."""
        return 0 if self.column == EVALUATION else len(self.intact)

    @cached_property
    def baseline(self) -> float:
        """The intact network's score in per cent, or its evaluation.

        Raises EvidenceError where there is none.
        """
        if self.column == EVALUATION:
            values = self.study.evaluations
            if None not in values:
                raise EvidenceError(
                    f"Expected evaluations in {self.study.path}, but it holds none: run the sweep "
                    "first."
                )
            return values[None]
        if not len(self.intact):
            raise EvidenceError(
                f"Expected measured images in {self.study.path}, but it holds none: run the sweep "
                "first."
            )
        return 100 * float(self.intact.outcomes[self.column].mean())

    @cached_property
    def decisions(self) -> Decisions | Evaluated:
        """The lesions put to the aim, as far as their outcomes go."""
        if self.column == EVALUATION:
            return Evaluated(self.study, self.aim, self.lesions)
        decisions = Decisions(self.study, self.aim, self.lesions, recorded=self.recorded)
        decisions.follow()
        return decisions

    @cached_property
    def recorded(self) -> Recorded:
        """The lesions' scores, whatever is asked of them."""
        return Recorded(self.study, self.column, self.lesions, self.images)

    @cached_property
    def totals(self) -> dict[Lesion, float] | None:
        """What all images lose by each lesion, None where some saw fewer, see `totals`."""
        if self.column == EVALUATION or not len(self.intact):
            return None
        return totals(self.study, self.column, self.lesions)

    @cached_property
    def verdicts(self) -> dict[Lesion, Decision]:
        """What is certain of each lesion that can be measured."""
        if self.totals is None:
            return self.decisions.decided()
        return settled(asked(self.intact, self.aim, self.study.header), self.totals)

    @cached_property
    def drops(self) -> dict[Lesion, Drop]:
        """What each lesion costs, failed ones with the reason: in order of execution and harm."""
        return self.drops_of(self.counted)

    def drops_of(self, lesions: Iterable[Lesion]) -> dict[Lesion, Drop]:
        """What some lesions cost: of many that stopped early every interval takes its while."""
        drops = {lesion: self.counted[lesion] for lesion in lesions}
        stopped = [lesion for lesion, drop in drops.items() if not (drop.reason or drop.interval)]
        if not stopped:
            return drops
        assert isinstance(self.decisions, Decisions)
        ends = self.decisions.intervals(stopped, proportion(self.confidence))
        estimated = {
            lesion: self.counted[lesion].estimated(self.baseline, ends[place])
            for place, lesion in enumerate(stopped)
        }
        return drops | estimated

    @cached_property
    def counted(self) -> dict[Lesion, Drop]:
        """The same without what the process tells of those that stopped early, which it steered:
        whatever is asked, at one confidence."""
        level, drops = proportion(self.confidence), dict[Lesion, Drop]()
        evaluations, resampled = self.study.evaluations, self.study.resampled
        for lesion in sorted(self.planned, key=self._order):
            drops[lesion] = Drop(reason=self.failed.get(lesion, UNMEASURED))
            if lesion in evaluations:
                drop = Drop.evaluated(evaluations[None], evaluations[lesion])
                drops[lesion] = drop.bootstrapped(resampled.get(None), resampled.get(lesion), level)
                continue
            outcomes = self.study.outcomes(lesion)
            if lesion in self.failed or not len(outcomes):
                continue
            drops[lesion] = Drop.counted(outcomes, self.intact, self.column)
            if len(outcomes) == len(self.intact):
                drops[lesion] = drops[lesion].exact(outcomes, self.intact, self.column, level)
        return drops

    def _order(self, lesion: Lesion) -> tuple[int, str, str, float, str, int]:
        return (
            self.anatomy.place(lesion.target, lesion.kind),
            lesion.kind,
            lesion.target,
            self.amounts.severity(lesion.amount),
            lesion.rounding,
            lesion.seed,
        )


def column_of(study: Study, column: str | None = None) -> str:
    """The score to judge. Raises LesionError for one that the study does not hold."""
    held = [name for name in study.header.columns if name in SCORES]
    if column is None:
        swept = study.header.setting("score")
        return swept if swept in held else held[0]
    if column not in held:
        raise LesionError(f"Expected one of the columns {', '.join(held)}, got {column!r}.")
    return column


def last_aim(study: Study, column: str) -> Aim:
    """What was asked of a score last, else one point."""
    return next((aim for aim in study.aims[::-1] if aim.column == column), Aim(column=column))

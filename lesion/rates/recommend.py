"""What a study recommends: layers to skip and rates, or the rates that meet a budget together."""

from dataclasses import replace
from typing import TYPE_CHECKING, overload

from lesion.boundary.texts import several
from lesion.errors import LesionError
from lesion.rates.allocate import allocated, check
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.rates.layer_options import mixed
from lesion.results.advice import Advice
from lesion.results.advise import advise
from lesion.results.rankings import standing
from lesion.results.reading import DAMAGE, Reading
from lesion.study.study import Study

if TYPE_CHECKING:
    from lesion.rates.latency import Times


@overload
def recommend(
    study: Study,
    max_drop: float | None = None,
    confidence: float | None = None,
    criterion: str | None = None,
    column: str | None = None,
    guarantee: str = "study",
    after: str = "",
    damage: str | None = None,
    *,
    budget: None = None,
) -> Advice: ...


@overload
def recommend(
    study: Study,
    max_drop: None = None,
    confidence: float | None = None,
    criterion: str | None = None,
    column: str | None = None,
    guarantee: str = "study",
    after: str = "",
    damage: str | None = None,
    *,
    budget: Budget,
    times: "Times | None" = None,
    by: str = "",
) -> Allocation: ...


def recommend(
    study: Study,
    max_drop: float | None = None,
    confidence: float | None = None,
    criterion: str | None = None,
    column: str | None = None,
    guarantee: str = "study",
    after: str = "",
    damage: str | None = None,
    *,
    budget: Budget | None = None,
    times: "Times | None" = None,
    by: str = "",
) -> Advice | Allocation:
    """Which layers to skip, and what rates the others take, if a layer may lose `max_drop` points;
    with a budget the rates that meet it together and lose least by prediction.

    A ratio is safe, sensitive or undecided by the sequential test of `Decisions`, and by what is
    the case where all images of the evaluation set were measured. A layer's rate is its largest
    safe ratio with no sensitive one below. The rate of a stage is, of its free layers' rates, the
    one that removes most of the stage's own MACs (the sum over the layers with that rate or more,
    and the depthwise layers that follow them, of MACs × pruned / channels; at a tie the one that
    skips fewer); layers below it are skipped; a layer that stands a ratio is taken to stand lower
    ones. Branches, coupled units and layers outside stages stand alone and are skipped at rate 0.
    Of other damage than filters each layer stands alone, with the most harmful amount that is safe.

    Within a budget each unit takes one of the ratios that were measured. What the rates cost in
    multiply-accumulates and parameters is that of the physically smaller network: a layer between
    two units that shrink costs the product of what both keep.

    max_drop, confidence: by default what the sweep was asked last, else 1 point at 95 per cent; of
        a budget, `Budget.max_drop` is the joint drop, and confidence that of single drops
    criterion: None means "l1" where that was measured, else the first that was; where several
        seeds or roundings were measured, the worst counts
    column: the score to judge, None for the study's own
    guarantee: "study" (with that confidence no claim of the study is wrong) or "layer" (of each
        layer on its own)
    after: judge the lesions that recovered in this way before they were scored, such as "bn" or
        "finetune:20", for networks that are to be retrained; "" for one-shot ones
    damage: None means "filters" where these were measured, else the first that was; within a budget
        several may be named between commas, and None means all that the study holds: beside the
        rates of units, each layer's weight takes one amount of one damage or none, and none where
        its own unit loses channels
    times: the table that a budget of latency is reckoned by, see `lesion.time`
    by: what the joint drop is predicted by. "margins": each image's margin moves by the sum of what
        the single lesions moved it; the rates are searched for (see `lesion.rates.local_search`),
        from the best by drops and from the intact network. "drops": accuracies multiply (see
        `lesion.rates.prediction`), at the upper ends of the drops' intervals at `confidence` per
        cent; the rates are the exact optimum. "" for margins where the study has them, see
        `lesion.rates.prediction.basis`: where every lesion saw the same images and the score is
        top-1. Of a score that is no accuracy nothing is predicted: single drops are only compared

    Raises LesionError for a tolerance or confidence that cannot be, and where the budget is out of
    reach, with the nearest that can be reached, or bounds a drop that is not predicted;
    EvidenceError for lesions that the study does not hold, where there are no images or no margins
    for what is asked, or too few to decide any ratio of any layer.
    """
    if budget is None:
        if times is not None or by:
            raise LesionError(
                "Expected a budget for times and by, got none; give budget=lesion.Budget(macs=0.5)."
            )
        reading = Reading.of(study, criterion, column, damage, after)
        return advise(reading.asking(max_drop, confidence, guarantee))
    if max_drop is not None:
        raise LesionError(
            f"Expected the joint drop in the budget, got max_drop={max_drop:g}; give "
            f"lesion.Budget(max_drop={max_drop:g}, …)."
        )
    check(budget, times)
    of_drops = 95 if confidence is None else confidence
    reading = choosing(study, criterion, column, damage, after, of_drops)
    return within(reading, budget, times, by)


def choosing(
    study: Study,
    criterion: str | None = None,
    column: str | None = None,
    damage: str | None = None,
    after: str = "",
    confidence: float = 95,
) -> Reading:
    """The lesions that rates within a budget are chosen of.

    damage: names between commas, None for all that the study holds; filters are those of one
        criterion
    """
    names = None if damage is None else several(damage)
    first = None if names is None else DAMAGE if DAMAGE in names else names[0]
    reading = Reading.of(study, criterion, column, first, after, confidence)
    return mixed(reading, names)


def within(
    reading: Reading, budget: Budget, times: "Times | None" = None, by: str = ""
) -> Allocation:
    """The rates that meet a budget, with which lesions they rest on."""
    rates = allocated(reading, budget, times, by)
    return replace(rates, guarantee=f"{rates.guarantee} {standing(reading)}")

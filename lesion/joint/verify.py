"""Rates put to the test: applied together, on images that had no part in choosing them."""

from typing import Any

from torch import nn

from lesion.engine.retrain import Recover
from lesion.joint.bench import bench
from lesion.joint.closed_loop import tightened
from lesion.joint.verification import Verification
from lesion.joint.verifier import Verifier, once
from lesion.rates.allocate import reading_of
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.results.reading import column_of
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.subject.adapter import Adapter
from lesion.subject.scores import Score


def verify(
    study: Study,
    network: nn.Module,
    data: Any,
    allocation: Allocation,
    *,
    max_drop: float = 1.0,
    confidence: float = 95,
    close_loop: Budget | None = None,
    full: bool = False,
    score: str | Score | None = None,
    adapter: Adapter | None = None,
    recover: str | Recover = "",
    train: Any = None,
) -> Verification:
    """The rates applied together, measured on the images that the study kept back.

    network, data: the study's own
    max_drop: what they may lose together, in points; confidence: that no check of the study calls
        rates safe that are not, in per cent
    close_loop: the budget whose cut is reduced until the rates are certified, see `tightened`
    full: measure all images kept back, though the verdict be certain before
    score: where the study's is a function, that function
    recover: what the pruned network goes through before it is measured, such as "finetune:200";
        train: its training images, none of them among those measured

    Raises StudyError where network or data are others than the study's, EvidenceError where it
    keeps no images back.
    """
    ready = bench(study, network, data, score=score, adapter=adapter, recover=recover, train=train)
    verifier = Verifier(study, ready, Aim(max_drop, confidence, column_of(study)), full)
    if close_loop is None:
        return once(verifier, allocation)
    return tightened(verifier, reading_of(study, allocation), allocation, close_loop)

"""A sweep that is stopped by a clock: at the next replay, with all that was measured, to go on."""

import interruption
import networks
import pytest
from test_interruption import same

import lesion
from lesion.cli import progress
from lesion.engine.base import Batches
from lesion.engine.replay import Replay
from lesion.study.study import Study
from lesion.subject.adapter import BatchAdapter

MODES = list(interruption.GOALS)
STEPS = {"decide": 5, "narrow": 5, "full": 47}  # replays until the clock stops a sweep


class Clock:
    """Lets so many replays pass and counts those that run."""

    def __init__(self, monkeypatch, replays):
        self.left, self.ran = replays, 0
        run = Replay._replay

        def counted(engine, *rest):
            self.ran += 1
            return run(engine, *rest)

        monkeypatch.setattr(Replay, "_replay", counted)

    def over(self):
        return self.ran >= self.left


def ready(folder, mode):
    """A sweep that runs 16 images at once, so that a batch is read for several runs."""
    sweep = interruption.ready(folder, mode)
    sweep.worker.batches = Batches(16, 16)
    return sweep


@pytest.mark.parametrize("mode", MODES)
def test_it_stops_at_the_next_replay_and_goes_on_to_the_same_end(tmp_path, mode, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    sweep = ready(whole, mode)
    list(sweep)
    sweep.study.close()
    clock, stops = Clock(monkeypatch, 0), 0
    while True:
        clock.left = clock.ran + STEPS[mode]  # it stops at any lesion, in any part of a batch
        sweep = ready(stopped, mode)
        sweep.over = clock.over
        list(sweep)
        sweep.study.close()
        if not clock.over():
            break
        assert clock.ran == clock.left
        stops += 1
    assert stops > 3
    same(stopped, whole, exact=False)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_measured_before_it_stops_is_saved(tmp_path, mode, monkeypatch):
    sweep = ready(tmp_path, mode)
    list(step for step in sweep if False)
    sweep.study.close()
    whole = interruption.recorded(tmp_path)
    (tmp_path / "study").unlink()
    sweep = ready(tmp_path, mode)
    sweep.over = Clock(monkeypatch, 5).over
    list(sweep)
    sweep.study.close()
    intact, *lesions = interruption.recorded(tmp_path)
    assert 0 < sum(lesions) <= 5 * 16 < sum(whole[1:])
    assert intact >= max(lesions)


def test_a_budget_that_is_used_up_stops_the_command_line_between_replays(tmp_path, monkeypatch):
    sweep = ready(tmp_path, "full")
    clock = Clock(monkeypatch, 3)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(clock.ran))
    with sweep.study:
        progress.run(sweep, 3)
    assert clock.ran == 3
    with Study.open(tmp_path / "study") as study:
        assert sum(int(study.seen(lesion).sum()) for lesion in study.lesions) == 3 * 16


@pytest.mark.parametrize("score", [True, False], ids=["score", "adapter"])
def test_scores_under_the_same_name_are_the_same(tmp_path, score):
    """Two lambdas, or two adapters, are told apart by what they make of the intact network."""
    network, data = networks.plain(60)

    class Outputs(BatchAdapter):
        sign = 1

        def forward(self, network, batch):
            return self.sign * super().forward(network, batch)

    class Turned(Outputs):
        sign = -1

    def swept(ratios, second):
        given = {"adapter": (Turned if second else Outputs)()}
        if score:
            share = 0.5 if second else 1.0
            given = {"score": lambda outputs, labels: share * (outputs.argmax(1) == labels)}
        lesion.sweep(network, data, tmp_path / "s", ratios=ratios, **given).close()

    swept((0.5,), False)
    swept((0.75,), False)
    with pytest.raises(lesion.StudyError, match="scores that the study holds of the intact"):
        swept((0.25,), True)
    with Study.open(tmp_path / "s") as study:
        new = [one for one in study.lesions if one.amount == 0.25]
        assert all(not len(study.outcomes(one)) for one in new)

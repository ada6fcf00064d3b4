"""Killed at any moment, a sweep goes on to exactly the result that it would have had."""

import random

import interruption
import numpy as np
import pytest

from lesion.engine.base import Batches
from lesion.engine.whole import Whole
from lesion.study.aim import Aim
from lesion.study.decisions import Decisions
from lesion.study.study import Study
from lesion.sweeps import work

DEFAULT = 3
COMPLETE = {"decide": 18, "narrow": 16, "full": 16}
NOISE = 1e-3  # of a loss, in half precision: sums of another batch end in other digits
MODES = list(interruption.GOALS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """For each mode a sweep that nobody interrupts, and the seconds it took."""
    made = {}

    def of(mode):
        if mode not in made:
            folder = tmp_path_factory.mktemp(mode)
            made[mode] = folder, interruption.finished(folder, mode)
        return made[mode]

    return of


def decided(study):
    """Verdict and images of each lesion, under what the study was asked last."""
    aim = study.aims[-1] if study.aims else Aim(5.0)
    found = Decisions(study, aim, study.lesions).decisions()
    return {one: (decision.verdict, decision.images) for one, decision in found.items()}


def equal(one, other, exact):
    """Equal bit for bit; numbers that are no hits but for float noise, unless `exact`."""
    if exact or not np.issubdtype(one.dtype, np.floating):
        return np.array_equal(one, other)
    return np.allclose(one, other, NOISE, NOISE)


def same(folder, other, exact):
    """Both studies hold the same of the same images, and say the same of it."""
    with Study.open(folder / "study") as one, Study.open(other / "study") as two:
        assert one.header == two.header and one.lesions == two.lesions and one.aims == two.aims
        found, wanted = one.intact(), two.intact()
        for name in ("label", "prediction", "margin", "digest"):
            assert equal(getattr(found, name), getattr(wanted, name), exact)
        pairs = [(found.outcomes, wanted.outcomes)]
        pairs += [(one.outcomes(lesion), two.outcomes(lesion)) for lesion in two.lesions]
        for own, other in pairs:
            assert np.array_equal(own.images, other.images)
            assert all(equal(own[name], other[name], exact) for name in two.header.columns)
        assert decided(one) == decided(two)
        return one.header.order


def read_once(folder, order, ends):
    """Each full sweep began where the last was saved; nothing else was read a second time."""
    chunk = interruption.CHUNK
    sweeps = interruption.measured(folder)
    assert len(sweeps) == len(ends)
    for images, (start, end) in zip(sweeps, ends, strict=True):
        (start,), (end,) = set(start), set(end)
        assert start % chunk == 0
        assert tuple(images) == order[start : start + len(images)]
        assert end <= start + len(images) <= end + chunk  # what is lost, and no other
    again = sum(map(len, sweeps)) - len(order)
    print(f"{len(sweeps)} sweeps of {len(order)} images, {again} read again")
    assert 0 <= again <= chunk * (len(sweeps) - 1)


def answered_once(folder, ends, mode):
    """Each sweep gave the answers that were missing: what was saved before, it gave no more.

    Of a sweep's steps the last may be saved and not noted; a full sweep counts no intact passes.
    """
    sweeps = interruption.steps(folder)
    assert len(sweeps) == len(ends)
    lesions = len(ends[-1][1]) - 1
    for number, (steps, (start, end)) in enumerate(zip(sweeps, ends, strict=True), 1):
        more = sum(end) - sum(start) - (end[0] - start[0] if mode == "full" else 0)
        noted = steps[-1] if steps else 0
        unnoted = interruption.CHUNK * lesions if number < len(sweeps) else 0
        assert noted <= more <= noted + unnoted
        assert all(now <= then for now, then in zip(start[1:], end[1:], strict=False))


def interrupt(folder, mode, seconds, rng, kills, enough):
    """Kills sweeps until there are so many kills, or enough is done.

    What each sweep that measured found and left; how many kills there were, and how many before.
    """
    ends, hit, early = [], 0, 0
    while hit < kills and not (ends and sum(ends[-1][1]) > enough):
        preparing = rng.random() < 0.2  # some are killed while they get ready, or soon after
        before, sweeps = interruption.recorded(folder), interruption.begun(folder)
        span = 1.0 if preparing else seconds / 2
        hit += interruption.killed(folder, mode, rng.uniform(0, span), not preparing)
        if interruption.begun(folder) > sweeps:
            ends.append((before, interruption.recorded(folder)))
        else:
            early += 1
    return ends, hit, early


def kill_and_resume(base, reference, mode, rng, kills):
    """Kills so many sweeps, in as many studies as it takes, each brought to its end."""
    whole, seconds = reference
    enough = 0.6 * sum(interruption.recorded(whole))
    left, studies, before = kills, 0, 0
    while left:
        folder = base / str(studies)
        folder.mkdir()
        ends, hit, early = interrupt(folder, mode, seconds, rng, left, enough)
        found = interruption.recorded(folder)
        interruption.finished(folder, mode)
        ends.append((found, interruption.recorded(folder)))
        order = same(folder, whole, mode == "full")
        answered_once(folder, ends, mode)
        if mode == "full":
            read_once(folder, order, ends)
        assert sorted(p.name for p in folder.iterdir()) == ["log", "study"]
        left, studies, before = left - hit, studies + 1, before + early
    print(f"{mode}: {kills} kills in {studies} studies, {before} before anything was measured")


@pytest.mark.parametrize("mode", MODES)
def test_killed_and_resumed(tmp_path, whole, mode):
    kill_and_resume(tmp_path, whole(mode), mode, random.Random(), DEFAULT)


@pytest.mark.parametrize("mode", ["decide", "full"])
def test_killed_within_and_between_damages(tmp_path, mode):
    damages, rng, kills = list(interruption.MIXED), random.Random(), 0
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), folder.mkdir()
    seconds = interruption.finished(whole, mode, damages)
    for _ in range(DEFAULT):
        kills += interruption.killed(folder, mode, rng.uniform(0, seconds), True, damages)
    interruption.finished(folder, mode, damages)
    same(folder, whole, mode == "full")
    with Study.open(folder / "study") as study:
        assert {lesion.damage for lesion in study.lesions} == {*damages}
    assert kills  # else nothing was interrupted


@pytest.mark.complete
@pytest.mark.parametrize("mode", MODES)
def test_killed_fifty_times(tmp_path, whole, mode):
    kill_and_resume(tmp_path, whole(mode), mode, random.Random(), COMPLETE[mode])


@pytest.mark.parametrize("mode", ["decide", "narrow"])
def test_some_lesions_stop_before_all_images(whole, mode):
    """Else nothing above would tell deciding from measuring everything."""
    intact, *lesions = interruption.recorded(whole(mode)[0])
    assert intact == interruption.IMAGES
    assert 0 < sum(lesions) < 0.8 * intact * len(lesions)


@pytest.mark.parametrize("mode", ["decide", "narrow"])
@pytest.mark.parametrize(
    "together, batch, engine", [(5, 1, None), (256, 37, None), (64, 16, Whole)]
)
def test_the_size_of_a_batch_changes_no_verdict(
    tmp_path, whole, mode, together, batch, engine, monkeypatch
):
    monkeypatch.setattr(work, "TOGETHER", together)
    sweep = interruption.ready(tmp_path, mode)
    sweep.worker.batches = Batches(batch, batch)
    sweep.worker.engine = engine(sweep.worker.dissection) if engine else sweep.worker.engine
    list(sweep)
    sweep.study.close()
    same(tmp_path, whole(mode)[0], exact=False)

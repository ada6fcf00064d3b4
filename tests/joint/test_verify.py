"""Rates put to the test on the images kept back: what is measured and claimed."""

from dataclasses import replace
from types import SimpleNamespace

import networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jointly import drops
from torch.utils.data import TensorDataset
from unequal import subject as small_subject

from lesion.errors import EvidenceError, LesionError, StudyError
from lesion.joint.bench import Bench
from lesion.joint.closed_loop import CAREFUL, FINE, SHRINK, _Loop, tightened
from lesion.joint.verification import Check, Verification, begin, recorded
from lesion.joint.verifier import Verifier, once
from lesion.joint.verify import verify
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.results.reading import Reading
from lesion.study.aim import Aim
from lesion.study.merge import merge
from lesion.study.study import Study
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep

subject = small_subject
RATIOS = (0.125, 0.25, 0.5, 0.75)


@pytest.fixture
def study(subject, tmp_path):
    with sweep(*subject, tmp_path / "a.lesion", ratios=RATIOS, full=True, holdout=0.5) as made:
        yield made


@pytest.fixture
def bench(subject, study):
    return Bench.of(study, Subject.of(*subject))


def counted(subject, study, allocation):
    """The drop on the images kept back, of the network sliced by hand, in points."""
    return drops(subject, study, allocation, study.header.holdout).mean()


@pytest.mark.parametrize("left", [0.9, 0.6, 0.4])
def test_the_drop_is_that_of_the_smaller_network(subject, study, bench, left):
    allocation = recommend(study, budget=Budget(macs=left))
    found = once(Verifier(study, bench, Aim(3.0), full=True), allocation).final
    assert found.drop == pytest.approx(counted(subject, study, allocation))
    assert found.exact and found.images == len(study.header.holdout)
    assert (found.verdict == "safe") == (found.drop <= 3)
    assert found.low <= found.drop <= found.high
    assert found.gap == pytest.approx(found.drop - allocation.drop)


def test_it_stops_when_it_is_told_and_the_verdict_is_that_of_all_images(subject, study, bench):
    allocation = recommend(study, budget=Budget(macs=0.4))
    early = once(Verifier(study, bench, Aim(3.0)), allocation).final
    assert early.images < early.held
    whole = once(Verifier(study, bench, Aim(3.0), full=True), allocation).final
    assert early.verdict == whole.verdict
    assert early.low <= whole.drop <= early.high


def test_each_check_spends_half_of_what_is_left_of_the_error(study, bench):
    allocation = recommend(study, budget=Budget(macs=0.9))
    verifier = Verifier(study, bench, Aim(3.0, 95))
    spent = [verifier.check(allocation).alpha for _ in range(3)]
    again = Verifier(study, bench, Aim(3.0, 95)).check(allocation)
    assert [*spent, again.alpha] == pytest.approx([0.025, 0.0125, 0.00625, 0.003125])
    assert [check.number for check in recorded(study)] == [1, 2, 3, 4]
    assert recorded(study)[-1] == again
    assert Check.from_dict(again.to_dict()) == again


def test_merged_studies_keep_what_was_spent(study, bench, tmp_path):
    verifier = Verifier(study, bench, Aim(3.0, 95))
    verifier.check(recommend(study, budget=Budget(macs=0.9)))
    merge([study.path, study.path], tmp_path / "m.lesion")
    with Study.open(tmp_path / "m.lesion") as merged:
        assert merged.checks == study.checks
        again = Verifier(merged, bench, Aim(3.0, 95)).check(
            recommend(merged, budget=Budget(macs=0.9))
        )
    assert (again.number, again.alpha) == (2, pytest.approx(0.0125))


def test_copies_that_made_checks_of_their_own_state_less_confidence_once_joined(
    study, bench, tmp_path
):
    copies = []
    for number, left in enumerate((0.9, 0.8, 0.7, 0.6)):
        path = tmp_path / f"{number}.lesion"
        path.write_bytes(study.path.read_bytes())
        with Study.open(path) as copy:
            checked = once(
                Verifier(copy, bench, Aim(3.0)), recommend(copy, budget=Budget(macs=left))
            )
        assert checked.confidence == pytest.approx(95)
        assert (checked.final.number, checked.final.alpha) == (1, pytest.approx(0.025))
        copies.append(path)
    merge(copies, tmp_path / "m.lesion")
    with Study.open(tmp_path / "m.lesion") as merged:
        again = once(Verifier(merged, bench, Aim(3.0)), recommend(merged, budget=Budget(macs=0.9)))
    assert (again.final.number, again.final.alpha) == (5, pytest.approx(0.05 / 32))
    assert again.confidence == pytest.approx(100 - 4 * 2.5 - 5 / 16)  # and what may come yet
    assert "With 89.69 % confidence no check" in again.text() or again.final.exact


def test_a_check_of_less_confidence_counts_for_those_after_it(study, bench):
    allocation = recommend(study, budget=Budget(macs=0.9))
    once(Verifier(study, bench, Aim(3.0, 80)), allocation)
    again = once(Verifier(study, bench, Aim(3.0, 99)), allocation)
    assert again.confidence == pytest.approx(100 - 10 - 0.25 - 0.25)


def test_checks_at_the_same_time_have_errors_of_their_own(study, bench):
    allocation = recommend(study, budget=Budget(macs=0.9))

    class Meanwhile(Verifier):
        def _checked(self, *args):
            with Study.open(study.path) as opened:  # another process, while this one measures
                others.append(Verifier(opened, bench, Aim(3.0)).check(allocation))
            return super()._checked(*args)

    others: list[Check] = []
    mine = Meanwhile(study, bench, Aim(3.0)).check(allocation)
    assert [(mine.number, mine.alpha)] == [(1, pytest.approx(0.025))]
    assert [(one.number, one.alpha) for one in others] == [(2, pytest.approx(0.0125))]
    assert recorded(study) == (mine, *others)


def test_a_check_that_came_to_nothing_spends_nothing_and_one_that_was_cut_off_does(study, bench):
    allocation = recommend(study, budget=Budget(macs=0.9))

    class Stopped(Verifier):
        def _checked(self, *args):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stopped(study, bench, Aim(3.0)).check(allocation)
    assert study.checks == ()
    begin(study, 95)  # and the process is killed
    assert recorded(study) == ()
    assert once(Verifier(study, bench, Aim(3.0)), allocation).final.number == 2


def test_the_loop_tightens_until_it_is_certified(subject, study, bench):
    budget = Budget(macs=0.3)
    found = tightened(
        Verifier(study, bench, Aim(2.0)), Reading.of(study), recommend(study, budget=budget), budget
    )
    assert found.certified and len(found.checks) > 1
    assert counted(subject, study, found.final.allocation) <= 2
    macs = [check.allocation.pruned.macs for check in found.checks]
    assert macs == sorted(macs)
    assert "SAFE for 2 points" in found.text()


def test_the_loop_measures_on_other_images_than_it_refines_on(subject, study, bench):
    budget = Budget(macs=0.3)
    found = tightened(
        Verifier(study, bench, Aim(6.0)), Reading.of(study), recommend(study, budget=budget), budget
    )
    last, own = found.final.allocation, study.header.order
    first, others = own[: len(own) // 2], own[len(own) // 2 :]
    lost = [drops(subject, study, last, some).mean() for some in (others, first, own)]
    assert len(found.checks) > 1 and len(set(lost)) == 3, "the case tells nothing"
    assert last.drop == pytest.approx(lost[0])


class Told:
    """A verifier of rates whose drop is a function of the share that they cut, without sampling."""

    def __init__(self, held, max_drop):
        self.held, self.aim, self.checked = held, Aim(max_drop), []

    def check(self, allocation):
        drop = self.held(allocation.drop)
        self.checked.append(allocation)
        verdict = "safe" if drop <= self.aim.max_drop else "sensitive"
        return SimpleNamespace(drop=drop, verdict=verdict)


def told(cut, drop):
    macs = SimpleNamespace(macs=100 * (1 - cut))
    return SimpleNamespace(
        cut=("a",),
        idle=False,
        changes=(),
        filters=cut,
        drop=drop,
        pruned=macs,
        intact=SimpleNamespace(macs=100),
    )


@settings(max_examples=200, deadline=None)
@given(st.floats(1, 20), st.floats(1, 8), st.floats(20, 60), st.sampled_from([0.5, 1.0, 1.5, 4.0]))
def test_the_loop_finds_the_largest_cut(max_drop, power, most, ratio):
    """Drops grow as a power of the cut; on the images kept back they are `ratio` times as large."""

    def own(cut):
        return most * (cut / 0.5) ** power

    start = told(0.5, own(0.5))
    verifier = Told(lambda drop: ratio * drop, max_drop)
    loop = _Loop(verifier, Budget(macs=0.5), lambda b: told(1 - b.macs, own(1 - b.macs)))
    checks = list(loop.checks(start))
    last = verifier.checked[-1]
    assert checks[-1].verdict == "safe" and ratio * last.drop <= max_drop
    if len(checks) == 1:
        assert ratio * own(0.5) <= max_drop
    elif len(checks) == 2:
        larger = 1 - last.pruned.macs / 100 + FINE
        assert larger >= 0.5 * SHRINK or own(larger) > CAREFUL * max_drop
    assert len(checks) <= (2 if ratio <= 1 else 8)


def test_the_loop_gives_up():
    """Where every cut loses too much on the images kept back, though none on the study's own."""
    verifier = Told(lambda drop: 50.0, 1.0)
    loop = _Loop(verifier, Budget(macs=0.5), lambda b: told(1 - b.macs, 0.0))
    with pytest.raises(LesionError, match=r"the last that were tried lose 50\.00"):
        list(loop.checks(told(0.5, 0.0)))


def nothing(network, batches):
    """A recovery that leaves everything as it is."""


def test_the_loop_goes_by_lesions_that_recovered(subject, tmp_path):
    """Of lesions without recovery the study has none; the drop is measured on its own images."""
    network, data = subject
    images = torch.randn(64, *data.tensors[0].shape[1:], generator=torch.Generator().manual_seed(5))
    train, budget = TensorDataset(images, torch.zeros(64, dtype=int)), Budget(macs=0.4)
    with sweep(network, data, tmp_path / "r.lesion", ratios=RATIOS, full=True, holdout=0.5,
               recover=nothing, train=train) as made:  # fmt: skip
        ready = Bench.of(made, Subject.of(network, data, train=train), nothing)
        first = recommend(made, budget=budget, after=f"{__name__}:nothing")
        reading = Reading.of(made, recovery=f"{__name__}:nothing")
        found = tightened(Verifier(made, ready, Aim(5.0)), reading, first, budget)
        last = found.final.allocation
        own = made.header.order
    assert found.certified and len(found.checks) > 1 and last.measured
    assert last.drop == pytest.approx(drops(subject, made, last, own).mean())
    assert last.drop <= CAREFUL * 5
    assert "on the study's own images" in found.text()


def test_the_loop_says_where_nothing_helps(study, bench):
    budget = Budget(macs=0.3, skip=("b",), pins={"a": 0.75})
    with pytest.raises(LesionError, match="study's ratios leave none: the last that were tried"):
        tightened(
            Verifier(study, bench, Aim(0.1)),
            Reading.of(study),
            recommend(study, budget=Budget(macs=0.3)),
            budget,
        )


def test_from_a_network_and_its_data(subject, study):
    allocation = recommend(study, budget=Budget(macs=0.9))
    found = verify(study, *subject, allocation, max_drop=3.0, full=True)
    assert found.final.drop == pytest.approx(counted(subject, study, allocation))
    closed = verify(study, *subject, allocation, max_drop=3.0, close_loop=Budget(macs=0.9))
    assert closed.certified


@pytest.mark.parametrize(("shift", "words"), [(-1.5, "1.50 below"), (0.25, "0.25 above")])
def test_the_gap_is_told_with_its_side(study, bench, shift, words):
    allocation = recommend(study, budget=Budget(macs=0.9))
    check = once(Verifier(study, bench, Aim(3.0), full=True), allocation).final
    predicted = replace(check.allocation, drop=check.drop - shift)
    checked = Verification((replace(check, allocation=predicted),), 95.0)
    assert f", {words} the prediction" in checked.text()


def test_nothing_cut_costs_nothing(study, bench):
    whole = recommend(study, budget=Budget(macs=1.0, skip=("a", "b")))
    found = once(Verifier(study, bench, Aim(1.0), full=True), whole).final
    assert (found.drop, found.verdict) == (0, "safe")


def test_what_cannot_be_verified(subject, study, bench, tmp_path):
    other, data = networks.plain(600, seed=5)
    with pytest.raises(StudyError, match="another came: weights"):
        Bench.of(study, Subject.of(other, subject[1]))
    none = sweep(*subject, tmp_path / "b.lesion", ratios=(0.5,), holdout=0, images=50, full=True)
    with none, pytest.raises(EvidenceError, match="Expected images kept back for checking rates"):
        Verifier(none, bench, Aim(1.0))
    foreign = TensorDataset(data.tensors[0][:500], data.tensors[1][:500])
    with pytest.raises(StudyError, match="another came: images"):
        Bench.of(study, Subject.of(subject[0], foreign))
    assert np.isfinite(bench.intact(study.header.holdout).margin).all()

"""Rates put to the test on the images kept back: what is measured and claimed."""

import networks
import numpy as np
import pytest
from jointly import drops
from test_goals import subject as small_subject
from torch.utils.data import TensorDataset

from lesion.aim import Aim
from lesion.allocating import allocate
from lesion.budget import Budget
from lesion.errors import EvidenceError, LesionError, StudyError
from lesion.merging import merge
from lesion.study import Study
from lesion.subject import Subject
from lesion.sweeping import sweep
from lesion.together import Bench
from lesion.verification import Check, recorded
from lesion.verifying import Verifier, once, tightened, verify

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
    allocation = allocate(study, Budget(macs=left))
    found = once(Verifier(study, bench, Aim(3.0), full=True), allocation).final
    assert found.drop == pytest.approx(counted(subject, study, allocation))
    assert found.exact and found.images == len(study.header.holdout)
    assert (found.verdict == "safe") == (found.drop <= 3)
    assert found.low <= found.drop <= found.high
    assert found.gap == pytest.approx(found.drop - allocation.drop)


def test_it_stops_when_it_is_told_and_the_verdict_is_that_of_all_images(subject, study, bench):
    allocation = allocate(study, Budget(macs=0.4))
    early = once(Verifier(study, bench, Aim(3.0)), allocation).final
    assert early.images < early.held
    whole = once(Verifier(study, bench, Aim(3.0), full=True), allocation).final
    assert early.verdict == whole.verdict
    assert early.low <= whole.drop <= early.high


def test_each_check_spends_half_of_what_is_left_of_the_error(study, bench):
    allocation = allocate(study, Budget(macs=0.9))
    verifier = Verifier(study, bench, Aim(3.0, 95))
    spent = [verifier.check(allocation).alpha for _ in range(3)]
    again = Verifier(study, bench, Aim(3.0, 95)).check(allocation)
    assert [*spent, again.alpha] == pytest.approx([0.025, 0.0125, 0.00625, 0.003125])
    assert [check.number for check in recorded(study)] == [1, 2, 3, 4]
    assert recorded(study)[-1] == again
    assert Check.from_dict(again.to_dict()) == again


def test_merged_studies_keep_what_was_spent(study, bench, tmp_path):
    verifier = Verifier(study, bench, Aim(3.0, 95))
    verifier.check(allocate(study, Budget(macs=0.9)))
    merge([study.path, study.path], tmp_path / "m.lesion")
    with Study.open(tmp_path / "m.lesion") as merged:
        assert merged.checks == study.checks
        again = Verifier(merged, bench, Aim(3.0, 95)).check(allocate(merged, Budget(macs=0.9)))
    assert (again.number, again.alpha) == (2, pytest.approx(0.0125))


def test_the_loop_tightens_until_it_is_certified(subject, study, bench):
    budget = Budget(macs=0.3)
    found = tightened(Verifier(study, bench, Aim(2.0)), allocate(study, budget), budget)
    assert found.certified and len(found.checks) > 1
    assert counted(subject, study, found.final.allocation) <= 2
    macs = [check.allocation.pruned.macs for check in found.checks]
    assert macs == sorted(macs)
    assert "SAFE for 2 points" in found.text()


def test_the_loop_says_where_nothing_helps(study, bench):
    budget = Budget(macs=0.3, skip=("b",), pins={"a": 0.75})
    with pytest.raises(LesionError, match="study's ratios leave none: the last that were tried"):
        tightened(Verifier(study, bench, Aim(0.1)), allocate(study, Budget(macs=0.3)), budget)


def test_from_a_network_and_its_data(subject, study):
    allocation = allocate(study, Budget(macs=0.9))
    found = verify(study, *subject, allocation, max_drop=3.0, full=True)
    assert found.final.drop == pytest.approx(counted(subject, study, allocation))
    closed = verify(study, *subject, allocation, max_drop=3.0, close_loop=Budget(macs=0.9))
    assert closed.certified


def test_nothing_cut_costs_nothing(study, bench):
    whole = allocate(study, Budget(macs=1.0, skip=("a", "b")))
    found = once(Verifier(study, bench, Aim(1.0), full=True), whole).final
    assert (found.drop, found.verdict) == (0, "safe")


def test_what_cannot_be_verified(subject, study, bench, tmp_path):
    other, data = networks.plain(600, seed=5)
    with pytest.raises(StudyError, match="another came: weights"):
        Bench.of(study, Subject.of(other, subject[1]))
    none = sweep(*subject, tmp_path / "b.lesion", ratios=(0.5,), holdout=0, limit=50, full=True)
    with none, pytest.raises(EvidenceError, match="Expected images kept back for checking rates"):
        Verifier(none, bench, Aim(1.0))
    foreign = TensorDataset(data.tensors[0][:500], data.tensors[1][:500])
    with pytest.raises(StudyError, match="another came: images"):
        Bench.of(study, Subject.of(subject[0], foreign))
    assert np.isfinite(bench.intact(study.header.holdout).margin).all()

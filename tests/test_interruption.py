"""Killed at any moment, a sweep goes on to exactly the result that it would have had."""

import random

import interruption
import numpy as np
import pytest

from lesion.study import Study

DEFAULT = 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that nobody interrupts, and the seconds it took."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, interruption.finished(folder)


def same(folder, other):
    """Both studies hold the same, bit for bit."""
    with Study.open(folder / "study") as one, Study.open(other / "study") as two:
        assert one.header == two.header and one.lesions == two.lesions
        found, wanted = one.intact(), two.intact()
        for name in ("label", "prediction", "margin", "digest"):
            assert np.array_equal(getattr(found, name), getattr(wanted, name))
        pairs = [(found.outcomes, wanted.outcomes)]
        pairs += [(one.outcomes(lesion), two.outcomes(lesion)) for lesion in two.lesions]
        for own, other in pairs:
            assert np.array_equal(own.images, other.images) and len(own) == interruption.IMAGES
            for column in two.header.columns:
                assert np.array_equal(own[column], other[column])
        return one.header.order


def read_once(folder, order, ends):
    """Each sweep began where the last was saved; nothing else was read a second time."""
    chunk = interruption.CHUNK
    sweeps = interruption.measured(folder)
    assert len(sweeps) == len(ends)
    for images, (start, end) in zip(sweeps, ends, strict=True):
        assert start % chunk == 0
        assert tuple(images) == order[start : start + len(images)]
        assert end <= start + len(images) <= end + chunk  # what is lost, and no other
    again = sum(map(len, sweeps)) - len(order)
    print(f"{len(sweeps)} sweeps of {len(order)} images, {again} read again")
    assert 0 <= again <= chunk * (len(sweeps) - 1)


def interrupt(folder, seconds, rng, kills):
    """Kills sweeps until there are so many kills; where each sweep began and ended."""
    ends, preparing = [], 0
    for number in range(kills):
        early = number % 5 == 4  # one in five is killed while it gets ready, or soon after
        before, sweeps = interruption.recorded(folder), interruption.begun(folder)
        span = 1.0 if early else seconds / 2
        assert interruption.killed(folder, rng.uniform(0, span), not early)
        if interruption.begun(folder) > sweeps:
            ends.append((before, interruption.recorded(folder)))
        else:
            preparing += 1
        if ends and ends[-1][1] > 0.6 * interruption.IMAGES:
            break
    return ends, preparing


def kill_and_resume(base, whole, rng, kills):
    """Kills so many sweeps, in as many studies as it takes, each brought to its end."""
    reference, seconds = whole
    left, studies, early = kills, 0, 0
    while left:
        folder = base / str(studies)
        folder.mkdir()
        ends, preparing = interrupt(folder, seconds, rng, left)
        left -= len(ends) + preparing
        before = interruption.recorded(folder)
        interruption.finished(folder)
        order = same(folder, reference)
        read_once(folder, order, [*ends, (before, len(order))])
        assert sorted(p.name for p in folder.iterdir()) == ["reads", "study"]
        studies, early = studies + 1, early + preparing
    print(f"{kills} kills in {studies} studies, {early} before anything was measured")


def test_killed_and_resumed(tmp_path, whole):
    kill_and_resume(tmp_path, whole, random.Random(), DEFAULT)


@pytest.mark.complete
def test_killed_fifty_times(tmp_path, whole):
    kill_and_resume(tmp_path, whole, random.Random(), 50)

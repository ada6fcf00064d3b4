"""The schedule: works cover what is missing and nothing else; boundaries are certified."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.lesions.lesion import Lesion
from lesion.sweeps import work as schedule
from lesion.sweeps.work import CHUNK, PILOT, TOGETHER, Standing, Work, chosen, gathered, in_order

LESIONS = [Lesion(f"l{place}", "free", "l1", 0.5, 1, 2) for place in range(6)]


def drawn(lesions, images, seed):
    """For each of some lesions which images it has not seen, most of some and few of others."""
    rng = np.random.default_rng(seed)
    return {one: rng.random(images) < rng.choice([0, 0.05, 0.6, 1]) for one in LESIONS[:lesions]}


def assert_sound(work, most=CHUNK):
    """Rising images, each once, `most` at most; lesions that see some of these, each once."""
    assert 1 <= len(work.images) <= most
    assert (np.diff(work.images) > 0).all()
    for own in work.lesions.values():
        assert len(own) and (np.diff(own) > 0).all() and np.isin(own, work.images).all()


def covered(works):
    """For each lesion the images that the works measure it on, in order, repeats and all."""
    found = {}
    for work in works:
        for lesion, own in work.lesions.items():
            found.setdefault(lesion, []).extend(own.tolist())
    return {lesion: sorted(images) for lesion, images in found.items()}


def wishes(missing, images):
    return {one: np.flatnonzero(left[:images]).tolist() for one, left in missing.items()
            if left[:images].any()}  # fmt: skip


STATES = st.tuples(st.integers(0, 6), st.integers(1, 400), st.integers(0, 2**32 - 1))


@given(STATES, st.floats(0, 1), st.floats(0, 1))
def test_in_order_every_lesion_gets_what_it_misses_once_and_the_intact_network_the_rest(
    state, share, limit
):
    lesions, order, seed = state
    missing, known = drawn(lesions, order, seed), int(share * order)
    images = max(1, int(limit * order))
    works = list(in_order(missing, images, known))
    assert covered(works) == wishes(missing, images)
    for work in works:
        assert_sound(work)
        if work.images[-1] >= known:  # the intact network runs too: its images come in turn
            assert (np.diff(work.images) == 1).all() and work.images[0] <= known
            known = int(work.images[-1]) + 1
        else:  # no image is read in vain
            wanted = np.unique(np.concatenate(list(work.lesions.values())))
            assert np.array_equal(work.images, wanted)
    assert known == max(int(share * order), images)


@given(STATES, st.floats(0, 1))
def test_in_order_going_on_anywhere_does_the_rest(state, stop):
    """Stopped after any work, the next schedule is the rest of the first, if it knows what is."""
    lesions, order, seed = state
    missing, known = drawn(lesions, order, seed), 0
    works = list(in_order(missing, order, known))
    left = {one: own.copy() for one, own in missing.items()}
    done = works[: int(stop * len(works))]
    for work in done:
        known = int(work.images[-1]) + 1
        for lesion, own in work.lesions.items():
            left[lesion][own] = False
    rest = list(in_order(left, order, known))
    assert [work.images.tolist() for work in rest] == [
        w.images.tolist() for w in works[len(done) :]
    ]
    assert covered([*done, *rest]) == wishes(missing, order)


@given(STATES)
def test_gathered_every_lesion_gets_what_it_wants_and_each_image_is_read_once(state):
    lesions, order, seed = state
    missing = drawn(lesions, order, seed)
    wanted = {one: np.flatnonzero(left) for one, left in missing.items()}
    if not any(map(len, wanted.values())):
        return
    works = list(gathered(wanted))
    assert covered(works) == wishes(missing, order)
    read = [image for work in works for image in work.images.tolist()]
    assert sorted(read) == np.unique(np.concatenate(list(wanted.values()))).tolist()
    for work in works:
        assert_sound(work, TOGETHER)
        assert work.lesions and work.passes == sum(map(len, work.lesions.values()))
    counts = sum(left.astype(int) for left in missing.values())
    for one, other in pairwise(works):  # the most wanted images come first
        assert counts[one.images].min() >= counts[other.images].max()
        assert len(one.images) == TOGETHER


def test_images_that_a_lesion_wants_may_come_in_any_order():
    first, second = LESIONS[:2]
    (work,) = gathered({first: np.array([7, 2, 5]), second: np.array([2])})
    assert work.images.tolist() == [2, 5, 7]
    assert work.lesions[first].tolist() == [2, 5, 7] and work.lesions[second].tolist() == [2]


@given(STATES, st.randoms(use_true_random=False))
def test_the_order_of_the_lesions_does_not_matter(state, random):
    lesions, order, seed = state
    missing = drawn(lesions, order, seed)
    mixed = dict(random.sample(list(missing.items()), len(missing)))

    def plain(some):
        works = list(in_order(some, order, order // 2))
        if any(left.any() for left in some.values()):
            works += gathered({one: np.flatnonzero(left) for one, left in some.items()})
        return [
            (work.images.tolist(), {one: own.tolist() for one, own in work.lesions.items()})
            for work in works
        ]

    assert plain(missing) == plain(mixed)


def test_the_intact_networks_images_count_where_there_is_no_lesion():
    assert Work(np.arange(5), {}).passes == 5
    assert Work(np.arange(5), {LESIONS[0]: np.array([1, 2])}).passes == 2


# --- which lesion next


def standing(verdicts, seen=None, safe=None, left=None, gain=None):
    """A standing from a letter a ratio: s(afe), x (sensitive), ? (not looked at), + or - (open, but
    likely safe or not)."""
    words = {"s": "safe", "x": "sensitive"}
    return Standing(
        [words.get(letter, "undecided") for letter in verdicts],
        seen or [0 if letter == "?" else PILOT for letter in verdicts],
        safe or [{"s": 1.0, "x": 0.0, "+": 0.9, "-": 0.1, "?": 0.5}[letter] for letter in verdicts],
        left or [0.0 if letter in "sx" else 1000.0 for letter in verdicts],
        gain or [float(place + 1) for place in range(len(verdicts))],
    )


@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        ("?????", [4]),  # the highest first
        ("????+", [4]),  # it looks safe: certify it
        ("????s", []),  # lower ones are not needed
        ("????-", [1]),  # the middle of what is open
        ("????x", [1]),
        ("?+??x", [2]),
        ("?+-?x", [1, 2]),  # neighbours on both sides of the boundary: certify both
        ("?s-?x", [2]),
        ("?+x?x", [1]),
        ("?sx?x", []),
        ("x????", []),  # higher ones are not needed
        ("x???x", []),
        ("-???-", [0]),
        ("?-??-", [0]),
        ("??s??", [4]),
        ("s", []),
        ("x", []),
        ("?", [0]),
    ],
)
def test_the_boundary_is_bisected_and_then_certified(verdicts, wanted):
    assert standing(verdicts).next() == wanted


def test_a_lesion_that_no_image_is_left_for_is_let_be():
    done = standing("++", left=[0.0, 0.0], seen=[500, 500])
    assert done.next() == []
    assert standing("+-", left=[0.0, 9.0], seen=[500, 500]).next() == [1]


def certify(boundary, costs, forecasts, step=PILOT // 2):
    """Goes on as `next` says until it says no more; how many images each ratio took.

    Ratios below the boundary are safe, which shows after so many images each; before that the
    forecasts tell.
    """
    seen = [0] * len(costs)
    for _ in range(10_000):
        verdicts = [
            ("safe" if place < boundary else "sensitive") if seen[place] >= cost else "undecided"
            for place, cost in enumerate(costs)
        ]
        left = [float(max(0, cost - own)) for cost, own in zip(costs, seen, strict=True)]
        now = Standing(verdicts, seen, forecasts, left, [1.0] * len(costs)).next()
        if not now:
            return verdicts, seen
        assert all(verdicts[place] == "undecided" for place in now)
        for place in now:
            seen[place] += step
    raise AssertionError("it does not end")


TARGETS = st.integers(1, 9).flatmap(
    lambda ratios: st.tuples(
        st.integers(0, ratios),
        st.lists(st.integers(50, 2000), min_size=ratios, max_size=ratios),
        st.lists(st.floats(0, 1), min_size=ratios, max_size=ratios),
    )
)


@settings(deadline=None)
@given(TARGETS)
def test_whatever_the_forecasts_the_boundary_is_certified_on_both_sides(target):
    boundary, costs, forecasts = target
    verdicts, _ = certify(boundary, costs, forecasts)
    assert boundary == 0 or verdicts[boundary - 1] == "safe"
    assert boundary == len(costs) or verdicts[boundary] == "sensitive"


@given(TARGETS)
def test_where_the_forecasts_are_right_only_the_boundary_takes_more_than_a_pilot(target):
    boundary, costs, _ = target
    _, seen = certify(boundary, costs, [float(place < boundary) for place in range(len(costs))])
    others = [own for place, own in enumerate(seen) if place not in (boundary - 1, boundary)]
    assert all(own <= PILOT for own in others)
    assert sum(own > 0 for own in others) <= np.log2(len(costs)) + 1


def test_a_verdict_is_worth_the_macs_that_it_frees_beyond_those_that_are_certain():
    own = standing("s+?", safe=[1, 0.8, 0.5], left=[0, 100, 400], gain=[10, 30, 60])
    assert [own.worth(place) for place in range(3)] == pytest.approx([0, 0.16, 0.0625])


@given(st.lists(st.text("sx?+-", min_size=1, max_size=6), max_size=5), st.floats(0, 1))
def test_of_all_targets_the_next_are_those_near_the_best_and_half_at_least(targets, share):
    standings = [standing(text) for text in targets]
    found = chosen(standings, share)
    worth = {
        (target, place): own.worth(place)
        for target, own in enumerate(standings)
        for place in own.next()
    }
    assert len(found) == len(set(found)) and set(found) <= set(worth)
    assert 2 * len(found) >= len(worth)
    least = min((worth[pair] for pair in found), default=0)
    best = max(worth.values(), default=0)
    assert all(pair in found for pair in worth if worth[pair] >= min(least, share * best))
    if least < share * best:  # then no more than it takes to make half
        assert 2 * sum(own > least for own in worth.values()) < len(worth)


def test_a_chunk_is_what_is_read_at_once(monkeypatch):
    monkeypatch.setattr(schedule, "CHUNK", 16)
    works = list(in_order({LESIONS[0]: np.ones(40, bool)}, 40, 0))
    assert [len(work.images) for work in works] == [16, 16, 8]

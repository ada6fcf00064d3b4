"""The schedule: every lesion to the end, by whole chunks, in any state, in any order."""

from hypothesis import given
from hypothesis import strategies as st

from lesion.plan import Lesion
from lesion.schedule import rounds

STATES = st.tuples(st.lists(st.integers(0, 90), max_size=8), st.integers(1, 90), st.integers(1, 40))


def named(counts):
    return {Lesion(f"l{place}", "free", "l1", 0.5, 1, 2): n for place, n in enumerate(counts)}


@given(STATES)
def test_every_state_leads_every_lesion_to_the_end(state):
    counts, images, chunk = state
    done = named(counts)
    reached = dict(done)
    measured = set()
    for work in rounds(done, images, chunk):
        assert work.lesions and 1 <= work.images <= chunk
        start, end = work.chunk * chunk, work.chunk * chunk + work.images
        assert end == min(start + chunk, images)
        for lesion in work.lesions:
            assert start <= reached[lesion] < end  # a prefix grows; no whole chunk comes twice
            assert (lesion, work.chunk) not in measured
            measured.add((lesion, work.chunk))
            reached[lesion] = end
    for lesion, count in done.items():
        assert reached[lesion] == max(count, images)


@given(STATES)
def test_no_more_rounds_than_chunks_that_some_lesion_lacks(state):
    counts, images, chunk = state
    done = named(counts)
    lacking = {
        place
        for count in counts
        if count < images
        for place in range(count // chunk, -(-images // chunk))
    }
    works = list(rounds(done, images, chunk))
    assert [work.chunk for work in works] == sorted(lacking)


@given(STATES, st.randoms(use_true_random=False))
def test_the_order_of_the_lesions_does_not_matter(state, random):
    counts, images, chunk = state
    done = list(named(counts).items())
    mixed = random.sample(done, len(done))
    plain, other = (
        [(work.chunk, work.images, set(work.lesions)) for work in rounds(dict(one), images, chunk)]
        for one in (done, mixed)
    )
    assert plain == other


@given(STATES, st.integers(0, 20))
def test_going_on_anywhere_does_the_rest(state, stop):
    """Stopped after any piece of work, the next schedule is the rest of the first."""
    counts, images, chunk = state
    done = named(counts)
    works = list(rounds(done, images, chunk))
    for work in works[:stop]:
        done.update({lesion: work.chunk * chunk + work.images for lesion in work.lesions})
    assert list(rounds(done, images, chunk)) == works[stop:]


def test_the_one_behind_goes_first():
    early, late = named([256, 100])
    works = list(rounds({early: 256, late: 100}, 300, 128))
    assert [(work.chunk, work.images, work.lesions) for work in works] == [
        (0, 128, (late,)), (1, 128, (late,)), (2, 44, (early, late))
    ]  # fmt: skip

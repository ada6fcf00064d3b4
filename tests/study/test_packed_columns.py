"""Packing: every bit of what is recorded comes back, and a hit takes one bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion.study.packed_columns import from_intact, from_outcomes, to_intact, to_outcomes
from lesion.subject.outcomes import TYPES, Intact, Outcomes

NAMES = st.lists(st.sampled_from(list(TYPES)), min_size=1, unique=True)


def draw(names, positions, seed):
    """Outcomes of random bits at these positions; among the numbers are NaN and infinity."""
    rng = np.random.default_rng(seed)
    columns = {}
    for name in names:
        bits = rng.integers(0, 256, (len(positions), np.dtype(TYPES[name]).itemsize), np.uint8)
        columns[name] = (bits % 2 == 1)[:, 0] if TYPES[name] is np.bool_ else (
            bits.reshape(-1).view(TYPES[name])
        )  # fmt: skip
    return Outcomes(np.array(sorted(positions), np.int64), columns)


def assert_equal(left, right):
    """The same positions, and in every column the same type and bits."""
    assert list(left.columns) == list(right.columns)
    for a, b in ((left.images, right.images), *((left[n], right[n]) for n in left.columns)):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


@given(NAMES, st.sets(st.integers(0, 2**31), max_size=40), st.integers(0, 2**32 - 1))
def test_outcomes_come_back_bit_for_bit_in_the_space_of_their_types(names, positions, seed):
    outcomes = draw(names, positions, seed)
    count, _, content = row = from_outcomes(outcomes, names)
    assert_equal(to_outcomes([row], names), outcomes)
    bits = {name: 1 if TYPES[name] is np.bool_ else 8 * np.dtype(TYPES[name]).itemsize
            for name in names}  # fmt: skip
    assert count == len(positions)
    assert len(content) == sum(-(-count * bits[name] // 8) for name in names)


@given(NAMES, st.lists(st.sets(st.integers(0, 90)), max_size=5), st.integers(0, 2**32 - 1))
def test_rows_of_different_images_are_read_as_one(names, rows, seed):
    parts, taken = [], set()
    for positions in rows:
        parts.append(draw(names, positions - taken, seed))
        taken |= positions
    joined = Outcomes.join(parts, names)
    assert_equal(to_outcomes([from_outcomes(part, names) for part in parts], names), joined)


@pytest.mark.parametrize("count", [0, 8, 10])
def test_a_row_of_another_number_than_it_says_is_refused(count):
    names = ["top1", "margin"]
    row = from_outcomes(draw(names, range(9), 0), names)
    other = from_outcomes(draw(names, range(count), 0), names)
    for wrong in ((count, *row[1:]), (9, other[1], row[2]), (9, row[1], other[2])):
        with pytest.raises(ValueError, match="another number"):
            to_outcomes([row, wrong], names)


@given(NAMES, st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_the_intact_networks_rows_come_back_bit_for_bit(names, images, seed):
    rng = np.random.default_rng(seed)
    intact = Intact(
        draw(names, range(images), seed),
        rng.integers(-1, 1000, images),
        rng.integers(-1, 1000, images),
        rng.integers(0, 2**32, images, np.uint32).view(np.float32),
        rng.integers(0, 2**64, images, np.uint64),
    )
    read = to_intact([from_intact(intact, names)], names)
    assert_equal(read.outcomes, intact.outcomes)
    for name in ("label", "prediction", "margin", "digest"):
        left, right = getattr(read, name), getattr(intact, name)
        assert left.dtype == right.dtype and left.tobytes() == right.tobytes()


def test_neighbouring_positions_take_little_room():
    columns = {"top1": np.ones(10_000, bool)}
    _, positions, content = from_outcomes(Outcomes(np.arange(10_000), columns), ["top1"])
    assert len(positions) < 100 and len(content) == 1250

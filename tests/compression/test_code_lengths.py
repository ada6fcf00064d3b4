"""Indices by gaps, against a decoder; Huffman's code between its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion.compression.code_lengths import gap_entries, huffman_bits


def test_a_gap_that_is_too_long_takes_a_filler():
    assert gap_entries([0, 1, 20], 4) == 4


@given(st.sets(st.integers(0, 300), max_size=20), st.integers(1, 6))
def test_the_entries_lead_back_to_the_places(places, bits):
    """Entries as they are written: zeros until a gap fits, then the value."""
    written, at = [], 0
    for place in sorted(places):
        while place - at >= 2**bits:
            written.append((2**bits - 1, 0))
            at += 2**bits
        written.append((place - at, 1))
        at = place + 1
    decoded, at = [], 0
    for gap, value in written:
        at += gap
        decoded += [at] * value
        at += 1
    assert decoded == sorted(places)
    assert gap_entries(sorted(places), bits) == len(written)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=40))
def test_huffmans_code_lies_between_its_bounds(counts):
    shares = np.array(counts) / sum(counts)
    entropy = float(-(shares * np.log2(shares)).sum())
    mean = huffman_bits(counts) / sum(counts)
    assert entropy - 1e-9 <= mean < entropy + 1


def test_values_of_shares_that_are_powers_of_two_take_their_entropy():
    assert huffman_bits([4, 2, 1, 1]) == 4 * 1 + 2 * 2 + 3 + 3
    assert huffman_bits([7]) == 7 and huffman_bits([]) == 0


@pytest.mark.parametrize("bits", [1, 4])
def test_what_follows_at_once_takes_no_filler(bits):
    assert gap_entries(range(50), bits) == 50

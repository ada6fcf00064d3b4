"""Perforation: masks as large as asked, and each position copied from one that is nearest."""

from math import prod

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.compression.perforation import computed, nearest, perforated

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.floats(0.01, 0.99), st.sampled_from(["grid", "random"]), st.integers(0, 99))
def test_a_position_is_copied_from_a_nearest_one(size, share, mask, seed):
    stays = computed(size, share, mask, seed)
    count = int(stays.sum())
    assert stays.shape == tuple(size) and count >= 1
    assert count == 1 or count <= prod(size) * (1 - share) + 1e-6
    if mask == "random":
        assert count == max(1, int(prod(size) * (1 - share) + 1e-9))
    places = np.argwhere(np.ones(size))
    distances = ((places[:, None] - np.argwhere(stays)[None]) ** 2).sum(2)
    source = nearest(stays).numpy()
    assert stays.reshape(-1)[source].all()
    assert np.array_equal(((places - places[source]) ** 2).sum(1), distances.min(1))


def test_one_position_makes_a_flat_map():
    values = torch.arange(18.0).reshape(1, 2, 3, 3)
    source = nearest(computed((3, 3), 0.9))
    assert perforated(values, source).unique().tolist() == [4, 13]


def test_other_seeds_draw_other_masks():
    masks = {computed((6, 6), 0.5, "random", seed).tobytes() for seed in range(5)}
    assert len(masks) == 5
    assert len({computed((6, 6), 0.5, "grid", seed).tobytes() for seed in range(5)}) == 1

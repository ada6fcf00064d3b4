"""Scores of sets of images and their bootstrap."""

import doctest

import numpy as np
import pytest
import torch

from lesion.errors import LesionError
from lesion.subject import set_score
from lesion.subject.set_score import Resampled, SetScore


def test_the_example_in_the_docstring():
    assert doctest.testmod(set_score).attempted == 4 and not doctest.testmod(set_score).failed


def accuracy(parts):
    """Of pixels right and all by image."""
    return 100 * parts[:, 0].sum() / parts[:, 1].sum()


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_lists_arrays_and_tensors_give_the_same(kind):
    pairs = [[8, 10], [3, 10], [9, 20], [4, 5]]
    plain = SetScore(pairs, lambda parts: accuracy(np.array(parts)))
    other = SetScore(kind(pairs), accuracy)
    assert other.value == pytest.approx(100 * 24 / 45) == plain.value and other.images == 4
    assert other.resampled().values == pytest.approx(plain.resampled().values)


def test_draws_are_of_a_stream_that_stays():
    """The same for all networks and all versions: else resamples of one study are not paired."""
    drawn = SetScore(np.arange(5), lambda rows: int("".join(map(str, rows))), 50).resampled().values
    assert drawn[:3].tolist() == [40333, 13240, 4210] and len(drawn) == 50


def test_the_half_width_of_a_mean_is_students():
    """A mean's bootstrap error is the sample's standard deviation by √n but for chance."""
    rng = np.random.default_rng(0)
    before, after = rng.normal(70, 10, 40), rng.normal(60, 10, 40)
    scores = [SetScore(values, np.mean, 20_000).resampled() for values in (before, after)]
    error = (before - after).std(ddof=1) / np.sqrt(40)
    assert scores[0].half_width(scores[1], 0.95) == pytest.approx(2.0227 * error, rel=0.02)
    assert scores[0].half_width(scores[0], 0.95) == 0


def test_what_cannot_be_paired_has_no_width():
    whole = Resampled(10, np.arange(50.0))
    others = (
        Resampled(11, whole.values),
        Resampled(10, np.arange(60.0)),
        Resampled(10, np.append(whole.values[1:], np.nan)),
    )
    assert all(np.isnan(whole.half_width(other, 0.95)) for other in others)


@pytest.mark.parametrize(
    ("parts", "resamples", "text"),
    [([1], 200, "two images or more, got 1"), ([1, 2], 49, "50 resamples or more, got 49")],
)
def test_what_gives_no_interval_is_refused(parts, resamples, text):
    with pytest.raises(LesionError, match=text):
        SetScore(parts, np.mean, resamples)

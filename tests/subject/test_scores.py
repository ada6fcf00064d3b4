"""From outputs to scores, against plain sorting, plain softmax and scores of a user's own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from lesion.errors import SubjectError
from lesion.subject.scores import Classification, Given, joined, margins

numbers = st.integers(0, 2**32 - 1)


def draw(seed, images=7, classes=9, ties=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes))
    logits = np.round(logits) if ties else logits
    return logits.astype(np.float32), rng.integers(0, classes, images)


def answers(tally, logits, labels=None, intact=None):
    """What a tally keeps of these arrays."""
    given_ = [None if x is None else torch.tensor(x) for x in (logits, labels, intact)]
    return tally.answers(*given_)


def intact_of(tally, logits, labels=None):
    """The intact network's rows for these arrays."""
    kept = answers(tally, logits, labels)
    kept["margin"] = tally.margin(
        torch.tensor(logits), None if labels is None else torch.tensor(labels)
    )
    images = np.arange(len(logits))
    return tally.intact(kept, images, images.astype(np.uint64))


@given(numbers, st.booleans())
def test_outcomes_are_those_of_sorting(seed, ties):
    logits, labels = draw(seed, ties=ties)
    tally, images = Classification(), np.array([0, 2, 3, 5, 8, 9, 11])
    base = np.random.default_rng(seed).integers(0, 9, len(labels))
    kept = answers(tally, logits, labels)
    outcomes = tally.outcomes(kept, images, {"prediction": base})
    prediction = logits.argmax(1)
    above = [(row > row[label]).sum() for row, label in zip(logits, labels, strict=True)]
    loss = -log_softmax(logits.astype(float), 1)[np.arange(len(labels)), labels]
    assert tally.columns == ("top1", "top5", "agreement", "loss", "margin")
    assert tuple(outcomes.columns) == tally.columns
    assert np.array_equal(outcomes.images, images)
    assert np.array_equal(outcomes["top1"], prediction == labels)
    assert np.array_equal(outcomes["top5"], np.array(above) < 5)
    assert np.array_equal(outcomes["agreement"], prediction == base)
    assert np.array_equal(outcomes["loss"], loss.astype(np.float16))
    others = np.where(np.eye(logits.shape[1], dtype=bool)[labels], -np.inf, logits).max(1)
    margin = logits[np.arange(len(labels)), labels] - others
    assert np.array_equal(outcomes["margin"], margin.astype(np.float16))
    assert kept["finite"].all() and not tally.beside


@given(numbers, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_parts_join_to_the_whole(seed, sizes):
    logits, labels = draw(seed, images=sum(sizes))
    cuts = np.cumsum(sizes)[:-1]
    parts = zip(np.split(logits, cuts), np.split(labels, cuts), strict=True)
    tally = Classification(variation=True)
    whole = answers(tally, logits, labels)
    joint = joined([answers(tally, *part) for part in parts])
    assert set(joint) == set(whole)
    assert all(np.allclose(joint[name], whole[name], atol=1e-12) for name in whole)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("tally", [Classification(), Classification(labelled=False)])
def test_one_number_that_is_none_spoils_its_row(bad, tally):
    logits, labels = draw(0)
    logits[3, 2] = bad
    assert answers(tally, logits, labels)["finite"].tolist() == [True] * 3 + [False] + [True] * 3


def test_numbers_beyond_half_precision_are_its_largest():
    logits = np.array([[1e5, 0], [1e3, 0]], np.float32)
    tally = Classification()
    kept = answers(tally, logits, np.array([1, 1]))
    outcomes = tally.outcomes(kept, np.arange(2), kept)
    assert outcomes["loss"].tolist() == [65504, 1000]
    assert outcomes["margin"].tolist() == [-65504, -1000]


@given(numbers)
def test_the_margin_is_positive_where_the_network_is_right(seed):
    logits, labels = draw(seed)
    margin = margins(torch.tensor(logits), torch.tensor(labels))
    others = [max(np.delete(row, label)) for row, label in zip(logits, labels, strict=True)]
    assert margin == pytest.approx(logits[np.arange(len(labels)), labels] - others)
    assert np.array_equal(margin > 0, logits.argmax(1) == labels)


@pytest.mark.parametrize("variation", [False, True])
def test_the_intact_record_agrees_with_itself(variation):
    logits, labels = draw(1)
    record = intact_of(Classification(variation=variation), logits, labels)
    assert record.outcomes["agreement"].all() and len(record) == 7
    assert np.array_equal(record.outcomes["top1"], record.prediction == record.label)
    assert np.array_equal(record.label, labels)
    assert np.array_equal(record.margin > 0, record.outcomes["top1"])
    assert record.margin.dtype == np.float32 and record.digest.tolist() == list(range(7))
    if variation:
        assert record.outcomes["tv"].tolist() == [1] * 7


def test_fewer_than_five_classes_are_all_among_the_first_five():
    logits, labels = draw(2, classes=3)
    kept = answers(Classification(), logits, labels)
    assert Classification().outcomes(kept, np.arange(7), kept)["top5"].all()


# --- total variation


@given(numbers, st.booleans())
def test_tv_is_one_minus_half_the_sum_of_what_softmax_outputs_differ_by(seed, labelled):
    logits, labels = draw(seed)
    base, _ = draw(seed + 1)
    tally = Classification(labelled, variation=True)
    kept = answers(tally, logits, labels, base)
    outcomes = tally.outcomes(kept, np.arange(7), {"prediction": base.argmax(1)})
    p, q = (softmax(x.astype(float), 1) for x in (logits, base))
    assert outcomes["tv"] == pytest.approx(1 - abs(p - q).sum(1) / 2, abs=1e-6)
    assert outcomes["tv"].dtype == np.float32 and tally.beside
    assert tuple(outcomes.columns) == tally.columns and tally.columns[-1] == "tv"
    assert ("top1" in tally.columns) == labelled


def test_tv_lies_between_0_and_1():
    base = np.array([[100, 0, 0], [0, 3, 3]], np.float32)
    logits = np.array([[0, 100, 0], [5, 8, 8]], np.float32)  # nothing in common; the same but for 5
    tally = Classification(labelled=False, variation=True)
    kept = answers(tally, logits, None, base)
    outcomes = tally.outcomes(kept, np.arange(2), {"prediction": base.argmax(1)})
    assert outcomes["tv"] == pytest.approx([0, 1], abs=1e-6)
    assert ((outcomes["tv"] >= 0) & (outcomes["tv"] <= 1)).all()


# --- without labels


def test_without_labels_agreement_is_kept_and_the_margin_is_between_the_two_largest():
    logits, _ = draw(3)
    tally = Classification(labelled=False)
    record = intact_of(tally, logits)
    assert tally.columns == ("agreement",) == tuple(record.outcomes.columns)
    assert record.label.tolist() == [-1] * 7
    assert np.array_equal(record.prediction, logits.argmax(1))
    first, second = np.sort(logits, 1)[:, :-3:-1].T
    assert record.margin == pytest.approx(first - second)
    kept = answers(tally, -logits)
    outcomes = tally.outcomes(kept, np.arange(7), {"prediction": record.prediction})
    assert np.array_equal(outcomes["agreement"], logits.argmin(1) == logits.argmax(1))


# --- a user's own score


def overlap(outputs, targets):
    """The share of positions whose largest class is the target."""
    return (outputs.argmax(1) == targets).float().mean((1, 2))


def test_a_users_score_is_kept_as_it_is():
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(5, 3, 4, 4)).astype(np.float32)
    targets = rng.integers(0, 3, (5, 4, 4))
    tally = Given(overlap)
    kept = answers(tally, outputs, targets)
    outcomes = tally.outcomes(kept, np.array([1, 4, 5, 7, 9]), {"prediction": np.full(5, -1)})
    assert outcomes["score"] == pytest.approx((outputs.argmax(1) == targets).mean((1, 2)))
    assert outcomes["score"].dtype == np.float32 and tally.columns == ("score",)
    assert outcomes.images.tolist() == [1, 4, 5, 7, 9] and not tally.beside
    record = intact_of(tally, outputs, targets)
    assert record.label.tolist() == record.prediction.tolist() == [-1] * 5
    assert np.isnan(record.margin).all() and record.margin.dtype == np.float32


@pytest.mark.parametrize(
    "score",
    [
        lambda outputs, _: [0.25, 1],
        lambda outputs, _: np.array([0.25, 1.0]),
        lambda outputs, _: torch.tensor([0.25, 1.0], dtype=torch.float64),
        lambda outputs, _: outputs.new_tensor([0.25, 1.0]).requires_grad_(),
    ],
)
def test_a_users_score_may_be_a_list_an_array_or_a_tensor(score):
    assert answers(Given(score), np.zeros((2, 3)))["score"].tolist() == [0.25, 1]
    hits = answers(Given(lambda outputs, _: outputs[:, 0] > 0), np.array([[1.0], [-1.0]]))
    assert hits["score"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("value", "shown"), [(1.5, "1.5"), (-0.001, "-0.001"), (93.25, "93.25"), (float("nan"), "nan")]
)
def test_scores_outside_0_and_1_are_refused(value, shown):
    with pytest.raises(SubjectError) as caught:
        answers(Given(lambda outputs, _: [0.5, value]), np.zeros((2, 3)))
    assert str(caught.value) == (
        f"Expected scores from 0 to 1, got {shown}: scale what the score function returns, larger "
        "being better."
    )


@pytest.mark.parametrize(
    ("returned", "shape"),
    [(torch.tensor(0.5), "()"), ([0.5], "(1,)"), ([0.5] * 4, "(4,)"), ([[0.5]] * 3, "(3, 1)")],
)
def test_scores_of_the_wrong_length_are_refused(returned, shape):
    with pytest.raises(SubjectError) as caught:
        answers(Given(lambda *_: returned), np.zeros((3, 2)))
    assert str(caught.value) == (
        f"Expected one score an image, 3 in all, got an array of shape {shape}: let the score "
        "function return a value for each image."
    )


def test_outputs_that_are_no_numbers_spoil_their_row_before_their_score_is_looked_at():
    outputs = np.full((3, 2, 2), 0.5, np.float32)
    outputs[1, 0, 1] = np.nan
    kept = answers(Given(lambda outputs, _: outputs.mean((1, 2))), outputs)
    assert kept["finite"].tolist() == [True, False, True]

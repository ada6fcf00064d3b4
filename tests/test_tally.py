"""From logits to outcomes, against plain sorting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from lesion.tally import Answer, intact, margins

numbers = st.integers(0, 2**32 - 1)


def draw(seed, images=7, classes=9, ties=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes))
    logits = np.round(logits) if ties else logits
    return logits.astype(np.float32), rng.integers(0, classes, images)


@given(numbers, st.booleans())
def test_outcomes_are_those_of_sorting(seed, ties):
    logits, labels = draw(seed, ties=ties)
    answer = Answer.of(torch.tensor(logits), torch.tensor(labels))
    base = np.random.default_rng(seed).integers(0, 9, len(labels))
    found = answer.outcomes(labels, base)
    prediction = logits.argmax(1)
    above = [(row > row[label]).sum() for row, label in zip(logits, labels, strict=True)]
    assert np.array_equal(found.top1, prediction == labels)
    assert np.array_equal(found.top5, np.array(above) < 5)
    assert np.array_equal(found.agreement, prediction == base)
    loss = -log_softmax(logits.astype(float), 1)[np.arange(len(labels)), labels].sum()
    assert found.loss == pytest.approx(loss)
    assert answer.finite


@given(numbers, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_parts_join_to_the_whole(seed, sizes):
    logits, labels = (torch.tensor(x) for x in draw(seed, images=sum(sizes)))
    whole = Answer.of(logits, labels)
    joined = Answer.join([
        Answer.of(*part) for part in zip(logits.split(sizes), labels.split(sizes), strict=True)
    ])  # fmt: skip
    assert np.array_equal(joined.prediction, whole.prediction)
    assert np.array_equal(joined.rank, whole.rank)
    assert joined.loss == pytest.approx(whole.loss) and joined.finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_none_spoils_the_whole(bad):
    logits, labels = (torch.tensor(x) for x in draw(0))
    logits[3, 2] = bad
    spoilt, sound = Answer.of(logits[3:], labels[3:]), Answer.of(logits[:3], labels[:3])
    assert sound.finite and not spoilt.finite and not Answer.join([sound, spoilt]).finite


@given(numbers)
def test_the_margin_is_positive_where_the_network_is_right(seed):
    logits, labels = draw(seed)
    margin = margins(torch.tensor(logits), torch.tensor(labels))
    others = [max(np.delete(row, label)) for row, label in zip(logits, labels, strict=True)]
    assert margin == pytest.approx(logits[np.arange(len(labels)), labels] - others)
    assert np.array_equal(margin > 0, logits.argmax(1) == labels)


def test_the_intact_record_agrees_with_itself():
    logits, labels = draw(1)
    answer = Answer.of(torch.tensor(logits), torch.tensor(labels))
    record = intact(answer, labels, np.zeros(7, np.float32))
    assert record.outcomes.agreement.all() and len(record) == 7
    assert np.array_equal(record.outcomes.top1, record.prediction == record.label)


def test_fewer_than_five_classes_are_all_among_the_first_five():
    logits, labels = draw(2, classes=3)
    answer = Answer.of(torch.tensor(logits), torch.tensor(labels))
    assert answer.outcomes(labels, labels).top5.all()

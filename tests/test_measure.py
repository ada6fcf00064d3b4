"""One chunk measured: in parts of any size, on planted logits, with what cannot be measured."""

import networks
import numpy as np
import pytest
import torch

from lesion.dissect import dissect
from lesion.errors import SubjectError
from lesion.measure import NOT_FINITE, measure
from lesion.plan import Lesion
from lesion.subject import Subject

LESIONS = [Lesion(name, "free", "l1", 0.5, 1, 2) for name in "ab"]


class Planted:
    """An engine whose logits are known: the image's number plus a lesion's own table."""

    def __init__(self, tables):
        self.tables, self.batches = tables, []

    def run(self, tensors, dropped):
        rows = tensors[0][:, 0, 0, 0].long()
        self.batches.append(len(rows))
        for lesion in (*dropped, None):
            yield lesion, self.tables[lesion][rows]


@pytest.fixture
def chunk():
    """A subject, the call behind it, a chunk of ten numbered images, and tables of logits."""
    network, _ = networks.plain(2)
    images = torch.arange(10.0).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    labels = torch.arange(10) % 3
    data = torch.utils.data.TensorDataset(images, labels)
    subject = Subject.of(network, data)
    with torch.no_grad():
        call = dissect(network, subject.logits, subject.example).call
    numbers = torch.Generator().manual_seed(0)
    tables = {key: torch.randn(10, 3, generator=numbers) for key in (*LESIONS, None)}
    return subject, call, [images, labels], tables


@pytest.mark.parametrize("batch", [1, 3, 10, 128])
def test_the_outcomes_are_those_of_the_logits_in_parts_of_any_size(chunk, batch):
    subject, call, images, tables = chunk
    engine = Planted(tables)
    found = measure(engine, call, subject, images, dict.fromkeys(LESIONS), batch)
    assert engine.batches == [batch] * (10 // batch) + [10 % batch] * (10 % batch > 0)
    labels = images[1].numpy()
    own = tables[None].argmax(1).numpy()
    assert np.array_equal(found.intact.prediction, own)
    assert np.array_equal(found.intact.label, labels)
    assert np.array_equal(found.intact.margin > 0, own == labels)
    for lesion in LESIONS:
        prediction = tables[lesion].argmax(1).numpy()
        assert np.array_equal(found.outcomes[lesion].top1, prediction == labels)
        assert np.array_equal(found.outcomes[lesion].agreement, prediction == own)
    assert list(found.outcomes) == LESIONS and found.failed == {}


def test_a_lesion_with_one_infinite_logit_fails_alone(chunk):
    subject, call, images, tables = chunk
    tables[LESIONS[0]][9, 1] = float("inf")
    found = measure(Planted(tables), call, subject, images, dict.fromkeys(LESIONS), 4)
    assert found.failed == {LESIONS[0]: NOT_FINITE} and list(found.outcomes) == LESIONS[1:]


def test_an_intact_network_without_numbers_is_refused(chunk):
    subject, call, images, tables = chunk
    tables[None][0, 0] = float("nan")
    with pytest.raises(SubjectError) as caught:
        measure(Planted(tables), call, subject, images, dict.fromkeys(LESIONS), 4)
    assert str(caught.value) == (
        "Expected finite outputs of the intact network, but its outputs are not finite (NaN or "
        "infinity); check the weights, the preprocessing and the images."
    )


def test_no_lesion_measures_the_intact_network(chunk):
    subject, call, images, tables = chunk
    found = measure(Planted(tables), call, subject, images, {}, 4)
    assert len(found.intact) == 10 and found.outcomes == {}


def test_labels_outside_the_outputs_are_refused(chunk):
    subject, call, (images, labels), tables = chunk
    wrong = [images, labels + 1]
    with pytest.raises(SubjectError, match="3"):
        measure(Planted(tables), call, subject, wrong, dict.fromkeys(LESIONS), 4)

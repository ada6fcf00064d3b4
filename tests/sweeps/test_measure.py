"""One batch measured: each lesion on rows of its own, in parts of any size, on planted logits."""

import networks
import numpy as np
import pytest
import torch

from lesion.engine.base import Batches, Cut, Engine
from lesion.errors import SubjectError
from lesion.lesions.edits import Channels
from lesion.lesions.lesion import Lesion
from lesion.network.dissect import dissect
from lesion.subject.images import digests
from lesion.subject.subject import Subject
from lesion.sweeps.measure import NOT_FINITE, Task, Worker

LESIONS = [Lesion(name, "free", "l1", 0.5, 1, 2) for name in "ab"]
NONE = Channels((), np.zeros(0, bool))
ALL = dict.fromkeys(LESIONS, Cut(NONE))
POSITIONS = np.array([2, 3, 5, 8, 9, 11, 12, 20, 21, 30])


class Planted(Engine):
    """An engine whose logits are known: the image's number plus a lesion's own table."""

    def __init__(self, tables):
        self.tables, self.batches, self.seen, self.intact = tables, [], {}, 0

    def run(self, tensors, cuts, intact=True, keys=None):
        rows = tensors[0][:, 0, 0, 0].long()
        self.batches.append(len(rows))
        for lesion, cut in cuts.items():
            own = rows if cut.rows is None else rows[torch.from_numpy(cut.rows)]
            self.seen.setdefault(lesion, []).extend(own.tolist())
            yield lesion, self.tables[lesion][own]
        if intact:
            self.intact += len(rows)
            yield None, self.tables[None][rows]


@pytest.fixture
def batch():
    """A subject, its network traced, a batch of ten numbered images, and tables of logits."""
    network, _ = networks.plain(2)
    images = torch.arange(10.0).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    labels = torch.arange(10) % 3
    data = torch.utils.data.TensorDataset(images, labels)
    subject = Subject.of(network, data)
    with torch.no_grad():
        dissection = dissect(network, subject.outputs, subject.example)
    numbers = torch.Generator().manual_seed(0)
    tables = {key: torch.randn(10, 3, generator=numbers) for key in (*LESIONS, None)}
    return subject, dissection, [images, labels], tables


def measure(engine, dissection, subject, images, positions, cuts, known, size):
    worker = Worker(subject, dissection, engine, Batches(size, size))
    return worker.measure(Task(range(len(positions)), positions, cuts, known), images)


@pytest.mark.parametrize("size", [1, 3, 10, 128])
def test_the_outcomes_are_those_of_the_logits_in_parts_of_any_size(batch, size):
    subject, dissection, images, tables = batch
    engine = Planted(tables)
    found = measure(engine, dissection, subject, images, POSITIONS, ALL, None, size)
    assert engine.batches == [size] * (10 // size) + [10 % size] * (10 % size > 0)
    labels = images[1].numpy()
    own = tables[None].argmax(1).numpy()
    assert np.array_equal(found.intact.prediction, own)
    assert np.array_equal(found.intact.label, labels)
    assert np.array_equal(found.intact.margin > 0, own == labels)
    assert np.array_equal(found.intact.digest, digests(images, 10))
    assert np.array_equal(found.intact.outcomes.images, POSITIONS)
    for lesion in LESIONS:
        prediction = tables[lesion].argmax(1).numpy()
        assert np.array_equal(found.outcomes[lesion].images, POSITIONS)
        assert np.array_equal(found.outcomes[lesion]["top1"], prediction == labels)
        assert np.array_equal(found.outcomes[lesion]["agreement"], prediction == own)
    assert list(found.outcomes) == LESIONS and found.failed == {}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("size", [1, 3, 4, 128])
def test_a_lesion_is_measured_on_its_own_rows_and_no_others(batch, size, known):
    subject, dissection, images, tables = batch
    rows = {LESIONS[0]: np.array([0, 3, 4, 9]), LESIONS[1]: np.array([7])}
    cuts = {lesion: Cut(NONE, own) for lesion, own in rows.items()}
    own = tables[None].argmax(1).numpy()
    engine = Planted(tables)
    found = measure(
        engine, dissection, subject, images, POSITIONS, cuts, own if known else None, size
    )  # fmt: skip
    assert engine.seen == {lesion: own.tolist() for lesion, own in rows.items()}
    assert engine.intact == (0 if known else 10)
    assert (found.intact is None) == known
    for lesion, chosen in rows.items():
        prediction = tables[lesion].argmax(1).numpy()[chosen]
        outcomes = found.outcomes[lesion]
        assert np.array_equal(outcomes.images, POSITIONS[chosen])
        assert np.array_equal(outcomes["top1"], prediction == images[1].numpy()[chosen])
        assert np.array_equal(outcomes["agreement"], prediction == own[chosen])


def test_what_is_known_of_the_intact_network_is_what_lesions_agree_with(batch):
    subject, dissection, images, tables = batch
    found = measure(Planted(tables), dissection, subject, images, POSITIONS, ALL, np.full(10, 2), 4)
    for lesion in LESIONS:
        prediction = tables[lesion].argmax(1).numpy()
        assert np.array_equal(found.outcomes[lesion]["agreement"], prediction == 2)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("rows", [None, np.array([1, 2, 6, 8])])
def test_total_variation_is_to_the_intact_logits_of_the_same_image(batch, known, rows):
    subject, dissection, images, tables = batch
    subject = Subject.of(subject.network, subject.images.dataset, score="tv")
    own = tables[None].argmax(1).numpy()
    cuts = {lesion: Cut(NONE, rows) for lesion in LESIONS}
    found = measure(
        Planted(tables), dissection, subject, images, POSITIONS, cuts, own if known else None, 4
    )  # fmt: skip
    for lesion in LESIONS:
        p, q = (tables[key].double().softmax(1) for key in (lesion, None))
        wanted = (1 - (p - q).abs().sum(1) / 2).numpy()
        wanted = wanted if rows is None else wanted[rows]
        assert found.outcomes[lesion]["tv"] == pytest.approx(wanted, abs=1e-6)
    assert found.intact is None or found.intact.outcomes["tv"].tolist() == [1] * 10


def test_a_score_gets_the_targets_of_its_own_rows(batch):
    subject, dissection, images, tables = batch

    def score(outputs, targets):
        return torch.sigmoid(outputs[:, 0] + targets)

    subject = Subject.of(subject.network, subject.images.dataset, score=score)
    rows = np.array([1, 2, 6, 8])
    cuts = {LESIONS[0]: Cut(NONE, rows), LESIONS[1]: Cut(NONE)}
    found = measure(Planted(tables), dissection, subject, images, POSITIONS, cuts, None, 4)
    for lesion, chosen in ((LESIONS[0], rows), (LESIONS[1], np.arange(10))):
        wanted = torch.sigmoid(tables[lesion][:, 0] + images[1])[chosen]
        assert found.outcomes[lesion]["score"] == pytest.approx(wanted.numpy())


def test_a_score_may_take_several_targets_an_image(batch):
    subject, dissection, (images, labels), tables = batch

    def score(outputs, targets):
        labels, weights = targets
        return (outputs.argmax(1) == labels) * weights

    class Nested(torch.utils.data.Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return images[index], (int(labels[index]), index / 10)

    subject = Subject.of(subject.network, Nested(), score=score)
    rows = np.array([1, 2, 6, 8])
    cuts = {LESIONS[0]: Cut(NONE, rows), LESIONS[1]: Cut(NONE)}
    found = measure(
        Planted(tables),
        dissection,
        subject,
        subject.images.batch(range(10)),
        POSITIONS,
        cuts,
        None,
        4,
    )
    for lesion, chosen in ((LESIONS[0], rows), (LESIONS[1], np.arange(10))):
        wanted = (tables[lesion].argmax(1) == labels).numpy() * np.arange(10) / 10
        assert found.outcomes[lesion]["score"] == pytest.approx(wanted[chosen])


def test_a_lesion_with_one_infinite_logit_fails_alone(batch):
    subject, dissection, images, tables = batch
    tables[LESIONS[0]][9, 1] = float("inf")
    found = measure(Planted(tables), dissection, subject, images, POSITIONS, ALL, None, 4)
    assert found.failed == {LESIONS[0]: NOT_FINITE} and list(found.outcomes) == LESIONS[1:]


def test_an_intact_network_without_numbers_is_refused(batch):
    subject, dissection, images, tables = batch
    tables[None][0, 0] = float("nan")
    with pytest.raises(SubjectError) as caught:
        measure(Planted(tables), dissection, subject, images, POSITIONS, ALL, None, 4)
    assert str(caught.value) == (
        "Expected finite outputs of the intact network, but its outputs are not finite (NaN or "
        "infinity); check the weights, the preprocessing and the images."
    )


def test_no_lesion_measures_the_intact_network(batch):
    subject, dissection, images, tables = batch
    found = measure(Planted(tables), dissection, subject, images, POSITIONS, {}, None, 4)
    assert len(found.intact) == 10 and found.outcomes == {}


def test_labels_outside_the_outputs_are_refused(batch):
    subject, dissection, (images, labels), tables = batch
    wrong = [images, labels + 1]
    with pytest.raises(SubjectError, match="3"):
        measure(Planted(tables), dissection, subject, wrong, POSITIONS, ALL, None, 4)

"""Single channels removed: whatever fits at once, the same rises; of layers as of their units."""

import networks
import numpy as np
import pytest
import torch

from lesion.engine.base import Batches
from lesion.lesions.criteria import Criterion
from lesion.lesions.lesion import Target
from lesion.lesions.targets import targets
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training
from lesion.sweeps import removals
from lesion.sweeps.removals import shown
from lesion.sweeps.workers import Opening


class Rises(Criterion):
    """Keeps what it is shown."""

    name, needs, images, batch = "rises", "removals", 40, 20

    def __init__(self):
        self.seen = {}

    def update(self, layer, activation, gradient):
        assert gradient is None and activation.shape[2] == 1
        self.seen.setdefault(layer, []).append(activation[:, :, 0].numpy())

    def rises(self):
        return {key: np.concatenate(parts) for key, parts in self.seen.items()}


@pytest.fixture(scope="module")
def subject():
    network, data = networks.resnet8(20)
    return Subject.of(network, data, train=networks.random_images(50, 3, 16, 16, seed=5))


def seen(subject, wanted=None):
    """The rises of targets, by default all of them, and the reasons."""
    dissection = Opening(subject)().dissection
    wanted = wanted or targets(dissection.anatomy, "all")[0]
    chosen, training = Rises(), Training.of(subject, "a test")
    return chosen, shown(chosen, subject, dissection, training, wanted, 0)


def test_whatever_fits_at_once_the_rises_are_the_same(subject, monkeypatch):
    rises = seen(subject)[0].rises()
    assert {len(values) for values in rises.values()} == {40}
    monkeypatch.setattr(removals, "AT_ONCE", 7)
    fit = Opening.fit

    def narrow(self, worker):
        fit(self, worker)
        worker.batches = Batches(3, 3)

    monkeypatch.setattr(Opening, "fit", narrow)
    parts = seen(subject)[0].rises()
    assert {*parts} == {*rises}
    for key, values in rises.items():
        assert abs(values).max() > 1e-3
        assert parts[key] == pytest.approx(values, abs=1e-5)


def test_a_layer_is_removed_as_its_unit_or_its_part_in_the_sum(subject):
    """As damages see it that are done to layers: filter by filter."""
    rises = seen(subject)[0].rises()
    names = ("layer1.0.conv1", "layer2.0.conv2", "fc")
    chosen, reasons = seen(subject, [Target(name, "layer") for name in names])
    found = chosen.rises()
    assert np.array_equal(found["layer/layer1.0.conv1"], rises["free/layer1.0.conv1"])
    assert np.array_equal(found["layer/layer2.0.conv2"], rises["branch/layer2.0.conv2"])
    assert {*reasons} == {"layer/fc"} and reasons["layer/fc"]


def test_the_network_comes_back(subject):
    before = {name: value.clone() for name, value in subject.network.state_dict().items()}
    subject.network.train()
    seen(subject)
    assert subject.network.training
    subject.network.eval()
    after = subject.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())

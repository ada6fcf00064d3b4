"""What criteria of groups are shown: what each channel adds to a layer's outputs, by that layer."""

import networks
import numpy as np
import pytest
import torch
from small_networks import NETWORKS
from torch import nn
from torch.utils.data import TensorDataset

import lesion
from lesion.errors import LesionError
from lesion.lesions.groups import inputs, readings
from lesion.network.dissect import dissect
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training
from lesion.sweeps.contributions import Contributions
from lesion.sweeps.sweep import sweep

ALL = 10**9


class Seen(lesion.GroupCriterion):
    """Keeps what it is shown."""

    name, needs, images = "seen", "activations", 12

    def __init__(self, outputs=ALL, batch=12):
        self.outputs, self.batch, self.added = outputs, batch, {}

    def update(self, layer, activation, gradient):
        assert gradient is None
        self.added.setdefault(layer, []).append(activation)

    def scores(self, group):
        shown = self.added[group.consumers[0].layer]
        return torch.cat(shown).abs().sum((0, 2))[: group.channels]


def observed(network, images, criterion, seed=0):
    data = TensorDataset(torch.randn(4, *images.shape[1:]), torch.zeros(4, dtype=torch.long))
    subject = Subject.of(network, data, train=TensorDataset(images))
    with torch.no_grad():
        dissection = dissect(network, lambda net, x: net(x), images[:2])
    Contributions(dissection, criterion, Training.of(subject, "test")).observe(seed)
    return dissection, {name: torch.cat(added) for name, added in criterion.added.items()}


def order(images, seed=0):
    return np.random.default_rng([seed, 0, 1]).permutation(images)


def read_by(network, module, images):
    """What a module reads at each of its runs."""
    seen = []
    with module.register_forward_pre_hook(lambda _module, given: seen.append(given[0])):
        network(images)
    return seen


def flat(module, value):
    """(images, filters · positions) of what a layer gives."""
    value = value.movedim(-1, 1) if isinstance(module, nn.Linear) else value
    return value.flatten(1)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "transformer"])
@torch.no_grad()
def test_each_channel_adds_what_the_layer_gives_for_it_alone(name):
    """For every layer that reads channels, grouped, transposed, linear or behind a flattening."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    shape = getattr(network, "shape", (3, 6, 6))
    images = torch.randn(12, *shape)
    networks.spread(network, images).eval()
    dissection, added = observed(network, images, Seen())
    known = readings(dissection)
    assert added.keys() == known.keys() and added
    for layer, reading in known.items():
        module, total = network.get_submodule(layer), 0
        runs = read_by(network, module, images[order(12)])
        assert len(runs) == len(reading.edges)
        shown = added[layer].split(12)
        for x, edge, values in zip(runs, reading.edges, shown, strict=True):
            axis = -1 if isinstance(module, nn.Linear) else 1
            nothing = module(torch.zeros_like(x))
            for place, label in enumerate(reading.labels):
                mine = torch.from_numpy(inputs(edge) == label).to(x)
                alone = x * (mine if axis == -1 else mine.reshape(-1, *[1] * (x.dim() - 2)))
                wanted = flat(module, module(alone) - nothing)
                assert torch.allclose(values[:, place].to(x), wanted, atol=1e-4), (layer, place)
                total += float(wanted.abs().sum())
        assert total > 0


def rows(values):
    """The columns of (channels, outputs), each as a tuple."""
    return {tuple(column) for column in values.T.numpy().round(4).tolist()}


@torch.no_grad()
def test_outputs_are_drawn_of_each_image_by_itself():
    """Of all that there are; others of other images, layers and seeds; alike in all batches."""
    network, _ = networks.plain(12)
    images = torch.randn(12, 1, 8, 8)
    _, every = observed(network, images, Seen())
    _, some = observed(network, images, Seen(outputs=10))
    _, parts = observed(network, images, Seen(outputs=10, batch=3))
    _, other = observed(network, images, Seen(outputs=10), seed=1)
    assert every["b"].shape == (12, 8, 72) and some["b"].shape == (12, 8, 10)
    assert every["fc"].shape == some["fc"].shape == (12, 8, 3)
    drawn = []
    for image in range(12):
        assert rows(some["b"][image]) <= rows(every["b"][image])
        places = [
            int((every["b"][image] - some["b"][image][:, [place]]).abs().sum(0).argmin())
            for place in range(10)
        ]
        drawn.append(tuple(places))
    assert len(set(drawn)) == 12
    assert torch.allclose(some["b"], parts["b"], atol=1e-5)
    assert not torch.allclose(some["b"][0], other["b"][order(12).tolist().index(order(12, 1)[0])])


@torch.no_grad()
def test_each_output_is_as_likely_as_others():
    """Of 2000 images at 10 of 72 outputs 278 each are expected, with a deviation of 17."""
    network, _ = networks.plain(4)
    images = torch.randn(1, 1, 8, 8).expand(2000, 1, 8, 8)
    criterion = Seen(outputs=10, batch=100)
    criterion.images = 2000
    _, every = observed(network, images[:12].clone(), Seen())
    _, some = observed(network, images.clone(), criterion)
    values = some["b"].transpose(0, 1).flatten(1)
    nearest = torch.cdist(values.T, every["b"][0].T).argmin(1)
    counts = torch.bincount(nearest, minlength=72)
    assert counts.sum() == 20_000 and counts.min() > 200 and counts.max() < 360


def test_scored_images_never_meet_a_criterion_of_groups(tmp_path):
    network, data = networks.plain(40)
    with pytest.raises(lesion.SubjectError, match="is among the study's"):
        sweep(network, data, tmp_path / "s", criterion=Seen(), train=data)
    train = networks.random_images(30, 1, 8, 8, classes=3, seed=4)
    criterion = Seen(outputs=10)
    with sweep(network, data, tmp_path / "t", criterion=criterion, train=train, full=True) as study:
        assert study.criteria["seen"].startswith("12 of 30 images, ")
        assert study.scores("a", "free", "seen", 0) == pytest.approx(
            torch.cat(criterion.added["b"]).abs().sum((0, 2)).numpy()
        )
    again = Seen(outputs=10)
    sweep(network, data, tmp_path / "t", criterion=again, ratios=(0.3,), full=True).close()
    assert not again.added


def test_a_network_without_a_trace_is_refused(tmp_path):
    network, data = networks.plain(20, kind=networks.Wayward)
    train = networks.random_images(20, 1, 8, 8, classes=3, seed=4)
    with pytest.raises(LesionError, match="a network that can be traced for criterion seen"):
        sweep(network, data, tmp_path / "s", criterion=Seen(), train=train)

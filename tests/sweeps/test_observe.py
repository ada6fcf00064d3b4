"""What criteria see of images: layers' values and gradients as eager hooks see them."""

import networks
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lesion.errors import LesionError, StudyError, SubjectError
from lesion.lesions.criteria import Criterion
from lesion.study.study import Study
from lesion.sweeps.sweep import sweep


class Tapped(nn.Module):
    """Layers with a batch norm and an activation behind them, with one of them, with neither."""

    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.b, self.c = nn.Conv2d(6, 4, 3), nn.Conv2d(4, 5, 1)
        self.fc, self.out = nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.a(x)))
        x = self.c(F.silu(self.b(x))).mean((2, 3))
        return self.out(torch.tanh(self.fc(x)))


class Seen(Criterion):
    """Keeps what it is shown."""

    name = "seen"
    images, batch = 32, 8

    def __init__(self, needs="gradients", tap="output"):
        self.needs, self.tap = needs, tap
        self.values, self.gradients = {}, {}

    def update(self, layer, activation, gradient):
        self.values.setdefault(layer, []).append(activation)
        self.gradients.setdefault(layer, []).append(gradient)

    def scores(self, filters):
        return torch.cat(self.values[filters.layer]).abs().mean((0, 2))


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(0)
    images = torch.randn(80, 1, 8, 8)
    network = networks.spread(Tapped(), images).eval()
    return network, TensorDataset(images, torch.randint(0, 3, (80,)))


def training(images=40, seed=7, labels=True):
    numbers = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 1, 8, 8, generator=numbers)
    return TensorDataset(pixels, torch.arange(images) % 3) if labels else TensorDataset(pixels)


def order(images, seed=0):
    """The first training images of the seeded order, as recoveries read them."""
    return np.random.default_rng([seed, 0, 1]).permutation(images)


def by_hooks(network, images, labels):
    """Each module's output and the gradient of the summed loss with respect to it."""
    values, handles = {}, []
    for name, module in network.named_children():

        def keep(_module, _inputs, output, name=name):
            output = output.detach().requires_grad_(True) if not output.requires_grad else output
            output.retain_grad()
            values[name] = output
            return output

        handles.append(module.register_forward_hook(keep))
    try:
        for weight in network.parameters():
            weight.requires_grad_(False)
        loss = F.cross_entropy(network(images), labels, reduction="sum")
        loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    return values


def apart(shown, wanted):
    """The largest difference as a part of the largest value: what floats lose in sums."""
    assert shown.shape == wanted.shape
    return float((shown - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(("tap", "places"), [
    ("output", {"a": "a", "b": "b", "c": "c", "fc": "fc"}), ("normalised", {"a": "norm"}),
])  # fmt: skip
def test_values_and_gradients_are_those_of_eager_hooks(subject, tap, places, tmp_path):
    network, data = subject
    train, criterion = training(), Seen(tap=tap)
    options = {"ratios": (0.5,), "full": True, "holdout": 0.25}
    sweep(network, data, tmp_path / "s", criterion=criterion, train=train, **options).close()
    mixed = order(len(train))[:32]
    expected = by_hooks(network, train.tensors[0][mixed], train.tensors[1][mixed])
    for layer, module in places.items():
        value = expected[module].detach()
        wanted = value.flatten(2) if value.dim() > 2 else value.unsqueeze(2)
        gradient = expected[module].grad.reshape(wanted.shape)
        assert apart(torch.cat(criterion.values[layer]), wanted) < 1e-5
        assert apart(torch.cat(criterion.gradients[layer]), gradient) < 1e-5
        assert gradient.abs().max() > 1e-3


def test_activations_are_what_follows_the_layer_and_its_norm(subject, tmp_path):
    network, data = subject
    train, criterion = training(), Seen("activations", "activated")
    with sweep(
        network, data, tmp_path / "s", ratios=(0.5,), criterion=criterion, train=train, full=True
    ) as study:
        reasons = {skip.target: skip.reason for skip in study.skipped}
    mixed = order(len(train))[:32]
    with torch.no_grad():
        a = torch.relu(network.norm(network.a(train.tensors[0][mixed])))
        b = F.silu(network.b(a))
    assert torch.allclose(torch.cat(criterion.values["a"]), a.flatten(2), atol=1e-5)
    assert torch.allclose(torch.cat(criterion.values["b"]), b.flatten(2), atol=1e-5)
    assert criterion.gradients["a"] == [None] * 4
    assert reasons["c"] == "no activation follows it directly" and "a" not in reasons


def test_the_lowest_by_what_it_saw_fall(subject, tmp_path):
    network, data = subject
    criterion = Seen("activations")
    with sweep(
        network, data, tmp_path / "s", ratios=(0.5,), criterion=criterion, train=training(),
        full=True,
    ) as study:  # fmt: skip
        scores = study.scores("a", "free", "seen", 0)
        seen = torch.cat(criterion.values["a"]).abs().mean((0, 2))
        assert scores == pytest.approx(seen.numpy())
        assert {lesion.criterion for lesion in study.lesions} == {"seen"}


def test_scored_and_held_back_images_never_meet_a_criterion(subject, tmp_path):
    network, data = subject
    images, labels = training().tensors
    first = int(order(40)[0])
    for place in range(0, 80, 10):  # some are scored, some kept back
        mixed = images.clone()
        mixed[first] = data.tensors[0][place]
        labels[first] = data.tensors[1][place]
        with pytest.raises(SubjectError, match=rf"image {first} of them is among the study's"):
            sweep(
                network, data, tmp_path / f"{place}", criterion=Seen(), holdout=0.5,
                train=TensorDataset(mixed, labels),
            )  # fmt: skip


def test_the_study_remembers_the_images_and_goes_on_without_them(subject, tmp_path):
    network, data = subject
    options = {"full": True, "layers": ["a"]}
    path, train = tmp_path / "s", training()
    sweep(network, data, path, criterion=Seen(), train=train, ratios=(0.5,), **options).close()
    with Study.open(path) as study:
        assert study.criteria["seen"].startswith("32 of 40 images, ")
        before = study.scores("a", "free", "seen", 0)
    again = Seen()
    with sweep(network, data, path, criterion=again, ratios=(0.5, 0.75), **options) as study:
        assert len(study.lesions) == 2 and not again.values
        assert np.array_equal(study.scores("a", "free", "seen", 0), before)
    with pytest.raises(StudyError, match=r"images that .* knows of criterion seen"):
        sweep(
            network, data, path, criterion=Seen(), train=training(seed=8), ratios=(0.5,),
            full=True, layers=["b"],
        )  # fmt: skip


def test_a_study_counts_the_images_that_were_read(subject, tmp_path):
    """A last batch that is not full is left out: of 40 images two batches of 16 are seen."""
    network, data = subject
    criterion = Seen()
    criterion.images, criterion.batch = 40, 16
    with sweep(
        network, data, tmp_path / "s", criterion=criterion, train=training(), ratios=(0.5,),
        full=True, layers=["a"],
    ) as study:  # fmt: skip
        assert study.criteria["seen"].startswith("32 of 40 images, ")
    assert sum(map(len, criterion.values["a"])) == 32


def test_without_images_a_criterion_that_needs_them_is_refused(subject, tmp_path):
    with pytest.raises(LesionError, match="Expected training images for criterion seen, got none"):
        sweep(*subject, tmp_path / "s", criterion=Seen())


def test_images_without_labels_count_as_what_the_network_predicts(subject, tmp_path):
    network, data = subject
    criterion, train = Seen(), training(labels=False)
    plain = TensorDataset(data.tensors[0])
    sweep(
        network, plain, tmp_path / "s", score="agreement", criterion=criterion, train=train,
        full=True, ratios=(0.5,),
    ).close()  # fmt: skip
    images = train.tensors[0][order(len(train))[:32]]
    with torch.no_grad():
        labels = network(images).argmax(1)
    expected = by_hooks(network, images, labels)["b"].grad.flatten(2)
    assert torch.allclose(torch.cat(criterion.gradients["b"]), expected, atol=1e-5)


@pytest.mark.parametrize("labelled", [True, False])
def test_training_images_may_have_labels_where_scored_ones_have_none(subject, tmp_path, labelled):
    """And the other way round: the same values are seen."""
    network, data = subject
    scored = TensorDataset(data.tensors[0]) if labelled else data
    criterion, train = Seen("activations"), training(labels=labelled)
    sweep(
        network, scored, tmp_path / "s", score="agreement", criterion=criterion, train=train,
        full=True, ratios=(0.5,),
    ).close()  # fmt: skip
    images = train.tensors[0][order(len(train))[:32]]
    with torch.no_grad():
        expected = network.b(torch.relu(network.norm(network.a(images)))).flatten(2)
    assert torch.allclose(torch.cat(criterion.values["b"]), expected, atol=1e-5)


def test_a_function_is_a_criterion_under_its_name(subject, tmp_path):
    def spread(filters):
        return filters.weight.flatten(1).std(1)

    with sweep(*subject, tmp_path / "s", criterion=spread, ratios=(0.5,), layers=["a"]) as study:
        name = f"{__name__}:{spread.__qualname__}"
        assert {lesion.criterion for lesion in study.lesions} == {name}
        wanted = subject[0].a.weight.detach().flatten(1).std(1)
        assert study.scores("a", "free", name, 0) == pytest.approx(wanted.numpy())


def test_a_criterion_that_fails_is_a_reason(subject, tmp_path):
    def broken(filters):
        return 1 / 0

    def short(filters):
        return filters.weight.flatten(1).sum(1)[:2]

    with pytest.raises(SubjectError, match=r"broken fails \(ZeroDivisionError: division by zero\)"):
        sweep(*subject, tmp_path / "a", criterion=broken)
    with pytest.raises(SubjectError, match=r"short gives \(2,\) scores for its 6 filters"):
        sweep(*subject, tmp_path / "b", criterion=short)

"""What all criteria that see images have in common, and each of them on a network."""

import networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seen import IMAGES, shown
from test_resemblance import diverse, uncorrelated
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lesion.lesions.criteria import criterion
from lesion.sweeps.sweep import sweep

BY_BATCH = {"gdp", "taylor_fo"}  # the size of a batch is part of what they are


def drawn(seed, name, images=12, filters=5, side=4):
    """Values behind a ReLU, and gradients, of random sizes."""
    numbers = torch.Generator().manual_seed(seed)
    values, gradients = torch.randn(2, images, filters, side, side, generator=numbers)
    values = torch.relu(values + 0.3)
    return (
        (values, gradients) if criterion(name).maps else (values.flatten(2), gradients.flatten(2))
    )


@pytest.mark.parametrize("name", sorted({*IMAGES} - BY_BATCH))
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), batches=st.integers(2, 12))
def test_scores_do_not_depend_on_batches(name, seed, batches):
    values, gradients = drawn(seed, name)
    whole = shown(criterion(name), values, gradients)
    parts = shown(criterion(name), values, gradients, batches=batches)
    assert whole.dtype == torch.float64 and len(whole) == 5
    assert parts.tolist() == pytest.approx(whole.tolist(), rel=1e-9)


@pytest.mark.parametrize("name", IMAGES)
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), order=st.permutations(range(5)))
def test_scores_follow_their_filters_and_no_layout(name, seed, order):
    values, gradients = drawn(seed, name)
    plain = shown(criterion(name), values, gradients)
    last = [tensor.movedim(1, -1).contiguous().movedim(-1, 1) for tensor in (values, gradients)]
    assert not last[0].is_contiguous()
    assert shown(criterion(name), *last).tolist() == pytest.approx(plain.tolist(), rel=1e-9)
    mixed = shown(criterion(name), values[:, list(order)], gradients[:, list(order)])
    assert mixed.tolist() == pytest.approx(plain[list(order)].tolist(), rel=1e-9)


@pytest.mark.parametrize("name", IMAGES)
def test_layers_are_kept_apart(name):
    values, gradients = drawn(0, name)
    others, more = drawn(1, name, filters=3)
    chosen = criterion(name)
    alone = shown(criterion(name), values, gradients)
    shown(chosen, others, more, layer="other")
    assert torch.equal(shown(chosen, values, gradients), alone)


@pytest.mark.parametrize("name", IMAGES)
def test_a_criterion_bears_the_name_of_its_module(name):
    chosen = criterion(name)
    assert chosen.name == name
    assert chosen.images % chosen.batch == 0


def halves(rows):
    """The means over the first and the second half of the images."""
    return np.stack([half.mean(0) for half in np.split(rows, 2)])


# from the layer's output z, normalised n, activated a, (images, filters, positions), and the
# gradients of each image's loss with respect to them
FORMULAS = {
    "mean_mean": lambda z, n, a, gz, gn, ga: z.mean((0, 2)),
    "mean_std": lambda z, n, a, gz, gn, ga: np.sqrt((z**2).mean(2) - z.mean(2) ** 2).mean(0),
    "mean_l1": lambda z, n, a, gz, gn, ga: abs(z).sum(2).mean(0),
    "mean_l2": lambda z, n, a, gz, gn, ga: np.sqrt((z**2).sum(2)).mean(0),
    "var_l2": lambda z, n, a, gz, gn, ga: np.sqrt((z**2).sum(2)).var(0),
    "mean_activation": lambda z, n, a, gz, gn, ga: a.mean((0, 2)),
    "apoz": lambda z, n, a, gz, gn, ga: (a > 0).mean((0, 2)) - 1,
    "taylor_fo": lambda z, n, a, gz, gn, ga: (n * gn).sum(2).mean(0) ** 2,
    "taylor_fg": lambda z, n, a, gz, gn, ga: ((n * gn).sum(2) ** 2).mean(0) / 64,
    "gdp": lambda z, n, a, gz, gn, ga: abs(halves((z * gz).sum(2))).mean(0),
    "fisher_block": lambda z, n, a, gz, gn, ga: ((z * gz).sum(2) ** 2).mean(0) / 2,
    "entropy": lambda z, n, a, gz, gn, ga: [entropy(means) for means in a.mean(2).T],
    "hrank": lambda z, n, a, gz, gn, ga: np.mean(
        [
            [np.linalg.matrix_rank(row.reshape(8, 8).astype("float32")) for row in image]
            for image in a
        ],
        0,
    ),
    "chip": lambda z, n, a, gz, gn, ga: np.mean([independence(image) for image in a], 0),
    "taylor": lambda z, n, a, gz, gn, ga: unit(abs((a * ga).mean(2)).mean(0)),
    "dpp": lambda z, n, a, gz, gn, ga: diverse(a.transpose(0, 2, 1).reshape(-1, a.shape[1])),
    "noiseout": lambda z, n, a, gz, gn, ga: uncorrelated(
        a.transpose(0, 2, 1).reshape(-1, a.shape[1])
    ),
}


def unit(scores):
    return scores / np.sqrt((scores**2).sum())


def entropy(numbers):
    """Of a histogram of 100 bins."""
    shares = np.histogram(numbers, 100)[0] / len(numbers)
    return -(shares[shares > 0] * np.log(shares[shares > 0])).sum()


def independence(matrix):
    """How the nuclear norm falls without each row."""
    without = [matrix * (np.arange(len(matrix)) != row)[:, None] for row in range(len(matrix))]
    return np.array([nuclear(matrix) - nuclear(each) for each in without])


def nuclear(matrix):
    return np.linalg.svd(matrix, compute_uv=False).sum()


def eager(network, images, labels):
    """Values of the first layer of `networks.Plain` image by image, and their gradients."""
    rows = []
    for image, label in zip(images, labels, strict=True):
        z = network.a(image[None])
        n = network.norm(z)
        a = torch.relu(n)
        loss = F.cross_entropy(network.fc(torch.relu(network.b(a)).mean((2, 3))), label[None])
        gradients = torch.autograd.grad(loss, (z, n, a))
        rows.append([tensor.detach().double()[0].flatten(1) for tensor in (z, n, a, *gradients)])
    return [torch.stack(each).numpy() for each in zip(*rows, strict=True)]


def scored(network, data, train, path, name):
    """What a study holds of the scores of the layer "a"."""
    with sweep(
        network, data, path, criterion=name, train=train, ratios=(0.5,), layers=["a"], full=True
    ) as study:
        return study.scores("a", "free", name, 0)


@pytest.mark.parametrize("name", [name for name in IMAGES if criterion(name).needs != "removals"])
def test_a_study_has_the_scores_of_the_definition(name, tmp_path):
    """By loops over the images of an eager network; in whatever order the memory has its values."""
    network, data = networks.plain(40)
    numbers = torch.Generator().manual_seed(5)
    train = TensorDataset(torch.randn(64, 1, 8, 8, generator=numbers), torch.arange(64) % 3)
    order = np.random.default_rng([0, 0, 1]).permutation(64)[: criterion(name).images]
    wanted = FORMULAS[name](*eager(network, *(tensor[order] for tensor in train.tensors)))
    scores = scored(network, data, train, tmp_path / "s", name)
    assert scores == pytest.approx(wanted, rel=1e-3, abs=1e-7)
    turned = network.to(memory_format=torch.channels_last)
    assert scored(turned, data, train, tmp_path / "t", name) == pytest.approx(scores, rel=1e-3)


class Behind(nn.Module):
    """Convolutions with an activation each."""

    def __init__(self, *activations):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in activations)
        self.first, self.activations = nn.Conv2d(1, 4, 1), activations
        self.fc = nn.Linear(4 * len(activations), 3)

    def forward(self, x):
        x, pairs = self.first(x), zip(self.layers, self.activations, strict=True)
        return self.fc(
            torch.cat([activation(layer(x)) for layer, activation in pairs], 1).mean((2, 3))
        )


@pytest.mark.parametrize("name", [name for name in IMAGES if criterion(name).tap == "rectified"])
def test_only_activations_with_exact_zeros_are_rectified(name, tmp_path):
    activations = {
        F.relu: True, F.relu6: True, nn.Hardtanh(0, 4): True, nn.Hardtanh(): False,
        nn.Threshold(0.1, 0): True, nn.Threshold(0.1, 0.1): False, F.silu: False,
        F.leaky_relu: False, F.gelu: False, F.hardswish: False,
        (lambda x: x.clamp(min=0)): True, (lambda x: x.clamp(min=-1)): False,
        (lambda x: x.clamp(max=0)): False, (lambda x: x.clamp_min(0)): True,
    }  # fmt: skip
    torch.manual_seed(0)
    data = networks.random_images(20, 1, 4, 4, classes=3)
    network = networks.spread(Behind(*activations), data.tensors[0])
    train = networks.random_images(16, 1, 4, 4, classes=3, seed=1)
    with sweep(
        network, data, tmp_path / "s", criterion=name, train=train, ratios=(0.5,), full=True
    ) as study:
        measured = {lesion.target for lesion in study.lesions}
        reasons = {skip.target: skip.reason for skip in study.skipped}
    for place, zeros in enumerate(activations.values()):
        assert (f"layers.{place}" in measured) == zeros
    assert reasons["first"] == "no activation follows it directly"
    assert reasons["layers.3"] == "the activation behind it, hardtanh, gives no exact zeros"
    assert reasons["layers.6"] == "the activation behind it, silu, gives no exact zeros"

"""Criteria of values and gradients: published examples by hand, and what code of others differs."""

import copy

import networks
import pytest
import torch
import torch_pruning as tp
from seen import shown
from torch import nn
from torch.nn import functional as F

from lesion.errors import LesionError, SubjectError
from lesion.lesions.criteria import criterion
from lesion.lesions.criteria.taylor_fo import TaylorFO
from lesion.sweeps.sweep import sweep

# two images, filters A and B, two positions: what values times gradients are
PRODUCTS = torch.tensor([[[1.0, -1.0], [1.0, 0.0]], [[2.0, -1.0], [-1.0, 0.0]]])


@pytest.mark.parametrize("batches", [1, 2])
def test_taylor_takes_the_size_of_each_image(batches):
    """A 0.25 and B 0.5 before they are normalised: A goes, where |·| of each position (1.25, 0.5)
    and of the batch (0.25, 0) would let B go."""
    assert criterion("taylor").rows(PRODUCTS.double()).mean(0).tolist() == [0.25, 0.5]
    scores = shown(criterion("taylor"), PRODUCTS, batches=batches)
    assert scores.tolist() == pytest.approx([0.4472, 0.8944], abs=5e-5)


# sums over positions: image 1 gives A 0 and B 1, image 2 gives A 1 and B -1
GATES = torch.tensor([[[1.0, -1.0], [1.0, 0.0]], [[0.5, 0.5], [0.0, -1.0]]])


def test_a_gate_is_squared_batch_by_batch_or_image_by_image():
    """The loss is the mean of the two: B goes by batches, A by images."""
    assert shown(criterion("taylor_fo"), GATES).tolist() == [0.25, 0.0]
    for batches in (1, 2):
        assert shown(criterion("taylor_fg"), GATES, batches=batches).tolist() == [0.25, 0.5]


def test_the_batch_of_a_gate_is_part_of_its_definition():
    assert shown(criterion("taylor_fo"), GATES, batches=2).tolist() == [0.5, 1.0]
    plain, large = TaylorFO(), TaylorFO(batch=256)
    assert (plain.name, plain.batch, plain.images) == ("taylor_fo", 64, 1920)
    assert (large.name, large.batch, large.images) == ("taylor_fo:batch=256", 256, 7680)


def test_gdp_keeps_signs_within_a_filter():
    """w (1, −2), ∂L/∂w (1, .5) → 0, and (.1, .1), (1, 1) → 0.2: the larger filter goes, where
    Σ |w · ∂L/∂w| is 2 and 0.2.  Here from a linear layer on two images, that give these."""
    weights = torch.tensor([[1.0, -2.0], [0.1, 0.1]])
    images = torch.tensor([[1.0, 0.5], [1.0, 1.0]])
    values = (images @ weights.T)[:, :, None]
    gradients = torch.tensor([[2.0, 0.0], [0.0, 2.0]])[:, :, None]  # of the sum, so twice the mean
    assert torch.equal(gradients[:, :, 0].T @ images / 2, torch.tensor([[1.0, 0.5], [1.0, 1.0]]))
    scores = shown(criterion("gdp"), values, gradients)
    assert scores.tolist() == pytest.approx([0.0, 0.2], abs=1e-7)


@pytest.mark.parametrize("name", ["taylor", "taylor_fo", "taylor_fg", "gdp", "fisher_block"])
def test_a_loss_that_does_not_depend_on_a_layer_is_a_reason(name):
    values = torch.ones(4, 3, 2)
    with pytest.raises(LesionError, match=r"^the loss does not depend on it$"):
        shown(criterion(name), values, torch.zeros_like(values))


class Gated(nn.Module):
    """A convolution, its batch norm, and a classifier."""

    def __init__(self, bias=True):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 5, 3, padding=1, bias=bias), nn.BatchNorm2d(5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


@pytest.fixture
def gated():
    torch.manual_seed(0)
    network = networks.spread(Gated(), torch.randn(12, 2, 6, 6)).eval()
    return network, torch.randn(12, 2, 6, 6), torch.arange(12) % 3


def seen_at(network, module, images, labels):
    """What a module gives, and the gradients of the summed loss with respect to it."""
    kept = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    loss = F.cross_entropy(network(images), labels, reduction="sum")
    handle.remove()
    (gradients,) = torch.autograd.grad(loss, kept)
    return kept[0].detach().flatten(2), gradients.flatten(2)


def test_a_gate_is_the_scale_and_shift_of_its_norm(gated):
    """∂L/∂gate = γ · ∂L/∂γ + β · ∂L/∂β."""
    network, images, labels = gated
    norm = network.norm
    scores = shown(criterion("taylor_fo"), *seen_at(network, norm, images, labels))
    F.cross_entropy(network(images), labels).backward()
    gate = norm.weight * norm.weight.grad + norm.bias * norm.bias.grad
    assert scores.tolist() == pytest.approx((gate**2).tolist(), rel=1e-4)


def test_gdp_and_fisher_block_are_sums_over_weights_and_bias(gated):
    network, images, labels = gated
    values = seen_at(network, network.conv, images, labels)
    gdp, fisher = (shown(criterion(name), *values) for name in ("gdp", "fisher_block"))
    changes = []
    for image, label in zip(images, labels, strict=True):
        loss = F.cross_entropy(network(image[None]), label[None])
        weight, bias = torch.autograd.grad(loss, (network.conv.weight, network.conv.bias))
        terms = (network.conv.weight * weight).flatten(1).sum(1) + network.conv.bias * bias
        changes.append(terms.detach())
    changes = torch.stack(changes)
    assert gdp.tolist() == pytest.approx(changes.mean(0).abs().tolist(), rel=1e-3)
    assert fisher.tolist() == pytest.approx((changes**2).mean(0).div(2).tolist(), rel=1e-3)


def test_gdp_is_zero_before_a_batch_norm_in_training_mode(gated):
    network, images, labels = gated
    network.double().norm.eps = 1e-15
    measured, trained = (
        shown(criterion("gdp"), *seen_at(each, each.conv, images.double(), labels))
        for each in (network.eval(), copy.deepcopy(network).train())
    )
    assert measured.min() > 1e-3 and trained.max() < 1e-12


def test_gdp_is_torch_prunings_expansion_by_filters():
    torch.manual_seed(0)
    network = networks.spread(Gated(bias=False), torch.randn(12, 2, 6, 6)).eval()
    images, labels = torch.randn(12, 2, 6, 6), torch.arange(12) % 3
    scores = shown(criterion("gdp"), *seen_at(network, network.conv, images, labels))
    F.cross_entropy(network(images), labels).backward()
    graph = tp.DependencyGraph().build_dependency(network, images)
    group = graph.get_pruning_group(network.conv, tp.prune_conv_out_channels, list(range(5)))
    importance = tp.importance.GroupTaylorImportance(
        multivariable=True, normalizer=None, target_types=[nn.Conv2d]
    )
    assert scores.tolist() == pytest.approx(importance(group).tolist(), rel=1e-3)


def test_a_network_without_what_a_criterion_looks_at_is_told_so(tmp_path):
    torch.manual_seed(0)
    data = networks.random_images(20, 1, 6, 6, classes=3)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    network = networks.spread(network, data.tensors[0])
    train = networks.random_images(20, 1, 6, 6, classes=3, seed=1)
    with pytest.raises(SubjectError, match=r"got none: 0: no batch norm follows it directly"):
        sweep(network, data, tmp_path / "s", criterion="taylor_fo", train=train)


class Binary(nn.Module):
    """Two classes: by one logit, or by two of which the first is always 0."""

    def __init__(self, logits):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.fc = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 1)
        self.logits = logits

    def forward(self, x):
        y = self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))
        return F.pad(y, (1, 0)) if self.logits == 2 else y


@pytest.mark.parametrize("name", ["taylor", "taylor_fo", "gdp", "fisher_block"])
@pytest.mark.parametrize("labels", [True, False])
def test_one_logit_is_the_second_of_two(name, labels, tmp_path):
    """Alone, its cross-entropy would not depend on anything."""
    data, train = (networks.random_images(64, 1, 6, 6, classes=2, seed=seed) for seed in (0, 1))
    if not labels:
        train = [image for image, _ in train]
    scores = []
    for logits in (1, 2):
        with sweep(
            Binary(logits).eval(), data, tmp_path / f"{logits}", criterion=name, train=train,
            ratios=(0.5,), full=True, score="agreement",
        ) as study:  # fmt: skip
            scores.append(study.scores("conv", "free", name, 0))
    assert scores[0].any()
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)

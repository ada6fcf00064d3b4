"""thinet and lasso: published examples by hand, brute force, and each of them on a network."""

import networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lesion.errors import LesionError
from lesion.lesions.contribution_sums import ContributionSums
from lesion.lesions.criteria import Consumer, Group, criterion, names
from lesion.lesions.criteria.lasso import Lasso, prices
from lesion.lesions.criteria.thinet import ThiNet, removal_order
from lesion.sweeps.sweep import sweep

NAMES = [name for name in names() if isinstance(criterion(name), ContributionSums)]


def group(channels, *layers):
    """A group whose channels layers read, in the order in which they are shown."""
    all_of_them = torch.arange(channels)
    consumers = [Consumer(layer, torch.zeros(channels, 1), all_of_them, all_of_them)
                 for layer in layers]  # fmt: skip
    return Group("conv", channels, (), (), tuple(consumers), False, 0)


def shown(chosen, values, layer="next", batches=1):
    """The scores of a criterion that has seen what channels add, in so many batches."""
    for batch in torch.arange(len(values)).chunk(batches):
        chosen.update(layer, values[batch], None)
    return chosen.scores(group(values.shape[1], layer))


def drawn(seed, images=12, channels=5, outputs=4):
    numbers = torch.Generator().manual_seed(seed)
    return torch.randn(images, channels, outputs, generator=numbers) + 0.2


def greedy(rows):
    """When each column goes, by the sums over all that are gone."""
    gone, left = [], set(range(rows.shape[1]))
    while left:
        gone.append(min(left, key=lambda one: float((rows[:, [*gone, one]].sum(1) ** 2).sum())))
        left.remove(gone[-1])
    return np.argsort(gone).tolist()


def test_both_are_there():
    assert NAMES == ["lasso", "thinet"]


def test_thinet_golden():
    """Rows (1, −1, .5), (2, −2, .5): the third goes, then the second, with an error of 1.5811."""
    rows = torch.tensor([[1.0, -1.0, 0.5], [2.0, -2.0, 0.5]])
    scores = shown(ThiNet(), rows.T[None], batches=1)
    assert scores.tolist() == [2, 1, 0]
    assert float(rows[:, 1:].sum(1).norm()) == pytest.approx(1.5811, abs=5e-5)
    assert float(rows[:, [0, 2]].sum(1).norm()) == pytest.approx(2.9155, abs=5e-5)


def test_lasso_golden():
    """Of what both channels add, (2, 0): orthogonal rows, each worth its square, 2."""
    rows = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    scores = shown(Lasso(), rows.T[None])
    assert scores.tolist() == pytest.approx([0.5, 0.5])  # of 4 in all


@given(st.integers(0, 10_000), st.integers(1, 7))
def test_thinet_is_greedy(seed, channels):
    values = drawn(seed, channels=channels)
    rows = values.double().transpose(1, 2).flatten(0, 1)
    assert shown(ThiNet(), values).tolist() == greedy(rows)
    assert removal_order(rows.T @ rows).tolist() == greedy(rows)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), batches=st.integers(2, 12), order=st.permutations(range(5)))
def test_scores_depend_on_no_batch_layout_or_place(name, seed, batches, order):
    values = drawn(seed)
    plain = shown(criterion(name), values)
    parts = shown(criterion(name), values, batches=batches)
    assert plain.dtype == torch.float64
    assert parts.tolist() == pytest.approx(plain.tolist(), rel=1e-9)
    last = values.movedim(1, -1).contiguous().movedim(-1, 1)
    assert not last.is_contiguous()
    assert shown(criterion(name), last).tolist() == pytest.approx(plain.tolist(), rel=1e-9)
    mixed = shown(criterion(name), values[:, list(order)])
    assert mixed.tolist() == pytest.approx(plain[list(order)].tolist(), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_several_consumers_count_alike(name):
    """The rows of both, each divided by the root of its sum of squares; a dead one by nothing."""
    first, second = drawn(0).double(), drawn(1).double() * 1000
    chosen = criterion(name)
    for layer, values in (("x", first), ("y", second), ("z", 0 * first)):
        chosen.update(layer, values, None)
    scores = chosen.scores(group(5, "x", "y", "z"))
    alike = torch.cat([values / values.square().sum().sqrt() for values in (first, second)])
    expected = shown(criterion(name), alike) * (2 if name == "lasso" else 1)
    assert scores.tolist() == pytest.approx(expected.tolist(), rel=1e-9)


def test_a_consumer_of_other_channels_too_is_looked_at_for_its_own():
    """It is shown channels 1, 0 and one of another target; a second one reads channel 1 alone."""
    values = drawn(3, channels=3)
    chosen, both = ThiNet(), torch.tensor([1, 0, -1])
    chosen.update("x", values, None)
    chosen.update("y", values[:, :1], None)
    consumers = (Consumer("x", torch.zeros(3, 1), both, both),
                 Consumer("y", torch.zeros(1, 1), both[:1], both[:1]))  # fmt: skip
    products = chosen.products(Group("conv", 2, (), (), consumers, False, 0))
    rows = values[:, [1, 0]].double().transpose(1, 2).flatten(0, 1)
    wanted = rows.T @ rows
    wanted = wanted / wanted.trace()
    wanted[1, 1] += 1
    assert torch.allclose(products, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_what_no_weight_reads_is_a_reason(name):
    with pytest.raises(LesionError, match=r"^no layer's weights read its channels$"):
        criterion(name).scores(group(3))


def gram(network, images):
    """Products of what the channels of `networks.Plain`'s first layer add to its second's outputs,
    by a convolution with each channel alone."""
    with torch.no_grad():
        x = torch.relu(network.norm(network.a(images))).double()
        weight = network.b.weight.double()
        added = [F.conv2d(x[:, [j]], weight[:, [j]], stride=2).flatten() for j in range(8)]
    rows = torch.stack(added, 1).numpy()
    return rows.T @ rows / np.trace(rows.T @ rows), rows


@pytest.mark.parametrize("name", NAMES)
def test_a_study_has_the_scores_of_the_definition(name, tmp_path):
    """Of all outputs, by an eager network; in whatever order the memory has its values."""
    network, data = networks.plain(40)
    numbers = torch.Generator().manual_seed(5)
    train = TensorDataset(torch.randn(64, 1, 8, 8, generator=numbers), torch.arange(64) % 3)
    products, rows = gram(network, train.tensors[0])
    if name == "thinet":
        wanted = greedy(torch.from_numpy(rows))
    else:
        wanted = prices(torch.from_numpy(products), torch.from_numpy(products.sum(1))).tolist()
    turned = networks.plain(40)[0].to(memory_format=torch.channels_last)
    for path, each, batch in (("s", network, 64), ("t", turned, 64), ("u", network, 16)):
        chosen = criterion(name)
        chosen.outputs, chosen.batch = 10**6, batch
        with sweep(each, data, tmp_path / path, criterion=chosen, train=train, ratios=(0.5,),
                   layers=["a"], full=True) as study:  # fmt: skip
            scores = study.scores("a", "free", name, 0)
        assert scores == pytest.approx(wanted, rel=1e-3, abs=1e-7)


def test_a_network_with_streams_and_depthwise_layers_is_scored_everywhere(tmp_path):
    """Whatever is measured by l1 is by these; drawn outputs give scores that resemble all's."""
    network, data = networks.mobilenet(20)
    train = networks.random_images(64, 3, 32, 32, seed=3)
    options = {"ratios": (0.5,), "units": "all", "images": 16, "full": True}
    with sweep(network, data, tmp_path / "l1", **options) as study:
        wanted = {lesion.at for lesion in study.lesions}
    for name in NAMES:
        with sweep(network, data, tmp_path / name, criterion=name, train=train, **options) as study:
            assert {lesion.at for lesion in study.lesions} == wanted
            for target in wanted:
                scores = study.scores(target.name, target.kind, name, 0)
                assert np.isfinite(scores).all() and len(np.unique(scores)) > len(scores) / 2


class Redundant(nn.Module):
    """Eight channels, of which two repeat the first one and two are dead."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 3)
        with torch.no_grad():
            self.a.weight[1:3], self.a.bias[1:3] = self.a.weight[0], self.a.bias[0]
            self.b.weight[:, 1:3] = self.b.weight[:, :1]
            self.a.weight[6:], self.a.bias[6:] = 0, -1

    def forward(self, x):
        return self.fc(torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3)))


def test_dead_channels_go_first_and_lasso_needs_no_second_of_a_kind(tmp_path):
    torch.manual_seed(0)
    network = Redundant().eval()
    data = networks.random_images(20, 1, 8, 8, classes=3)
    train = networks.random_images(40, 1, 8, 8, classes=3, seed=2)
    scores = {}
    for name in NAMES:
        with sweep(network, data, tmp_path / name, criterion=name, train=train, ratios=(0.5,),
                   layers=["a"], full=True, score="agreement") as study:  # fmt: skip
            scores[name] = study.scores("a", "free", name, 0)
    assert scores["thinet"][6:].tolist() == [0, 1]
    assert sorted(np.flatnonzero(scores["lasso"] == 0))[-2:] == [6, 7]
    assert (scores["lasso"][:3] > 0).sum() == 1 and (scores["lasso"][3:6] > 0).all()

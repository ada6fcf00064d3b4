"""Criteria beside the oracle on networks whose answer is known."""

import networks
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import lesion
from lesion.errors import LesionError, SubjectError
from lesion.lesions.criteria import Criterion, criterion, names
from lesion.lesions.lesion import Target
from lesion.lesions.scores import Scorer
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training
from lesion.sweeps.choices import Choices
from lesion.sweeps.removals import shown
from lesion.sweeps.yardstick import HalvedLayers, Yardstick

SIZES = np.array([0.5, 3.0, 1.0, 0.25, 2.0, 1.5])  # of filters, none alike


class Ranked(nn.Module):
    """Each filter passes the same pattern on, of another size; the class is its sign."""

    def __init__(self, sizes, reading):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, len(sizes), 1, bias=False), nn.Linear(len(sizes), 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor(sizes, dtype=torch.float32)[:, None, None, None])
            reading = torch.tensor(reading, dtype=torch.float32)
            self.fc.weight.copy_(torch.stack([-reading, reading]))
            self.fc.bias.zero_()

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


def signed(count, seed):
    """Images that are brighter or darker than nothing, and which."""
    numbers = torch.Generator().manual_seed(seed)
    level = torch.rand(count, generator=numbers) * (1 - 2 * (torch.arange(count) % 2))
    return TensorDataset(level[:, None, None, None].expand(-1, 1, 2, 2).clone(), (level > 0).long())


def compared(sizes, reading, **options):
    network = Ranked(sizes, reading).eval()
    return lesion.criteria(network, signed(20, 0), train=signed(64, 1), **options)


def test_where_large_filters_matter_norms_rank_as_the_oracle():
    agreement = compared(SIZES, np.full(6, 0.2), criteria=("l1", "l2", "largest"))
    frame = agreement.criteria.set_index("criterion")
    assert frame["spearman"].round(9).to_dict() == pytest.approx(
        {"oracle": np.nan, "l1": 1, "l2": 1, "largest": -1}, nan_ok=True
    )
    assert frame.loc["l1", ["raw", "scaled"]].tolist() == pytest.approx([1, 1])


def test_where_small_filters_are_read_most_norms_are_wrong():
    """Filter by filter the contribution is size × reading = 0.2 / size."""
    agreement = compared(SIZES, 0.2 / SIZES**2, criteria=("l1", "largest"))
    frame = agreement.criteria.set_index("criterion")
    assert frame.loc["l1", "spearman"] == pytest.approx(-1)
    assert frame.loc["largest", "spearman"] == pytest.approx(1)


@pytest.fixture(scope="module")
def plain():
    network, data = networks.plain(40)
    return network, data, networks.random_images(128, 1, 8, 8, classes=3, seed=5)


def first(train, count):
    """Of the seeded order."""
    return np.random.default_rng([0, 0, 1]).permutation(len(train))[:count]


def alone(plain, images, name):
    """The scores of a criterion that sees these training images and no others."""
    network, data, train = plain
    picked = TensorDataset(*(tensor[images] for tensor in train.tensors))
    subject = Subject.of(network, data, train=picked)
    yardstick = Yardstick.of(subject, Choices())
    chosen = criterion(name)
    training = Training.of(subject, "a test")
    reasons = shown(chosen, subject, yardstick.dissection, training, yardstick.targets, 0)
    scorer = Scorer(yardstick.dissection, chosen, 0, reasons)
    return {target.key: scorer.scores(target) for target in yardstick.targets}


@pytest.mark.parametrize("name", ["mean_l2", "var_l2", "chip", "taylor", "oracle"])
def test_halves_are_disjoint_and_both_are_the_whole(plain, name):
    """Each half, and all of them, as the criterion scores that sees just these images."""
    network, data, train = plain
    yardstick = Yardstick.of(Subject.of(network, data, train=train), Choices())
    scored = yardstick.scored(name)
    used = first(train, min(criterion(name).images, len(train)))
    assert scored.images == len(used)
    parts = used, used[: len(used) // 2], used[len(used) // 2 :]
    for images, values in zip(parts, (scored.scores, *scored.halves), strict=True):
        wanted = alone(plain, images, name)
        assert {*wanted} == {*values} == {"free/a", "free/b"}
        for key, scores in values.items():
            assert scores == pytest.approx(wanted[key], rel=1e-6, abs=1e-9)


class Batches(Criterion):
    """Notes the batches that it is shown, each under its first number."""

    name, images, batch = "batches", 40, 10

    def __init__(self):
        self.seen = []

    def update(self, layer, activation, gradient):
        self.seen.append(activation[:, 0, 0].tolist())


def test_a_batch_stays_what_it_is_defined_as():
    whole = Batches()
    halved = HalvedLayers(whole, 100)
    assert halved.batch == 20
    for start in (0, 20):
        halved.update("conv", torch.arange(start, start + 20.0)[:, None, None], None)
    batches = [list(np.arange(start, start + 10.0)) for start in (0, 10, 20, 30)]
    assert whole.seen == batches
    assert [part.seen for part in halved.parts] == [batches[::2], batches[1::2]]


def test_one_batch_is_split():
    halved = HalvedLayers(Batches(), 7)
    assert halved.batch == 7
    halved.update("conv", torch.arange(7.0)[:, None, None], None)
    assert [part.seen for part in halved.parts] == [[[0, 1, 2, 3]], [[4, 5, 6]]]


def test_what_criteria_need_and_where_they_fit(plain):
    network, data, train = plain
    agreement = lesion.criteria(network, data, train=train, images=64)
    frame = agreement.criteria.set_index("criterion")
    assert frame.index[0] == agreement.oracle == "oracle:images=64" and agreement.images == 64
    assert {*frame.index[1:]} == {*names()} - {"oracle"}
    assert frame.loc["l1", "needs"] == "weights" and frame.loc["taylor", "needs"] == "gradients"
    assert frame.loc["bn_scale", "layers"] == 1  # "b" has no batch norm
    assert frame.loc["bn_scale", "reason"].startswith("1 of 2 layers: ")
    assert frame["halves"].notna().equals(frame["needs"] != "weights")
    assert (frame["seconds"] >= 0).all() and frame["spearman"].dropna().between(-1, 1).all()
    assert agreement.norms["layer"].tolist() == ["a", "b"]
    assert (
        "16 channels of 2 layers" in agreement.text() and "64 training images" in agreement.text()
    )


def test_functions_and_objects_are_criteria_too(plain):
    network, data, train = plain

    def spread(filters):
        return filters.weight.flatten(1).std(1)

    agreement = lesion.criteria(network, data, train=train, criteria=[spread, "l1"], layers="a")
    assert len(agreement.criteria) == 3 and agreement.layers["layer"].unique().tolist() == ["a"]
    assert agreement.criteria["criterion"].str.contains("spread").sum() == 1


def test_units_of_several_layers_and_branches():
    network, data = networks.resnet8(20)
    train = networks.random_images(48, 3, 16, 16, seed=5)
    agreement = lesion.criteria(network, data, train=train, criteria="l1,mean_l2", units="all")
    assert {*agreement.layers["kind"]} == {"free", "coupled", "branch"}
    assert agreement.criteria["layers"].nunique() == 1
    oracle = Yardstick.of(Subject.of(network, data, train=train), Choices(units="all")).scored(
        "oracle"
    )
    assert oracle.scores[Target("conv1", "coupled").key].shape == (64,)


def test_a_network_that_runs_as_a_whole():
    """The oracle and criteria of weights are there; the others have the reason."""
    network, data = networks.plain(40, kind=networks.Wayward)
    train = networks.random_images(32, 1, 8, 8, classes=3, seed=5)
    agreement = lesion.criteria(network, data, train=train, criteria=("l1", "taylor"), layers="b")
    frame = agreement.criteria.set_index("criterion")
    assert frame.loc["l1", "layers"] == 1 and frame.loc["taylor", "layers"] == 0
    assert frame.loc["taylor", "reason"].startswith("1 of 1 layers: Expected a network that can be")


def test_refusals_are_sentences(plain):
    network, data, train = plain
    with pytest.raises(LesionError) as caught:
        lesion.criteria(network, data)
    assert str(caught.value) == (
        "Expected training images for criteria, got none; give them with train=… (--train DATA), "
        "and none of those that are scored."
    )
    with pytest.raises(SubjectError, match="Expected training images that are not scored, but"):
        lesion.criteria(network, data, train=data)
    with pytest.raises(
        LesionError, match=r"Expected a criterion \(.*got 'fpmg'; did you mean fpgm"
    ):
        lesion.criteria(network, data, train=train, criteria="l1,fpmg")
    with pytest.raises(LesionError, match="Expected a confidence in per cent"):
        lesion.criteria(network, data, train=train, confidence=100)
    with pytest.raises(LesionError, match="Expected the pattern of a layer, got 'x'"):
        lesion.criteria(network, data, train=train, layers="x")
    with pytest.raises(
        LesionError, match="Expected layers whose channels can be removed, got none"
    ):
        lesion.criteria(network, data, train=train, layers="fc")
    with pytest.raises(
        LesionError, match="Expected names of criteria, functions or objects, got 3"
    ):
        lesion.criteria(network, data, train=train, criteria=3)

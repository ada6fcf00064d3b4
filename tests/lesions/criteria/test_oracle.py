"""oracle: the loss without each channel, as a plain loop over smaller networks measures it."""

import networks
import numpy as np
import plain_loop
import pytest
import torch
from seen import shown
from slicing import shrink
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lesion.errors import LesionError, SubjectError
from lesion.lesions.criteria import criterion
from lesion.lesions.lesion import Target
from lesion.sweeps.sweep import sweep

IMAGES = 48


def training(*shape, classes, labels=True):
    """More images than the oracle sees here, all of them others than those that are scored."""
    data = networks.random_images(64, *shape, classes=classes, seed=5)
    return data if labels else TensorDataset(data.tensors[0])


def looked_at(train):
    """The first training images of the seeded order."""
    order = np.random.default_rng([0, 0, 1]).permutation(len(train))[:IMAGES]
    return [tensor[order] for tensor in train.tensors]


def loss(network, images, labels):
    with torch.no_grad():
        return float(F.cross_entropy(network.eval()(images).double(), labels))


def by_loop(network, anatomy, target, images, labels):
    """One whole pass of another network a channel: smaller by the channel, or for a branch with
    zeros where it is made."""
    labels_of = anatomy.made_by(target.name)
    if target.kind != "branch":
        labels_of = anatomy.unit[target.name].labels
    losses = []
    for place, label in enumerate(labels_of):
        if target.kind == "branch":
            places = plain_loop.along(network, target.name, np.array([place]))
            with plain_loop.zeroed(places):
                losses.append(loss(network, images, labels))
        else:
            gone = np.arange(anatomy.channels) == label
            losses.append(loss(shrink(network, anatomy, gone), images, labels))
    return abs(np.array(losses) - loss(network, images, labels))


def swept(network, data, train, path, **options):
    options = {"criterion": f"oracle:images={IMAGES}", "ratios": (0.5,), "full": True, **options}
    return sweep(network, data, path, train=train, **options)


def held(study):
    """The scores that the study holds, by target."""
    name = f"oracle:images={IMAGES}"
    targets = {Target(lesion.target, lesion.kind) for lesion in study.lesions}
    return {target: study.scores(target.name, target.kind, name, 0) for target in targets}


def test_a_plain_network_without_each_channel(tmp_path):
    network, data = networks.plain(40)
    train = training(1, 8, 8, classes=3)
    with swept(network, data, train, tmp_path / "s") as study:
        scores = held(study)
        assert {target.name for target in scores} == {"a", "b"}
        for target, values in scores.items():
            wanted = by_loop(network, study.anatomy, target, *looked_at(train))
            assert wanted.max() > 0.01
            assert values == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_units_of_several_layers_and_branches(tmp_path):
    network, data = networks.resnet8(20)
    train = training(3, 16, 16, classes=10)
    with swept(network, data, train, tmp_path / "s", units="all") as study:
        scores = held(study)
        assert {target.kind for target in scores} == {"free", "coupled", "branch"}
        for target, values in scores.items():
            wanted = by_loop(network, study.anatomy, target, *looked_at(train))
            assert wanted.max() > 0.001
            assert values == pytest.approx(wanted, rel=1e-3, abs=2e-6), target


def test_the_lowest_fall(tmp_path):
    """A lesion by the oracle removes the half whose removal costs least."""
    network, data = networks.plain(40)
    train = training(1, 8, 8, classes=3)
    with swept(network, data, train, tmp_path / "s", layers=["a"]) as study:
        (values,) = held(study).values()
        outcomes = [study.outcomes(lesion) for lesion in study.lesions]
        anatomy, (rows,) = study.anatomy, outcomes
        order = list(study.header.order)
    gone = np.zeros(anatomy.channels, bool)
    gone[np.array(anatomy.unit["a"].labels)[np.argsort(values)[:4]]] = True
    images, labels = (tensor[order] for tensor in data.tensors)
    with torch.no_grad():
        right = shrink(network, anatomy, gone).eval()(images).argmax(1) == labels
    assert rows["top1"].tolist() == right[rows.images].tolist()


def test_without_labels_the_intact_prediction_counts(tmp_path):
    network, data = networks.plain(40)
    train = training(1, 8, 8, classes=3, labels=False)
    (images,) = looked_at(train)
    with torch.no_grad():
        predicted = network.eval()(images).argmax(1)
    with swept(network, data, train, tmp_path / "s", layers=["b"], score="agreement") as study:
        ((target, values),) = held(study).items()
        wanted = by_loop(network, study.anatomy, target, images, predicted)
    assert values == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_a_network_that_runs_as_a_whole(tmp_path):
    """No trace stands for it: each removal is a whole pass."""
    network, data = networks.plain(40, kind=networks.Wayward)
    train = training(1, 8, 8, classes=3)
    with swept(network, data, train, tmp_path / "s", layers=["b"]) as study:
        assert study.anatomy.whole
        ((target, values),) = held(study).items()
        wanted = by_loop(network, study.anatomy, target, *looked_at(train))
    assert values == pytest.approx(wanted, rel=1e-3, abs=1e-6)


class OneLogit(nn.Module):
    """Two classes told apart by the sign of a single logit."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 6, 3), nn.Linear(6, 1)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


def test_one_logit_is_two_classes(tmp_path):
    torch.manual_seed(0)
    network, data = OneLogit().eval(), networks.random_images(20, 1, 8, 8, classes=2)
    train = training(1, 8, 8, classes=2, labels=False)
    (images,) = looked_at(train)
    with swept(network, data, train, tmp_path / "s", score="agreement") as study:
        ((_, values),) = held(study).items()
    with torch.no_grad():
        channels = torch.relu(network.conv(images)).mean((2, 3))
        base = network.fc(channels)[:, 0].double()
        label = (base > 0).double()
        intact = F.binary_cross_entropy_with_logits(base, label)
        for channel in range(6):
            logits = network.fc(channels * (torch.arange(6) != channel))[:, 0].double()
            without = F.binary_cross_entropy_with_logits(logits, label)
            assert values[channel] == pytest.approx(abs(float(without - intact)), abs=1e-6)


@torch.no_grad()
def test_what_nothing_reads_costs_nothing(tmp_path):
    """Consumers whose weights are zero, however large the filter: exactly 0, and gone first."""
    network, data = networks.plain(40)
    network.b.weight[:, [1, 4]] = 0
    network.a.weight[[1, 4]] *= 100
    with swept(network, data, training(1, 8, 8, classes=3), tmp_path / "s") as study:
        values = next(each for target, each in held(study).items() if target.name == "a")
    assert np.flatnonzero(values == 0).tolist() == [1, 4]


def test_it_is_measured_without_the_recovery(tmp_path):
    network, data = networks.plain(40)
    train = training(1, 8, 8, classes=3)
    with swept(network, data, train, tmp_path / "a") as study:
        plain = held(study)
    with swept(network, data, train, tmp_path / "b", recover="bn") as study:
        recovered = held(study)
    assert {*recovered} == {*plain}
    for target, values in recovered.items():
        assert np.array_equal(values, plain[target])


def test_scores_that_a_study_holds_are_not_measured_again(tmp_path, monkeypatch):
    network, data = networks.plain(40)
    train = training(1, 8, 8, classes=3)
    swept(network, data, train, tmp_path / "s").close()
    monkeypatch.setattr("lesion.sweeps.target_scores.shown", None)
    with swept(network, data, train, tmp_path / "s", ratios=(0.5, 0.75)) as study:
        assert len(study.lesions) == 4


def test_scored_images_and_those_kept_back_are_refused(tmp_path):
    network, data = networks.plain(40)
    with pytest.raises(SubjectError, match="Expected training images that are not scored"):
        swept(network, data, data, tmp_path / "s", holdout=0.5)
    kept_back = np.random.default_rng(0).permutation(40)[:20].tolist()
    with pytest.raises(SubjectError, match="Expected training images that are not scored"):
        swept(network, data, torch.utils.data.Subset(data, kept_back), tmp_path / "t", holdout=0.5)


def test_no_training_images_and_no_classes(tmp_path):
    network, data = networks.plain(40)
    with pytest.raises(LesionError) as caught:
        swept(network, data, None, tmp_path / "s")
    assert str(caught.value) == (
        "Expected training images for criterion oracle:images=48, got none; give them with train=… "
        "(--train DATA), and none of those that are scored."
    )
    with pytest.raises(LesionError, match=r"class logits for criterion oracle.*needs removals of"):
        swept(network, data, training(1, 8, 8, classes=3), tmp_path / "t",
              score=lambda outputs, targets: outputs.softmax(1).amax(1))  # fmt: skip


class Reciprocal(nn.Module):
    """Without one of its channels its outputs are infinite."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix, self.fc = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
        nn.init.ones_(self.conv.bias)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.mix.bias.zero_()
            self.mix.weight[:, 1:] = 0

    def forward(self, x):
        return self.fc((1 / self.mix(self.conv(x))).mean((2, 3)))


def test_what_is_not_finite_is_a_row_with_a_reason(tmp_path):
    torch.manual_seed(0)
    network, data = Reciprocal().eval(), networks.random_images(20, 1, 4, 4, classes=2)
    with swept(network, data, training(1, 4, 4, classes=2), tmp_path / "s") as study:
        reasons = {skip.target: skip.reason for skip in study.skipped}
    assert reasons["conv"] == (
        "without one of its channels its outputs are not finite (NaN or infinity)"
    )


def test_signs_cancel_over_images_not_before():
    rises = [[[0.5], [-1.0], [0.25]], [[-0.5], [-2.0], [0.25]]]  # two images, three channels
    assert shown(criterion("oracle"), rises).tolist() == [0.0, 1.5, 0.25]


def test_the_number_of_images_is_in_the_name():
    assert (criterion("oracle").name, criterion("oracle").images) == ("oracle", 512)
    other = criterion("oracle:images=1000")
    assert (other.name, other.images) == ("oracle:images=1000", 1000)
    assert criterion("oracle:images=512").name == "oracle"


@pytest.mark.parametrize(
    "given", ["oracle:images=0", "oracle:size=3", "oracle:images=3,size=2", "l1:images=3"]
)
def test_options_that_are_none(given):
    with pytest.raises(LesionError) as caught:
        criterion(given)
    assert str(caught.value) == (
        "Expected options that the criterion takes, whole numbers of at least 1, got "
        f"'{given}'; leave them out."
    )


def test_a_batch_is_an_option_too():
    assert criterion("taylor_fo:batch=16").name == "taylor_fo:batch=16"

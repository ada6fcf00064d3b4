"""Each criterion against its formula, and what all of them have in common."""

import networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lesion.errors import LesionError
from lesion.lesions import criteria
from lesion.lesions.criteria import Filters, criterion, names
from lesion.lesions.lesion import Target
from lesion.lesions.ratios import falling
from lesion.network.dissect import dissect
from lesion.results.curves import curves
from lesion.study.study import Study
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.prepare import prepare
from lesion.sweeps.sweep import sweep

SHAPES = [(6, 3, 3, 3), (5, 4), (4, 2, 5), (3, 2, 1, 2, 2)]


def filters(weight, scale=None, seed=0, layer="conv"):
    return Filters(layer, torch.as_tensor(weight), scale, seed)


def draw(seed, shape):
    return np.random.default_rng(seed).normal(size=shape)


FORMULAS = {
    "l1": lambda w: [sum(abs(x) for x in one.flat) for one in w],
    "l2": lambda w: [sum(x * x for x in one.flat) ** 0.5 for one in w],
    "largest": lambda w: [-sum(abs(x) for x in one.flat) for one in w],
    "fpgm": lambda w: [sum(np.sqrt(((one - other) ** 2).sum()) for other in w) for one in w],
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_formula(name, shape):
    weight = draw(0, shape)
    found = criterion(name).scores(filters(weight))
    assert found.dtype == torch.float64 and found.shape == shape[:1]
    assert found.tolist() == pytest.approx(FORMULAS[name](weight), rel=1e-12)


def test_fpgm_golden():
    """Filters 0, 1 and 3: distances 1 + 3, 1 + 2 and 3 + 2, so that the second goes first."""
    found = criterion("fpgm").scores(filters(torch.tensor([0.0, 1.0, 3.0]).reshape(3, 1, 1, 1)))
    assert found.tolist() == [4, 3, 5]


def test_fpgm_is_not_the_norm():
    """The smallest filter stands apart, and stays; of the two alike ones the first goes."""
    weight = torch.tensor([[0.1, 0.0], [5.0, 5.0], [5.0, 5.0], [6.0, 5.0]])
    assert int(criterion("fpgm").scores(filters(weight)).argmin()) == 1
    assert int(criterion("l1").scores(filters(weight)).argmin()) == 0


def test_bn_scale_is_the_absolute_factor():
    scale = torch.tensor([0.5, -2.0, 0.0])
    found = criterion("bn_scale").scores(filters(draw(0, (3, 2)), scale))
    assert found.tolist() == [0.5, 2, 0]
    with pytest.raises(LesionError, match=r"^no batch norm with a scale follows stem directly$"):
        criterion("bn_scale").scores(filters(draw(0, (3, 2)), layer="stem"))


def test_random_depends_on_seed_and_layer_alone():
    score = criterion("random").scores
    first = score(filters(draw(0, (200, 3))))
    assert torch.equal(first, score(filters(draw(1, (200, 3)))))
    assert not torch.equal(first, score(filters(draw(0, (200, 3)), seed=1)))
    assert not torch.equal(first, score(filters(draw(0, (200, 3)), layer="other")))
    assert first.min() >= 0 and first.max() < 1 and len(first.unique()) == 200
    assert 0.4 < float(first.mean()) < 0.6


def test_random_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    criterion("random").scores(filters(draw(0, (9, 3))))
    assert torch.equal(before, torch.get_rng_state())


@given(st.integers(0, 10_000), st.permutations(range(6)))
def test_scores_follow_their_filters(seed, order):
    """No criterion of weights looks at a filter's place."""
    weight = draw(seed, (6, 2, 3))
    for name in FORMULAS:
        score = criterion(name).scores
        plain, mixed = score(filters(weight)), score(filters(weight[list(order)]))
        assert mixed.tolist() == pytest.approx(plain[list(order)].tolist())


def test_an_unknown_name_is_told_the_known_ones():
    known = ", ".join(names())
    assert "bn_scale, " in known and "fpgm, " in known and "taylor" in known
    with pytest.raises(LesionError) as caught:
        criterion("fpmg")
    said = f"Expected a criterion ({known}), got 'fpmg'; did you mean fpgm?"
    assert str(caught.value) == said
    with pytest.raises(LesionError, match=r"got 'BN_Scale'; did you mean bn_scale\?$"):
        criterion("BN_Scale")
    with pytest.raises(LesionError, match=r"got 'x'; choose one of them\.$"):
        criterion("x")


def test_a_module_in_the_folder_is_a_criterion(tmp_path, monkeypatch):
    (tmp_path / "newest.py").write_text("def score(filters):\n    return -filters.weight[:, 0]\n")
    monkeypatch.setattr(criteria, "__path__", [*criteria.__path__, str(tmp_path)])
    assert "newest" in names()
    assert criterion("newest").scores(filters([[3.0, 1.0], [4.0, 1.0]])).tolist() == [-3, -4]


class Scaled(nn.Module):
    """A convolution, its batch norm, and two readers."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.second, self.fc = nn.Conv2d(6, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.fc(torch.relu(self.second(x)).mean((2, 3)))


@settings(max_examples=2, deadline=None)
@given(factor=st.floats(2, 50), place=st.integers(0, 5))
def test_the_scale_trap(factor, place, tmp_path_factory):
    """A filter and its statistics stretched alike: the same function, another l1."""
    torch.manual_seed(0)
    data = networks.random_images(40, 1, 8, 8, classes=3)
    network = networks.spread(Scaled(), data.tensors[0])
    network.norm.eps = 0
    with torch.no_grad():
        before = network(data.tensors[0])
    wanted = scores_of(network, data, tmp_path_factory.mktemp("s"))
    with torch.no_grad():
        network.conv.weight[place] *= factor
        network.norm.running_mean[place] *= factor
        network.norm.running_var[place] *= factor**2
        after = network(data.tensors[0])
    assert torch.allclose(before, after, atol=1e-4)
    found = scores_of(network, data, tmp_path_factory.mktemp("s"))
    stretched = wanted["l1"].copy()
    stretched[place] *= factor
    assert found["l1"] == pytest.approx(stretched, rel=1e-5)
    assert np.array_equal(found["bn_scale"], wanted["bn_scale"])


def scores_of(network, data, folder):
    """What a study holds of the scores of "conv"."""
    for name in ("l1", "bn_scale"):
        ready = prepare(Subject.of(network, data), folder / "s", Choices((0.5,), name))
        found = ready.study.all_scores()
        ready.study.close()
    return {name: found["conv", "free", name, 0] for name in ("l1", "bn_scale")}


def drops(images, folder, seeds):
    """Studies of the bundled ResNet-20 at 90 %: criterion, seed, file."""
    network, data = networks.resnet20(images)
    for name, own in (("l1", (0,)), ("random", seeds), ("largest", (0,))):
        for seed in own:
            path = folder / f"{name}{seed}"
            sweep(
                network, data, path, ratios=(0.9,), layers=["layer*.conv1"],
                criterion=name, seed=seed, holdout=0, full=True,
            ).close()  # fmt: skip
            yield name, seed, path


def mean_drops(images, folder, seeds):
    """The mean drop over layers by criterion, for random also over seeds; prints each layer's."""
    found: dict[str, list] = {}
    for name, _, path in drops(images, folder, seeds):
        with Study.open(path) as study:
            found.setdefault(name, []).append(curves(study).dropna().set_index("layer")["drop"])
    means = {name: sum(each) / len(each) for name, each in found.items()}
    for layer in means["l1"].index:
        print(f"{layer:16}", *(f"{name} {own[layer]:6.1f}" for name, own in means.items()))
    assert len(means["l1"]) == 9
    return {name: float(own.mean()) for name, own in means.items()}


def test_smallest_first_beats_largest_first(tmp_path):
    found = mean_drops(120, tmp_path, range(1))
    assert found["l1"] < found["largest"] - 2


@pytest.mark.complete
def test_smallest_first_beats_random_beats_largest_first(tmp_path):
    """Random as the mean over ten seeds: a single one may beat the smallest."""
    found = mean_drops(1000, tmp_path, range(10))
    print("mean drop at 90 %:", found)
    assert found["l1"] < found["random"] < found["largest"]


def test_the_lowest_of_each_criterion_fall():
    network, data = networks.plain(4)
    anatomy = dissect(network, lambda net, x: net(x), data.tensors[0]).anatomy
    for name in ("l1", "l2", "fpgm", "largest"):
        own = np.array(FORMULAS[name](network.a.weight.detach().double().numpy()))
        fallen = falling(anatomy, Target("a", "free"), own, 0.5, "floor-kept")
        assert set(np.flatnonzero(fallen)) == set(np.argsort(own)[:4])

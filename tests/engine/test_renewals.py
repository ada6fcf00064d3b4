"""Channels chosen anew: by whose scores, how many, and that the better ones come back."""

import itertools

import networks
import numpy as np
import pytest
import torch
from slicing import shrink
from test_masks import case, lesioned
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from unequal import subject as unequal_subject

from lesion.engine.base import Cut
from lesion.engine.renewals import AGP, DNS, GDP, WAYS, gradual, thresholds
from lesion.engine.retrain import Finetune
from lesion.lesions.edits import Weight
from lesion.lesions.lesion import Joint, Target
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training
from lesion.sweeps import prepare as preparing
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full

subject = unequal_subject
WORDS = sorted(WAYS)


def others(data, count=256):
    """Training images of a data set's shape that it does not hold."""
    numbers = torch.Generator().manual_seed(5)
    images, labels = data.tensors
    x = torch.randn(count, *images.shape[1:], generator=numbers, dtype=images.dtype)
    return TensorDataset(x, torch.randint(0, int(labels.max()) + 1, (count,), generator=numbers))


def prepared(network, data, path, recovery, train=None, ratios=(0.5,), **choices):
    """A sweep with a recovery, ready to run."""
    train = others(data) if train is None else train
    choices = Choices(ratios=ratios, recovery=recovery, **choices)
    return preparing.prepare(Subject.of(network, data, train=train), path, choices, Full())


def measured(ready, name, edit):
    """Outputs of a recovered lesion, and the edit that it ends with."""
    tensors, engine = ready.worker.dissection.call.tensors(ready.data), ready.worker.engine
    with torch.no_grad():
        ((_, outputs),) = engine.run(tensors, {name: Cut(edit)}, False)
        return outputs, engine.fallen(name, edit)


# --- how many, and by which scores


def test_the_thresholds_of_dns():
    """|w| = .1, .5, 1, 1.4 and c = .5: μ .75, σ .49244."""
    low, high = thresholds(np.array([0.1, 0.5, 1.0, 1.4]), 0.5)
    assert low == pytest.approx(0.8966, abs=1e-4) and high == pytest.approx(1.0958, abs=1e-4)
    assert thresholds(np.array([0.1, 0.5, 1.0, 1.4]), -9.0) == (0, 0)


def test_the_schedule_of_agp():
    found = [gradual(0.9, n / 4) for n in range(5)]
    assert found == pytest.approx([0, 0.5203, 0.7875, 0.8859, 0.9], abs=5e-5)


def renewals(way, kind="kinds", loss=None, train=None):
    """Renewals of a copy with masks."""
    network, x, units = case(kind)
    cut = lesioned(network, x, units)
    data = TensorDataset(x, torch.zeros(len(x)).long())
    training = Training.of(Subject.of(network, data, train=train or others(data)), "a test")
    return way(cut, training, 0, loss or Finetune(1).loss)


def test_dns_changes_its_mind_only_beyond_its_thresholds():
    """Lesion: the lowest two of four, so that t = 2.5: 2.25 and 2.75."""
    dns, target = renewals(DNS), Target("hidden", "free")
    masked = np.array([True, True, False, False])

    def lowest(*scores):
        return np.argsort(dns.ranked(target, np.array(scores), masked))[:2].tolist()

    assert lowest(1.0, 2.0, 3.0, 4.0) == [0, 1]
    assert lowest(1.0, 2.6, 2.4, 4.0) == [0, 1]  # between both: as it was
    assert lowest(1.0, 2.6, 2.2, 4.0) == [2, 0] or lowest(1.0, 2.6, 2.2, 4.0) == [0, 2]
    assert lowest(1.0, 2.8, 2.4, 4.0) == [0, 2]
    assert lowest(5.0, 6.0, 3.0, 4.0) == [2, 3]


def test_gdp_is_what_the_layers_give_times_its_gradients(monkeypatch):
    """|Σ z · ∂L/∂z| of each batch, by hooks on the intact network; no mask counts."""
    network, _, _ = case("kinds")
    seen, sums, made = [], {}, {}
    gdp = renewals(GDP)
    epoch = gdp.training.epoch
    monkeypatch.setattr(gdp.training, "epoch", lambda *a: (seen.append(b) or b for b in epoch(*a)))
    before, state = gdp.lesioned.dropped, copied(gdp.lesioned.network)
    found = gdp.scores(1)
    assert all(torch.equal(v, state[k]) for k, v in gdp.lesioned.network.state_dict().items())
    assert np.array_equal(gdp.lesioned.dropped, before) and gdp.lesioned.network.training
    assert [len(labels) for _, labels in seen] == [32] * 8
    network.requires_grad_(True)
    for name in ("a", "up", "last", "hidden"):
        network.get_submodule(name).register_forward_hook(keeping(made, name))
    for images, labels in seen:
        loss = F.cross_entropy(network(images), labels)
        for name, gradient in zip(made, torch.autograd.grad(loss, [*made.values()]), strict=True):
            terms = (made[name] * gradient).detach().transpose(0, 1).flatten(1).sum(1)
            sums[name] = sums.get(name, 0) + terms.abs()
    for name, wanted in sums.items():
        assert torch.allclose(found[name], wanted, rtol=1e-9), name


def copied(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def keeping(made, name):
    def hook(module, given, value):
        made[name] = value

    return hook


@pytest.mark.parametrize(
    ("weights", "gradients", "score"), [((1, -2), (1, 0.5), 0), ((0.1, 0.1), (1, 1), 0.2)]
)
def test_terms_of_a_filter_cancel_in_gdp(weights, gradients, score, monkeypatch):
    gdp = renewals(GDP, loss=lambda cut, training, batch: planted_loss(cut, gradients))
    gdp._layers = [layer for layer in gdp._layers if layer.name == "hidden"]
    monkeypatch.setattr(gdp.training, "epoch", lambda *_: [None])
    with torch.no_grad():
        gdp.lesioned.network.hidden.weight.zero_()[0, :2] = torch.tensor(weights).double()
    assert float(gdp.scores(1)["hidden"][0]) == pytest.approx(score)


def planted_loss(cut, gradients):
    """With these gradients of the first two weights of a filter, and none of its bias."""
    return (cut.network.hidden.weight[0, :2] * torch.tensor(gradients).double()).sum()


def test_agp_masks_ever_more_and_gives_none_back():
    agp = renewals(AGP)
    lesion = agp._lesion
    assert not agp.lesioned.dropped.any() and lesion.sum() == 8
    steps = []
    for number in range(1, 5):
        agp.renew(number, 4)
        steps.append(agp.lesioned.dropped.copy())
        with torch.no_grad():  # what was masked would be the best from now on
            for layer in agp._layers:
                agp.lesioned.network.get_parameter(layer.weight).mul_(torch.rand(()).double())
    for few, more in itertools.pairwise(steps):
        assert not (few & ~more).any()
    for unit in agp.lesioned.anatomy.units:
        assert steps[-1][unit.labels].sum() == lesion[unit.labels].sum()


@pytest.mark.parametrize("word", WORDS)
def test_each_unit_loses_as_many_by_the_rules_of_its_channels(word):
    """Of a grouped layer's unit in each group one, whatever the scores; and the sets do change."""
    way = renewals(WAYS[word])
    lesion, changed = way._lesion, False
    for number in range(1, 4):
        way.renew(number, 3)
        changed |= bool((way.lesioned.dropped != lesion).any())
        with torch.no_grad():
            for layer in way._layers:
                weight = way.lesioned.network.get_parameter(layer.weight)
                weight *= torch.rand(weight.shape, dtype=weight.dtype)
    for unit in way.lesioned.anatomy.units:
        for cell in unit.cells:
            fallen, wanted = (
                dropped[list(cell)].sum() for dropped in (way.lesioned.dropped, lesion)
            )
            assert fallen == wanted
    assert changed and len(way.lesioned.anatomy.unit["up"].cells) == 2


# --- what comes of it


@pytest.mark.parametrize("word", WORDS)
def test_the_damage_holds_and_outputs_are_the_smaller_networks(word, tmp_path):
    network, data = networks.resnet8(24)
    network.double()
    data = TensorDataset(data.tensors[0].double(), data.tensors[1])
    before = copied(network)
    ready = prepared(network, data, tmp_path / "s", f"finetune:4,masks={word},every=1")
    ready.data = data.tensors
    engine, anatomy = ready.worker.engine, ready.study.anatomy
    units = ("layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1")
    gone = np.zeros(anatomy.channels, bool)
    for place, name in enumerate(units):
        gone[anatomy.unit[name].labels[-(2 + place) :]] = True
    joint = Joint(units)
    edit = engine.edit(joint.at, gone)
    outputs, fallen = measured(ready, joint, edit)
    assert (fallen.dropped != gone).any()
    for unit in anatomy.units:
        assert fallen.dropped[unit.labels].sum() == gone[unit.labels].sum()
    with torch.no_grad():
        whole = engine.recovered(joint, edit).eval()
        wanted = shrink(whole, anatomy, fallen.dropped)(data.tensors[0])
    assert torch.allclose(outputs, wanted, rtol=0, atol=1e-9 * float(wanted.abs().max()))
    again = prepared(network, data, tmp_path / "t", f"finetune:4,masks={word},every=1")
    again.data = data.tensors
    assert torch.equal(measured(again, joint, edit)[0], outputs)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    ready.study.close()
    again.study.close()


def test_masks_that_stay_are_a_finetune(subject, tmp_path):
    """By l2 as the lesion's criterion, of filters whose norms lie far apart."""
    network, data = subject
    found, plain = {}, "finetune:6,lr=0.0002"
    for name in (plain, f"{plain},masks=soft,every=3", f"{plain},masks=dns,every=3"):
        ready = prepared(network, data, tmp_path / name, name, criterion="l2")
        ready.data = data.tensors
        for lesion, edit in ready.lesions.items():
            outputs, fallen = measured(ready, lesion, edit)
            assert np.array_equal(fallen.dropped, edit.dropped)
            wanted = found.setdefault(lesion.target, outputs)
            cut = {lesion: Cut(edit)}
            with torch.no_grad():
                ((_, before),) = ready.worker.engine.base.run(tuple(data.tensors), cut, False)
            assert torch.allclose(outputs, wanted, rtol=0, atol=1e-5)
            assert float((outputs - before).abs().max()) > 1e-3
        ready.study.close()
    assert len(found) == 2


class Planted(nn.Module):
    """Two hidden neurons: a large one that is dead, and a smaller one that tells the class."""

    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Linear(2, 2), nn.Linear(2, 2)
        self.a.weight.data = torch.tensor([[0.0, 1.0], [0.9, 0.0]])
        self.a.bias.data = torch.tensor([-100.0, 0.0])
        self.fc.weight.data = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])

    def forward(self, x):
        return self.fc(torch.relu(self.a(x)))


@pytest.mark.parametrize("word", WORDS)
def test_the_better_channel_comes_back(word, tmp_path):
    """l1 takes the smaller neuron, without which all is guessed; behind its mask it grows."""
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(1400, 2, generator=numbers)
    labels = (x[:, 0] < 0).long()
    data = TensorDataset(x[:200], labels[:200])
    train = TensorDataset(x[200:], labels[200:])
    right = {}
    for name in ("finetune:60,lr=0.1", f"finetune:60,lr=0.1,masks={word}"):
        ready = prepared(Planted(), data, tmp_path / name, name, train, layers=["a"])
        ready.data = data.tensors
        ((lesion, edit),) = ready.lesions.items()
        outputs, fallen = measured(ready, lesion, edit)
        right[fallen.dropped.tolist().index(True)] = (outputs.argmax(1) == data.tensors[1]).float()
        ready.study.close()
    assert right[1].mean() < 0.65 and right[0].mean() > 0.9


def test_a_lesion_of_weights_has_a_reason(tmp_path):
    network, data = networks.plain(20)
    for name, words in (("finetune:2", ""), ("finetune:2,masks=soft,every=1", "masks are of chan")):
        ready = prepared(network, data, tmp_path / name, name)
        edit = Weight.of(ready.worker.dissection, "a", torch.neg, "negative")
        assert ready.worker.engine.hindrance(edit).startswith(words)
        ready.study.close()


def test_filters_that_no_parameter_holds_have_a_reason(tmp_path):
    network, data = networks.plain(20)
    nn.utils.parametrizations.weight_norm(network.a)
    ready = prepared(network, data, tmp_path / "s", "finetune:2,masks=soft,every=1")
    reasons = {lesion.target: reason for lesion, reason in ready.study.failed.items()}
    assert reasons == {"a": "the filters of a are no parameter that masks could follow"}
    ready.study.close()

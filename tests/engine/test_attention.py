"""Attention transfer: maps by hand, what is gone counts for nothing, a user's loop agrees."""

import copy
import itertools
from types import SimpleNamespace

import networks
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lesion.engine.attention import attention, distance, noting, stage_ends
from lesion.engine.base import Cut
from lesion.engine.retrain import Distill
from lesion.errors import LesionError
from lesion.network.dissect import dissect
from lesion.subject.subject import Subject
from lesion.sweeps import prepare as preparing
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full


def run(network, x):
    return network(x)


def test_maps_by_hand():
    """Channels with (1, 0, 0, 0) and (0, 2, 0, 0): squares 1 and 4, divided by √17."""
    values = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]]])
    found = attention(values)
    assert found.tolist() == [pytest.approx([0.2425, 0.9701, 0, 0], abs=5e-5)]
    assert torch.allclose(attention(3 * values), found)
    assert attention(torch.zeros(1, 2, 3, 3)).tolist() == [[0.0] * 9]


def test_the_ends_of_stages_are_the_last_blocks():
    network, data = networks.resnet20(2)
    ends = stage_ends(dissect(network, run, data.tensors[0]).anatomy)
    assert [layer.name for layer in ends] == [f"layer{i}.2.conv2" for i in (1, 2, 3)]
    with noting(network, ends) as seen, torch.no_grad():
        network(data.tensors[0])
    assert {name: value.shape[1] for name, value in seen.items() if name.endswith("2")} == {
        **{f"layer{i}.2": 8 * 2**i for i in (1, 2, 3)},
        **{f"layer{i}.2.conv2": 8 * 2**i for i in (1, 2, 3)},
    }
    assert not any(module._forward_hooks for module in network.modules())


def test_without_stages_or_maps_it_is_refused():
    linear = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    anatomy = dissect(linear, run, torch.randn(2, 4)).anatomy
    with pytest.raises(LesionError, match=r"with stages for attention, .* leave out attention=…"):
        stage_ends(anatomy)
    network, data = networks.plain(4)
    anatomy = dissect(network, run, data.tensors[0]).anatomy
    ends, none = stage_ends(anatomy), np.zeros(anatomy.channels, bool)
    with pytest.raises(LesionError, match="to give its channels on the axis behind the images"):
        distance(anatomy, ends, {}, none, {})


def test_what_is_gone_counts_for_nothing():
    """Whatever its values; and a network has no distance to itself."""
    network, data = networks.plain(8)
    anatomy = dissect(network, run, data.tensors[0]).anatomy
    ends = stage_ends(anatomy)
    dropped = np.zeros(anatomy.channels, bool)
    other = copy.deepcopy(network)
    for layer in ends:
        gone = list(anatomy.made_by(layer.name)[2:5])
        dropped[gone] = True
        with torch.no_grad():
            other.get_submodule(layer.name).weight[2:5] *= 9
    with noting(network, ends) as teacher, torch.no_grad():
        network(data.tensors[0])
    seen = {name: value.clone() for name, value in teacher.items()}
    for name in seen:
        seen[name][:, 2:5] = 1e3 * torch.rand(())
    apart = distance(anatomy, ends, seen, dropped, teacher)
    total = 0
    for layer in ends:
        stay = [0, 1, 5, 6, 7]
        maps = [
            v.square().sum(1).flatten(1) for v in (seen[layer.name][:, stay], teacher[layer.name])
        ]
        q, q_t = (m / m.norm(dim=1, keepdim=True) for m in maps)
        total += float((q - q_t).square().sum() / len(q))
    assert float(apart) == pytest.approx(total, rel=1e-5) and total > 0
    none = np.zeros_like(dropped)
    assert float(distance(anatomy, ends, teacher, none, teacher)) == 0


@pytest.mark.parametrize("labelled", [True, False])
def test_a_users_loop_of_the_same_losses_gives_the_same(labelled, tmp_path):
    """Of a ResNet, whose stages end behind the sums of their last blocks."""
    network, data = networks.resnet8(24)
    network.double()
    data = TensorDataset(data.tensors[0].double(), data.tensors[1])
    numbers = torch.Generator().manual_seed(3)
    images = torch.randn(256, 3, 16, 16, generator=numbers).double()
    train = TensorDataset(images, torch.randint(0, 10, (256,), generator=numbers))
    teacher, share = copy.deepcopy(network), 0.9 if labelled else 1

    def looked(model, x):
        """Logits and maps of one pass."""
        maps, x = [], torch.relu(model.bn1(model.conv1(x)))
        for stage in (model.layer1, model.layer2, model.layer3):
            x = stage(x)
            maps.append(F.normalize(x.square().sum(1).flatten(1), dim=1))
        return model.fc(x.mean((2, 3))), maps

    def imitated(student, batches):
        student.train()
        sgd = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for _, (x, y) in zip(range(2), itertools.chain(batches, batches), strict=False):
            with torch.no_grad():
                goal_logits, goals = looked(teacher, x)
            soft, (logits, looks) = torch.softmax(goal_logits / 4, 1), looked(student, x)
            logs = torch.log_softmax(logits / 4, 1)
            loss = share * 16 * (soft * (soft.log() - logs)).sum(1).mean()
            loss = loss + (1 - share) * F.cross_entropy(logits, y)
            for look, goal in zip(looks, goals, strict=True):
                loss = loss + 30 / 2 * (look - goal).square().sum(1).mean()
            sgd.zero_grad()
            loss.backward()
            sgd.step()

    name = f"distill:2,attention=30{'' if labelled else ',share=1'}"
    outputs = []
    for recovery in (name, imitated, name.replace(",attention=30", "")):
        subject = Subject.of(network, data, train=train if labelled else Bare(train))
        if recovery is imitated:
            subject = Subject.of(network, data, train=train)
        choices = Choices(ratios=(0.5,), recovery=recovery, layers=["layer2.0.conv1"])
        ready = preparing.prepare(subject, tmp_path / str(len(outputs)), choices, Full())
        ((lesion, edit),) = ready.lesions.items()
        with torch.no_grad():
            tensors = ready.worker.dissection.call.tensors(data.tensors)
            outputs += ready.worker.engine.run(tensors, {lesion: Cut(edit)}, False)
        ready.study.close()
    (_, found), (_, wanted), (_, without) = outputs
    assert torch.allclose(found, wanted, rtol=0, atol=1e-9)
    assert float((found - without).abs().max()) > 1e-4
    assert not any(module._forward_hooks for module in network.modules())


class Bare(torch.utils.data.Dataset):
    """Images without labels."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index][0]


def test_its_weight_is_no_negative_number():
    given = SimpleNamespace(subject=SimpleNamespace(classes=3))
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(
            LesionError, match=r"an attention of 0 or more, got distill:2,attention"
        ):
            Distill(2, attention=value).check(given)

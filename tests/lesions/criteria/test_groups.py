"""Criteria of all that falls with a channel: by smaller networks, by hand, and Torch-Pruning's."""

import warnings

import networks
import numpy as np
import pytest
import removal
import torch
import torch_pruning as tp
from slicing import shrink
from small_networks import NETWORKS
from torch import Tensor, nn
from torchvision import models

import lesion
from lesion.errors import LesionError
from lesion.lesions.criteria import Consumer, Group, GroupCriterion, Part, criterion
from lesion.lesions.lesion import Target
from lesion.lesions.scores import Scorer
from lesion.network.dissect import dissect

NUMBERED = {"padded_and_sliced", "one_channel_expanded"}  # slicing leaves their numbers alone
WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def opened(network, *shape):
    with torch.no_grad():
        return dissect(network.eval(), lambda net, x: net(x), torch.zeros(2, *shape))


def scores(found, target, kind, chosen, seed=0):
    chosen = criterion(chosen) if isinstance(chosen, str) else chosen
    return Scorer(found, chosen, seed).scores(Target(target, kind))


class Squares(GroupCriterion):
    """Of all that falls, as it is."""

    name = "squares"

    def scores(self, group):
        return group.total(group.falling, torch.square)


def lost(case, unit, dropped, kinds, number, layers=None) -> float:
    """How much less of a number of each weight the physically smaller network has."""
    small = shrink(case.network, case.dissection.anatomy, dropped)

    def total(network):
        return sum(
            float(number(module.weight.detach().double()).sum())
            for name, module in network.named_modules()
            if isinstance(module, kinds) and module.weight is not None
            and (layers is None or name in layers)
        )  # fmt: skip

    return total(case.network) - total(small)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in NUMBERED])
def test_what_falls_is_what_a_smaller_network_lacks(name):
    """Σ w² and Σ |W_next| over a random set of a unit's channels: what slicing takes away."""
    case = removal.small(name)
    seen = 0
    for unit in case.units:
        reading = {n.name for n in case.dissection.anatomy.layers
                   if set(n.reads) & set(unit.labels) and not n.depthwise}  # fmt: skip
        if reading & set(unit.layers):
            continue  # a weight that falls with two of the channels falls once
        fallen = [scores(case.dissection, unit.name, unit.kind, each) for each in
                  (Squares(), "consumer_l1")]  # fmt: skip
        for dropped in removal.drops(unit, case.dissection.anatomy.channels, seeds=2):
            gone = dropped[list(unit.labels)]
            squares = lost(case, unit, dropped, WEIGHTED + NORMS, torch.square)
            sizes = lost(case, unit, dropped, WEIGHTED, torch.abs, reading)
            assert fallen[0][gone].sum() == pytest.approx(squares, rel=1e-9)
            assert fallen[1][gone].sum() == pytest.approx(sizes, rel=1e-9)
            seen += 1
    assert seen or name in ("added_to_its_input", "shared")


def test_a_pair_of_layers():
    """Weights (3, 1) and then (1, 5): 10 and 26, where l1 of the filters says the opposite."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1), nn.Flatten())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([3.0, 1.0]).reshape(2, 1, 1, 1))
        network[2].weight.copy_(torch.tensor([1.0, 5.0]).reshape(1, 2, 1, 1))
    found = opened(network, 1, 4, 4)
    assert scores(found, "0", "free", "group_norm") == pytest.approx([0.5556, 1.4444], abs=5e-5)
    assert scores(found, "0", "free", "consumer_l1").tolist() == [1, 5]
    assert scores(found, "0", "free", "l1").tolist() == [3, 1]


def importance(network, x, layer, prune=tp.prune_conv_out_channels, **options):
    """Torch-Pruning's of a layer's dependency group, by the layer's filters."""
    graph = tp.DependencyGraph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph.build_dependency(network.requires_grad_(True), x)
    module = network.get_submodule(layer)
    group = graph.get_pruning_group(module, prune, list(range(module.weight.shape[0])))
    return tp.importance.GroupMagnitudeImportance(**options)(group).double().numpy()


def test_group_norm_is_torch_prunings_on_resnet20():
    """Of every unit that falls by itself; its stream goes through padded shortcuts, which
    Torch-Pruning does not follow."""
    network, data = networks.resnet20(2)
    found = opened(network, 1, 28, 28)
    units = [unit for unit in found.anatomy.units if unit.kind == "free"]
    assert len(units) == 9
    for unit in units:
        wanted = importance(network, data.tensors[0], unit.name)
        assert scores(found, unit.name, "free", "group_norm") == pytest.approx(wanted, rel=1e-5)


def test_group_norm_is_torch_prunings_of_streams_and_linear_layers():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 32, 32)
    network = networks.spread(models.resnet18(num_classes=10), x)
    found = opened(network, 3, 32, 32)
    units = [unit for unit in found.anatomy.units if unit.kind != "tied"]
    assert {unit.kind for unit in units} == {"free", "coupled"}
    for unit in units:
        wanted = importance(network, x, unit.name)
        order = np.array(found.anatomy.made_by(unit.name)) - unit.first
        score = scores(found, unit.name, unit.kind, "group_norm")
        assert score[order] == pytest.approx(wanted, rel=1e-5)
    network, data = networks.vgg(2)  # flattened to 24 · 16 inputs of a linear layer
    found = opened(network, 3, 32, 32)
    for name, prune in (("0.8", tp.prune_conv_out_channels), ("2", tp.prune_linear_out_channels)):
        wanted = importance(network, data.tensors[0], name, prune)
        kind = found.anatomy.unit[name].kind
        assert scores(found, name, kind, "group_norm") == pytest.approx(wanted, rel=1e-5)


def test_torch_pruning_leaves_depthwise_filters_out():
    network, data = networks.mobilenet(2)
    found = opened(network, 3, 32, 32)
    unit = next(
        unit for unit in found.anatomy.units if unit.kind == "free" and len(unit.layers) > 1
    )
    first, depthwise = unit.layers
    assert found.anatomy.layer[depthwise].depthwise
    plain = importance(network, data.tensors[0], first, normalizer=None, group_reduction="sum")
    filters = network.get_submodule(depthwise).weight.detach().double().flatten(1)
    wanted = plain + (filters**2).sum(1).numpy()
    assert scores(found, unit.name, "free", Squares()) == pytest.approx(wanted, rel=1e-5)


def test_torch_pruning_reads_grouped_layers_at_one_place_of_all_groups():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 2),
    )  # fmt: skip
    found = opened(network, 1, 4, 4)
    made, read = (network[place].weight.detach().double() for place in (0, 2))
    by_group = (read**2).reshape(2, 3, 2).sum(1).flatten().numpy()  # of (filters 6, 2 inputs)
    own = (made**2).flatten().numpy()
    assert scores(found, "0", "free", Squares()) == pytest.approx(own + by_group)
    every = (read**2).sum((0, 2, 3)).repeat(2).numpy()
    theirs = importance(
        network, torch.zeros(2, 1, 4, 4), "0", normalizer=None, group_reduction="sum"
    )
    assert theirs == pytest.approx(own + every, rel=1e-5)


class Branched(nn.Module):
    """a and, through a depthwise layer, b add into a sum that c reads; d reads a before the sum."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(1, 4, 1)
        self.depth = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.after, self.c, self.d = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1), nn.Conv2d(4, 3, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        a, b = self.norm(self.a(x)), self.depth(self.b(x))
        y = self.c(torch.relu(self.after(a + b))) + self.d(a)
        return self.fc(y.mean((2, 3)))


def test_a_branch_has_its_own_part_alone():
    """What reads the sum stays, and so does the norm behind it: they are the other's too."""
    torch.manual_seed(0)
    network = Branched()
    for module in (network.norm, network.after):
        nn.init.normal_(module.weight)
    found = opened(network, 1, 4, 4)
    weight = {name: value.detach().double() for name, value in network.named_parameters()}
    square = {name: (value.flatten(1) if value.dim() > 1 else value[:, None]).square().sum(1)
              for name, value in weight.items()}  # fmt: skip
    read = {name: weight[f"{name}.weight"].reshape(3, 4) for name in "cd"}
    fallen = {name: sum(square[f"{each}.weight"] for each in each_of) for name, each_of in
              {"a": ("a", "norm"), "b": ("b", "depth")}.items()}  # fmt: skip
    total = fallen["a"] + fallen["b"] + square["after.weight"]
    total = total + sum(each.square().sum(0) for each in read.values())
    wanted = {
        ("a", "coupled", "squares"): total,
        ("a", "branch", "squares"): fallen["a"],
        ("b", "branch", "squares"): fallen["b"],
        ("a", "coupled", "consumer_l1"): read["c"].abs().sum(0) + read["d"].abs().sum(0),
        ("a", "branch", "consumer_l1"): read["c"].abs().sum(0) + read["d"].abs().sum(0),
        ("b", "branch", "consumer_l1"): read["c"].abs().sum(0),
    }
    for (target, kind, name), expected in wanted.items():
        chosen = Squares() if name == "squares" else name
        assert scores(found, target, kind, chosen) == pytest.approx(expected.numpy()), (
            target,
            kind,
        )


def test_a_branch_of_a_stream_is_read_behind_it_alone():
    """The second stage's branch of a ResNet: what the first stage reads comes before it."""
    network, _ = networks.resnet8(4)
    found = opened(network, 3, 16, 16)
    wanted = network.layer3[0].conv1.weight.detach().double().abs().sum((0, 2, 3)).numpy()
    rest = network.fc.weight.detach().double().abs().sum(0).numpy()
    labels = found.anatomy.made_by("layer2.0.conv2")
    read = found.anatomy.layer["fc"].reads
    places = [read.index(label) for label in labels]
    score = scores(found, "layer2.0.conv2", "branch", "consumer_l1")
    assert score == pytest.approx(wanted + rest[places])


def test_filters_that_fall_together_share_a_score():
    """As filters of a layer; as channels of a unit, each once."""
    case = removal.small("gated_halves")
    whole = scores(case.dissection, "a", "free", Squares())
    filters = scores(case.dissection, "a", "layer", "consumer_l1")
    assert len(whole) == 6 and len(filters) == 12
    assert filters[:6] == pytest.approx(filters[6:])


class Drawn(lesion.GroupCriterion):
    """A user's: by the seed, and by what is known of the group."""

    name = "drawn"

    def scores(self, group: lesion.Group) -> Tensor:
        if not group.factors:
            raise LesionError("no norm follows")
        return torch.full((group.channels,), float(group.seed))


def test_a_users_criterion_of_groups(tmp_path):
    network, data = networks.plain(40)
    with lesion.sweep(network, data, tmp_path / "s", criterion=Drawn(), seed=3, images=16) as study:
        assert study.scores("a", "free", "drawn", 3).tolist() == [3.0] * 8
        assert [(skip.target, skip.reason) for skip in study.skipped
                if skip.kind == "free"] == [("b", "no norm follows")]  # fmt: skip
        assert {each.criterion for each in study.lesions} == {"drawn"}


def test_a_criterion_of_groups_that_fails_is_a_reason():
    class Broken(GroupCriterion):
        name = "broken"

        def scores(self, group):
            return torch.zeros(group.channels + 1)

    found = opened(networks.plain(2)[0], 1, 8, 8)
    with pytest.raises(LesionError, match=r"broken gives \(9,\) scores for its 8 channels"):
        scores(found, "a", "free", Broken())


def test_what_no_weight_reads_has_no_consumer_norm():
    group = Group("a", 2, (Part("a", torch.ones(2, 3), torch.arange(2)),), (), (), False, 0)
    with pytest.raises(LesionError, match=r"^no layer's weights read its channels$"):
        criterion("consumer_l1").scores(group)
    assert criterion("group_norm").scores(group).tolist() == [1, 1]


def test_weights_of_zero_have_a_norm_of_zero():
    both = torch.arange(2)
    read = Consumer("b", torch.zeros(2, 3), both, both)
    group = Group("a", 2, (Part("a", torch.zeros(2, 3), both),), (), (read,), False, 0)
    assert criterion("group_norm").scores(group).tolist() == [0, 0]

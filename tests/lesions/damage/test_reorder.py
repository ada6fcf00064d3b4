"""Reordered blocks: a replayed lesion gives what the network gives whose modules were permuted."""

import copy
import pickle
from collections import Counter
from functools import cache

import compressible
import pytest
import torch
from networks import spread
from shortened import Forward, opened, planned
from small_networks import conv, fc
from torch import nn
from torchvision.models import MobileNetV2, ResNet, VisionTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import Bottleneck

from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.engine.whole import Whole
from lesion.errors import LesionError
from lesion.lesions.damage import Settings, damage, plan
from lesion.lesions.damage.reorder import kendall_tau
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.network.anatomy import Anatomy, Block, Layer
from lesion.network.dissect import dissect
from lesion.sweeps.whole_network import Copies
from lesion.zoo.networks import CifarResNet

EXPANDED = [[1, 8, 1, 1], [6, 8, 4, 2], [6, 16, 4, 1]]
GATED = [InvertedResidualConfig(8, 3, 16, 8, True, "HS", stride, 1, 1.0) for stride in (2, 1, 1, 1)]
FAMILIES = {
    "cifar": (lambda: CifarResNet(20), 8),
    "bottleneck": (lambda: ResNet(Bottleneck, [3, 3, 1, 1], num_classes=5, width_per_group=8), 32),
    "inverted": (lambda: MobileNetV2(5, 1.0, EXPANDED), 32),
    "gated": (lambda: MobileNetV3(GATED, 16, 5), 32),
    "convnext": (
        lambda: ConvNeXt(
            [CNBlockConfig(8, 16, 3), CNBlockConfig(16, None, 3)], layer_scale=1, num_classes=5
        ),
        32,
    ),
    "transformer": (lambda: VisionTransformer(16, 8, 3, 2, 8, 16, num_classes=5), 16),
    "post-norm": (lambda: PostNorm(), 8),
}
# which modules, by hand, may change places with which others
MOVING = {
    "cifar": [[f"layer{stage}.{place}" for place in range(stage > 1, 3)] for stage in (1, 2, 3)],
    "bottleneck": [["layer1.1", "layer1.2"], ["layer2.1", "layer2.2"]],
    "inverted": [
        ["features.3", "features.4", "features.5"],
        ["features.7", "features.8", "features.9"],
    ],
    "gated": [["features.2", "features.3", "features.4"]],
    "convnext": [[f"features.{stage}.{place}" for place in range(3)] for stage in (1, 3)],
}


class PostNorm(nn.Module):
    """Layers that normalise what they add."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        layers = [nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(3)]
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.layers(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


@cache
def reordering(family):
    make, size = FAMILIES[family]
    torch.manual_seed(0)
    x = torch.randn(4, 3, size, size)
    network = make()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)  # so that blocks differ in these as well
            elif not parameter.any():
                parameter.normal_()  # a head that starts with zeros answers nothing
    network = spread(network, x).double().eval()
    dissection = dissect(network, lambda net, batch: net(batch), x.double()[:2])
    return network, x.double(), dissection


def lesions_of(family, amounts=(1, 3), draws=2):
    dissection, kind = reordering(family)[2], damage(f"reorder:draws={draws}")
    targets, skipped = kind.targets(dissection.anatomy)
    scores = dict.fromkeys(targets)
    lesions, nothing = plan(dissection.anatomy, scores, amounts, Settings(), kind)
    return {each: kind.edit(dissection, each, None) for each in lesions}, [*skipped, *nothing]


def moves_of(anatomy, lesion):
    """Of each block's place that another takes, that block."""
    places = [block.name for block in anatomy.blocks]
    order = damage("reorder").order(anatomy, lesion)
    assert sorted(order) == sorted(places)
    return {place: name for place, name in zip(places, order, strict=True) if place != name}


def permuted(family, network, moves):
    """A copy whose modules were put in each other's places."""
    other = copy.deepcopy(network)
    for place, block in moves.items():
        for to, moved in zip(parts(family, place), parts(family, block), strict=True):
            other.set_submodule(to, copy.deepcopy(network.get_submodule(moved)))
    return other


def parts(family, block):
    """The modules that a block is."""
    layer, _, last = block.rpartition(".")
    match family:
        case "cifar" | "bottleneck":
            return [block]
        case "transformer":
            return [block, f"{layer}.{'ln_2' if last == 'mlp' else 'ln_1'}"]
        case "post-norm":
            if last == "self_attn":
                return [block, f"{layer}.norm1"]
            return [f"{block}.{name}" for name in ("linear1", "linear2", "norm2")]
        case _:
            return [layer]


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_replays_are_those_of_the_permuted_network(family):
    network, x, dissection = reordering(family)
    edits, _ = lesions_of(family)
    assert len({lesion.target for lesion in edits}) == 2
    outputs = dict(Replay(dissection).run((x,), {each: Cut(edit) for each, edit in edits.items()}))
    scale = float(outputs[None].abs().max())
    for lesion, edit in edits.items():
        moves = moves_of(dissection.anatomy, lesion)
        wanted = permuted(family, network, moves)(x)
        assert float((wanted - outputs[None]).abs().max()) > 1e-6 * scale, lesion.key
        assert float((outputs[lesion] - wanted).abs().max()) < 1e-10 * scale, lesion.key
        assert pickle.loads(pickle.dumps(edit)).key == edit.key
    keys = {edit.key: str(moves_of(dissection.anatomy, each)) for each, edit in edits.items()}
    assert len(keys) == len(set(keys.values()))


@pytest.mark.parametrize("family", MOVING)
def test_blocks_of_equal_shape_swap_within_their_stage_and_no_others(family):
    anatomy = reordering(family)[2].anatomy
    swaps, blocks = set(), [block.name for block in anatomy.blocks]
    kind = damage("reorder")
    for seed in range(60):
        lesion = kind.lesion(anatomy, Target("draw 1", "network"), 1, None, Settings(seed=seed))
        swaps.add(frozenset(moves_of(anatomy, lesion)))
    wanted = {
        frozenset(block for block in blocks for name in pair if f"{block}.".startswith(f"{name}."))
        for group in MOVING[family]
        for pair in ((a, b) for a in group for b in group if a < b)
    }
    assert swaps == wanted


@torch.no_grad()
@pytest.mark.parametrize("family", ["cifar", "gated", "convnext"])
def test_whole_passes_and_copies_are_permuted_too(family):
    network, x, dissection = reordering(family)
    whole, copies = Whole(dissection), Copies(dissection)
    for lesion, edit in lesions_of(family, (3,), 1)[0].items():
        assert whole.obstacle(edit) == copies.obstacle(edit) == ""
        wanted = permuted(family, network, moves_of(dissection.anatomy, lesion))(x)
        ((_, output),) = whole.run((x,), {lesion: Cut(edit)}, intact=False)
        torch.testing.assert_close(output, wanted)
        torch.testing.assert_close(copies.copy(edit)(x), wanted)


def test_a_network_runs_as_a_whole_on_attention_only_where_its_modules_run():
    dissection = reordering("transformer")[2]
    edits, _ = lesions_of("transformer", (8,), 4)
    held = [Copies(dissection).obstacle(edit) for edit in edits.values()]
    assert any("out_proj" in reason or "in_proj" in reason for reason in held)


@pytest.mark.parametrize(
    ("order", "tau"),
    [
        ((0, 1, 2), 1),
        ((1, 0, 2), 1 / 3),
        ((2, 1, 0), -1),
        ((3, 1, 2, 0), -2 / 3),  # one pair of six in order
        ((0, 1, 2, 3, 4, 5, 7, 6, 8), 34 / 36),
    ],
)
def test_kendalls_tau_counts_pairs_in_order_less_those_that_are_not(order, tau):
    assert kendall_tau(order) == pytest.approx(tau)


def test_kendalls_tau_of_a_lesion_is_of_all_blocks():
    anatomy = reordering("cifar")[2].anatomy
    names = [block.name for block in anatomy.blocks]
    for lesion in lesions_of("cifar")[0]:
        order = [names.index(name) for name in damage("reorder").order(anatomy, lesion)]
        pairs = [(a, b) for at, a in enumerate(order) for b in order[at + 1 :]]
        tau = sum(1 if a < b else -1 for a, b in pairs) / len(pairs)
        assert damage("reorder").kendall_tau(anatomy, lesion) == pytest.approx(tau)


def test_swaps_of_one_amount_are_the_first_of_all_larger_ones():
    anatomy, kind = reordering("cifar")[2].anatomy, damage("reorder")
    for seed in range(3):
        before = [block.name for block in anatomy.blocks]
        for amount in range(1, 17):
            lesion = Lesion("draw 2", "network", "", amount, 0, 0, "reorder", "", seed)
            order = kind.order(anatomy, lesion)
            changed = [at for at, pair in enumerate(zip(before, order, strict=True))
                       if len(set(pair)) > 1]  # fmt: skip
            assert len(changed) == 2
            before = order


def alike(*stages: int) -> Anatomy:
    """Blocks of one shape each, so many a stage."""
    layers = {
        f"{stage}.{place}": Layer(
            f"{stage}.{place}", 1, "conv2d", 4, 4, 1, (3, 3), (8, 8), 64, 1, "", None, "", ""
        )
        for stage, count in enumerate(stages, 1)
        for place in range(count)
    }
    blocks = tuple(Block(name, (name,), stage=int(name[0])) for name in layers)
    return Anatomy(tuple(layers.values()), (), (), blocks=blocks)


def test_draws_favour_no_pair():
    anatomy, swaps = alike(3, 2), Counter()
    for seed in range(100):
        for number in range(1, 21):
            lesion = Lesion(f"draw {number}", "network", "", 1, 0, 0, "reorder", "", seed)
            swaps[frozenset(moves_of(anatomy, lesion))] += 1
    assert len(swaps) == 4  # three pairs of the first stage, one of the second
    assert all(abs(count - 500) < 4 * (2000 * 3 / 16) ** 0.5 for count in swaps.values())


def test_amounts_that_leave_all_in_place_have_a_reason():
    kind = damage("reorder")
    planned_ = [
        kind.lesion(alike(2), Target("draw 1", "network"), amount, None, Settings())
        for amount in (1, 2, 3)
    ]
    assert [isinstance(each, Lesion) for each in planned_] == [True, False, True]
    assert planned_[1].reason == "2 swaps: they leave every block in its place"


def test_more_draws_leave_the_first_as_they_are():
    anatomy = reordering("cifar")[2].anatomy
    few, many = (damage(f"reorder:draws={count}").targets(anatomy)[0] for count in (2, 7))
    assert many[:2] == few and len(many) == 7
    assert len(damage("reorder").targets(anatomy)[0]) == 5
    with pytest.raises(LesionError, match="Expected draws of 1 or more, got 0"):
        damage("reorder:draws=0")
    with pytest.raises(LesionError, match=r"Expected reorder of all layers.*leave the patterns"):
        damage("reorder").targets(anatomy, "free", ["layer1.*"])


def test_nothing_is_saved():
    anatomy = reordering("cifar")[2].anatomy
    lesions = list(lesions_of("cifar", draws=1)[0])
    for lesion in lesions:
        shares = damage("reorder").footprint(anatomy, lesion).shares
        assert set(shares.values()) == {0.0}
    gains = [damage("reorder").saving(anatomy, lesion) for lesion in lesions]
    assert gains == sorted(gains)


def reasons(anatomy):
    targets, skipped = damage("reorder").targets(anatomy)
    return targets, {skip.target: skip.reason for skip in skipped}


def test_layers_that_never_move_have_a_reason():
    targets, why = reasons(reordering("bottleneck")[2].anatomy)
    assert len(targets) == 5
    outside, alone = "it belongs to no residual block", "no other block of its stage has layers"
    assert why["conv1"] == why["fc"] == why["layer1.0.downsample.0"] == outside
    assert why["layer1.0.conv2"].startswith(alone)
    assert why["layer2.0.conv2"] == "its block changes the stream's shape"
    assert not [name for name in why if name.startswith(("layer1.1", "layer2.2"))]


@pytest.mark.parametrize("family", ["basic", "densenet"])
def test_a_network_without_two_equal_blocks_has_rows_with_a_reason(family):
    anatomy = opened(family)[2].anatomy
    targets, why = reasons(anatomy)
    assert not targets and why.keys() == anatomy.layer.keys()
    inside = {name for block in anatomy.blocks for name in block.members}
    known = {
        "basic": {
            "no other block of its stage has layers of the same shapes",
            "its block changes the stream's shape",
        },
        "densenet": {"its block is concatenated to its stream, which is wider behind it"},
    }
    assert {why[name] for name in inside} == known[family]
    assert planned(family, "reorder", [1])[0] == {}


def test_a_plain_network_has_none():
    anatomy = compressible.opened("vgg")[2].anatomy
    targets, why = reasons(anatomy)
    assert not targets and set(why.values()) == {"it belongs to no residual block"}


def test_recoveries_have_a_reason():
    anatomy, target = reordering("cifar")[2].anatomy, Target("draw 1", "network")
    skip = damage("reorder").lesion(anatomy, target, 1, None, Settings(recovery="bn"))
    assert isinstance(skip, Skipped) and skip.reason.endswith("not after a recovery by bn")


class Residual(nn.Module):
    def __init__(self, act, dilation=1, after=None):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=dilation, dilation=dilation)
        self.act, self.after = act, after

    def forward(self, x):
        x = x + self.act(self.conv(x))
        return x if self.after is None else self.after(x)


class Prepared(Residual):
    def forward(self, x):
        x = self.after(x)
        return x + self.act(self.conv(x))


class Leaking(Residual):
    def forward(self, x):
        self.inner = self.conv(x)
        return x + self.after(self.act(self.inner))


SUM = "what follows the sums of a and b differs"
APART = "a and b have layers of equal shapes, but their operations do not correspond one by one"


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (Residual(nn.ReLU()), Residual(nn.SiLU()), APART),
        (Residual(nn.ReLU()), Residual(nn.ReLU(), 2), APART),
        (Residual(nn.ReLU(), after=nn.ReLU()), Residual(nn.ReLU()), SUM),
        (Residual(nn.ReLU(), after=nn.BatchNorm2d(4)), Residual(nn.ReLU(), after=nn.ReLU()), SUM),
        (Prepared(nn.ReLU(), after=nn.ReLU()), Prepared(nn.ReLU(), after=nn.ReLU()),
         "a changes its stream before it adds to it"),
        (Leaking(nn.ReLU(), after=conv(4, 4)), Leaking(nn.ReLU(), after=conv(4, 4)),
         "the network reads what a computes inside"),
    ],
)  # fmt: skip
def test_blocks_that_do_not_correspond_have_a_reason(a, b, reason):
    def step(n, x):
        x = n.b(n.a(n.stem(x)))
        inner = n.a.inner * n.b.inner if isinstance(a, Leaking) else 1
        return n.fc((x * inner).mean((2, 3)))

    network = Forward(step, stem=conv(3, 4), a=a, b=b, fc=fc(4)).eval()
    dissection = dissect(network, lambda net, batch: net(batch), torch.randn(2, 3, 8, 8))
    kind, target = damage("reorder"), Target("draw 1", "network")
    assert [block.name for block in dissection.anatomy.blocks] == ["a", "b"]
    lesion = kind.lesion(dissection.anatomy, target, 1, None, Settings())
    with pytest.raises(LesionError) as refused:
        kind.edit(dissection, lesion, None)
    assert str(refused.value) == reason


@torch.no_grad()
def test_what_several_blocks_stand_in_keeps_its_own_operations():
    def step(n, x):
        x = n.stem(x)
        x = x + n.a(x)
        return n.fc(n.norm(x + n.b(x)).mean((2, 3)))

    parts_ = {"stem": conv(3, 4), "a": conv(4, 4), "b": conv(4, 4), "norm": nn.BatchNorm2d(4)}
    network = Forward(step, **parts_, fc=fc(4)).double().eval()
    x = torch.randn(2, 3, 8, 8).double()
    dissection = dissect(network, lambda net, batch: net(batch), x)
    kind, target = damage("reorder"), Target("draw 1", "network")
    lesion = kind.lesion(dissection.anatomy, target, 1, None, Settings())
    cut = Cut(kind.edit(dissection, lesion, None))
    output = dict(Replay(dissection).run((x,), {lesion: cut}))[lesion]
    other = copy.deepcopy(network)
    other.a, other.b = other.b, other.a
    torch.testing.assert_close(output, other(x))

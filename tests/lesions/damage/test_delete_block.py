"""Deleted blocks: a replayed lesion gives what a really shortened network gives, and costs as
much."""

import copy
from functools import cache

import compressible
import pytest
import torch
from networks import spread
from torch import nn
from torch.nn import functional as F
from torchvision.models import MobileNetV2, ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.engine.whole import Whole
from lesion.lesions.damage import Settings, damage, plan
from lesion.network.dissect import dissect
from lesion.sweeps.whole_network import Copies
from lesion.zoo.networks import CifarResNet

INVERTED = [[1, 8, 1, 1], [6, 8, 2, 2], [6, 16, 2, 1]]
FAMILIES = {
    "cifar": (lambda: CifarResNet(14), (3, 16, 16)),
    "basic": (lambda: ResNet(BasicBlock, [1, 2, 1, 1], num_classes=5), (3, 32, 32)),
    "bottleneck": (lambda: ResNet(Bottleneck, [2, 1, 1, 1], num_classes=5), (3, 32, 32)),
    "inverted": (lambda: MobileNetV2(5, 1.0, INVERTED), (3, 32, 32)),
    "densenet": compressible.FAMILIES["densenet"],
    "convnext": compressible.FAMILIES["convnext"],
    "transformer": compressible.FAMILIES["transformer"],
}
BLOCKS = {
    "cifar": [f"layer{stage}.{place}" for stage in (1, 2, 3) for place in (0, 1)],
    "basic": ["layer1.0", "layer2.0", "layer2.1", "layer3.0", "layer4.0"],
    "bottleneck": ["layer1.0", "layer1.1", "layer2.0", "layer3.0", "layer4.0"],
    "inverted": ["features.3.conv", "features.5.conv"],
    "densenet": [
        f"features.denseblock{part}.denselayer{place}" for part in (1, 2) for place in (1, 2)
    ],
    "convnext": ["features.1.0.block", "features.3.0.block"],
    "transformer": [
        f"encoder.layers.encoder_layer_{place}.{part}"
        for place in (0, 1)
        for part in ("self_attention", "mlp")
    ],
}


class Forward(nn.Module):
    """Some modules and a forward of them."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.step = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args):
        return self.step(self, *args)


def without_channels(network, block, first, count):
    """What reads channels of a dense block's features reads them no longer."""

    def shorter(module, axis, names):
        for name in names:
            values = getattr(module, name)
            parts = (
                values.narrow(axis, 0, first),
                values.narrow(axis, first + count, values.shape[axis] - first - count),
            )
            setattr(module, name, type(values)(torch.cat(parts, axis), False)
                    if isinstance(values, nn.Parameter) else torch.cat(parts, axis))  # fmt: skip

    features, number = network.features, int(block[-1])
    readers = [
        (layer.norm1, layer.conv1)
        for layer in features.get_submodule(block).values()
        if layer.conv1.in_channels > first
    ]
    transition = getattr(features, f"transition{number}", None)
    readers.append((transition.norm, transition.conv) if transition
                   else (features.norm5, network.classifier))  # fmt: skip
    for norm, layer in readers:
        shorter(norm, 0, ("weight", "bias", "running_mean", "running_var"))
        shorter(layer, 1, ("weight",))


@torch.no_grad()
def shortened(family, network, name):
    """A copy of the network that lacks a block."""
    short = copy.deepcopy(network)
    parent, _, last = name.rpartition(".")
    match family:
        case "cifar":
            block = short.get_submodule(name)
            pad, stride = (0, 0, 0, 0, 0, block.new_channels), block.stride
            short.set_submodule(
                name, Forward(lambda _, x: F.relu(F.pad(x[:, :, ::stride, ::stride], pad)))
            )
        case "basic" | "bottleneck":
            projection = short.get_submodule(name).downsample or nn.Identity()
            short.set_submodule(name, nn.Sequential(projection, nn.ReLU()))
        case "inverted":
            short.set_submodule(parent, nn.Identity())
        case "convnext":
            short.set_submodule(parent, nn.Identity())
        case "transformer":
            layer = short.get_submodule(parent)
            if last == "mlp":
                kept = Forward(
                    lambda m, x: x + m.attention(*[m.norm(x)] * 3, need_weights=False)[0],
                    norm=layer.ln_1, attention=layer.self_attention,
                )  # fmt: skip
            else:
                kept = Forward(lambda m, x: x + m.mlp(m.norm(x)), norm=layer.ln_2, mlp=layer.mlp)
            short.set_submodule(parent, kept)
        case "densenet":
            dense, growth = parent.rpartition(".")[2], 8
            block = short.get_submodule(parent)
            first = block["denselayer1"].conv1.in_channels + growth * (int(last[-1]) - 1)
            del block[last]
            without_channels(short, dense, first, growth)
    return short


def costs(network, x):
    """Numbers of its layers' weights and biases, and their multiply-accumulates for an image."""
    kinds = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)
    macs, hooks = [], []

    def count(module, _, output):
        values = output[0] if isinstance(output, tuple) else output
        if isinstance(module, nn.MultiheadAttention):
            weights = module.in_proj_weight.numel() + module.out_proj.weight.numel()
            macs.append(values.shape[1] * weights)
        else:
            macs.append(values[0].numel() * module.weight[0].numel())

    layers = [module for module in network.modules() if isinstance(module, kinds)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.enable_grad():  # attention takes its fast path without
        network(x)
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for layer in layers for p in layer.parameters(False)), sum(macs)


@cache
def opened(family):
    make, shape = FAMILIES[family]
    torch.manual_seed(0)
    x = torch.randn(4, *shape)
    network, x = spread(make(), x).double().eval(), x.double()[:2]
    dissection = dissect(network, lambda net, batch: net(batch), x)
    kind = damage("delete_block")
    targets, skipped = kind.targets(dissection.anatomy)
    lesions, nothing = plan(dissection.anatomy, dict.fromkeys(targets), [1], Settings(), kind)
    assert not nothing
    edits = {lesion: kind.edit(dissection, lesion, None) for lesion in lesions}
    return network, x, dissection, edits, skipped


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_replays_are_the_shortened_network(family):
    network, x, dissection, edits, _ = opened(family)
    assert [lesion.target for lesion in edits] == BLOCKS[family]
    outputs = dict(Replay(dissection).run((x,), {key: Cut(edit) for key, edit in edits.items()}))
    for lesion in edits:
        wanted = shortened(family, network, lesion.target)(x)
        effect = float((wanted - outputs[None]).abs().max())
        assert effect > 0, lesion.key
        assert float((outputs[lesion] - wanted).abs().max()) < 1e-9 * effect, lesion.key
    assert len({edit.key for edit in edits.values()}) == len(edits)


@pytest.mark.parametrize("family", FAMILIES)
def test_savings_are_those_of_the_shortened_network(family):
    network, x, dissection, edits, _ = opened(family)
    parameters, macs = costs(network, x)
    for lesion in edits:
        saving = damage("delete_block").footprint(dissection.anatomy, lesion)
        less_parameters, less_macs = costs(shortened(family, network, lesion.target), x)
        assert saving.whole.parameters - saving.left.parameters == parameters - less_parameters
        assert saving.whole.macs - saving.left.macs == macs - less_macs > 0
        if family != "densenet":
            assert set(saving.shares.values()) == {1.0}


@torch.no_grad()
@pytest.mark.parametrize("family", ["cifar", "inverted", "convnext", "transformer"])
def test_whole_passes_and_copies_lack_the_block_too(family):
    network, x, dissection, edits, _ = opened(family)
    whole, copies = Whole(dissection), Copies(dissection)
    for lesion, edit in edits.items():
        if lesion.target.endswith("attention"):  # which reads weights of a module that never runs
            assert copies.obstacle(edit).endswith("the sum in " + lesion.target.rpartition(".")[0])
            continue
        assert whole.obstacle(edit) == copies.obstacle(edit) == ""
        wanted = shortened(family, network, lesion.target)(x)
        ((_, output),) = whole.run((x,), {lesion: Cut(edit)}, intact=False)
        torch.testing.assert_close(output, wanted)
        torch.testing.assert_close(copies.copy(edit)(x), wanted)


def test_layers_outside_blocks_have_a_reason():
    reasons = {
        family: {skip.target: skip.reason for skip in opened(family)[4]}
        for family in ("bottleneck", "inverted", "cifar")
    }
    stays = "it projects the stream beside a block, and stays without the block"
    alone = "no stream passes beside it that could take its place"
    assert reasons["cifar"] == {"conv1": alone, "fc": alone}
    assert {name for name, reason in reasons["bottleneck"].items() if reason == stays} == {
        f"layer{stage}.0.downsample.0" for stage in (1, 2, 3, 4)
    }
    without_shortcut = {"features.2.conv.0.0", "features.4.conv.2", "features.0.0"}
    assert {reasons["inverted"][name] for name in without_shortcut} == {alone}


def test_layers_choose_the_blocks_that_hold_them():
    anatomy, kind = opened("cifar")[2].anatomy, damage("delete_block")
    targets, skipped = kind.targets(anatomy, "free", ["layer2.*conv2", "fc"])
    assert [target.name for target in targets] == ["layer2.0", "layer2.1"]
    assert [skip.target for skip in skipped] == ["fc"]


def test_a_plain_network_has_none():
    anatomy = compressible.opened("vgg")[2].anatomy
    targets, skipped = damage("delete_block").targets(anatomy)
    assert not targets and len(skipped) == len(anatomy.layers)

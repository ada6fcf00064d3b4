"""Networks that lack blocks, edited by hand: what deleted blocks are compared with."""

import copy
from functools import cache

import compressible
import torch
from networks import spread
from torch import nn
from torch.nn import functional as F
from torchvision.models import MobileNetV2, ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.lesions.damage import Settings, damage, plan
from lesion.network.dissect import dissect
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
def shortened(family, network, *names):
    """A copy of the network that lacks blocks."""
    short = copy.deepcopy(network)
    for name in sorted(names, reverse=True):  # so that channels before one's own are all there
        shorten(family, short, name)
    return short


def shorten(family, short, name):
    """The network lacks a block from now on."""
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
            if isinstance(layer, Forward):  # which has lost its other block already
                kept = nn.Identity()
            elif last == "mlp":
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
    """A network of a family in double precision, images, and what it is made of."""
    make, shape = FAMILIES[family]
    torch.manual_seed(0)
    x = torch.randn(4, *shape)
    network, x = spread(make(), x).double().eval(), x.double()[:2]
    return network, x, dissect(network, lambda net, batch: net(batch), x)


def planned(family, name, amounts, seed=0):
    """The edits of a damage's lesions, and its targets and amounts without."""
    dissection, kind = opened(family)[2], damage(name)
    targets, skipped = kind.targets(dissection.anatomy)
    scores = dict.fromkeys(targets)
    lesions, nothing = plan(dissection.anatomy, scores, amounts, Settings(seed=seed), kind)
    edits = {lesion: kind.edit(dissection, lesion, None) for lesion in lesions}
    return edits, [*skipped, *nothing]


def saved(dissection, lesion):
    """How many numbers and multiply-accumulates a lesion saves, and what it saves them of."""
    saving = damage(lesion.damage).footprint(dissection.anatomy, lesion)
    less = (
        getattr(saving.whole, key) - getattr(saving.left, key) for key in ("parameters", "macs")
    )
    return tuple(less), saving.whole


@torch.no_grad()
def assert_shortened(family, edits):
    """Replayed lesions give, and save, what networks do that lack their blocks; gives outputs.

    edits: of each lesion its edit, and the names of its blocks
    """
    network, x, dissection = opened(family)
    cuts = {lesion: Cut(edit) for lesion, (edit, _) in edits.items()}
    outputs = dict(Replay(dissection).run((x,), cuts))
    parameters, macs = costs(network, x)
    for lesion, (_, names) in edits.items():
        short = shortened(family, network, *names)
        wanted = short(x)
        effect = float((wanted - outputs[None]).abs().max())
        assert effect > 0, lesion.key
        assert float((outputs[lesion] - wanted).abs().max()) < 1e-9 * effect, lesion.key
        less_parameters, less_macs = costs(short, x)
        assert saved(dissection, lesion)[0] == (parameters - less_parameters, macs - less_macs)
    return outputs

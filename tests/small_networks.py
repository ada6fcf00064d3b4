"""Small networks, one a kind of coupling, whose units were derived by hand.

UNITS says for each what falls together: unit name → (kind, channels, cells). The classifier `fc` of
every network is tied and left out there.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer
from torchvision.ops import SqueezeExcitation


class Net(nn.Module):
    """Some modules, a function that says how they follow each other, and a classifier."""

    shape: tuple[int, ...] = (3, 6, 6)
    shuffles: Mapping[str, tuple[str, str]] = {}  # the layers before and after a channel shuffle

    def __init__(self, step: Callable[[nn.Module, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.step = step
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        out = self.step(self, x)
        return self.fc(out if out.dim() == 2 else out.flatten(2).mean(2))


class Wide(Net):
    shape = (3, 5, 5, 5)


class Long(Net):
    shape = (3, 12)


def conv(channels_in: int, channels: int, size: int = 3, **options) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, size, padding=size // 2, **options)


def fc(channels: int) -> nn.Linear:
    return nn.Linear(channels, 5)


def chain(*modules: nn.Module, net: type[Net] = Net, out: int) -> Net:
    """Modules one after the other, named a, b, c …"""
    names = "abcdefgh"[: len(modules)]

    def step(net: nn.Module, x: Tensor) -> Tensor:
        for name in names:
            x = net.get_submodule(name)(x)
        return x

    return net(step, **dict(zip(names, modules, strict=True)), fc=fc(out))


class PreActivation(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))): batch norm follows the sum."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, inner, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(inner), conv(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(out)))


def one_dimension() -> Net:
    return chain(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 6, 3), nn.ReLU(),
                 net=Long, out=6)  # fmt: skip


def three_dimensions() -> Net:
    return chain(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2),
                 nn.Conv3d(8, 4, 1), net=Wide, out=4)  # fmt: skip


def transposed() -> Net:
    return chain(conv(3, 6), nn.ReLU(), nn.ConvTranspose2d(6, 8, 2, 2), nn.BatchNorm2d(8),
                 nn.ReLU(), nn.ConvTranspose2d(8, 4, 3), out=4)  # fmt: skip


def transposed_in_groups() -> Net:
    """In two groups, then depthwise with two filters a channel."""
    return chain(conv(3, 8), nn.ReLU(), nn.ConvTranspose2d(8, 12, 2, 2, groups=2),
                 nn.BatchNorm2d(12), nn.ReLU(), nn.ConvTranspose2d(12, 24, 3, groups=12),
                 nn.ReLU(), conv(24, 4), out=4)  # fmt: skip


def grouped_and_shuffled() -> Net:
    network = chain(conv(3, 8, 1), nn.BatchNorm2d(8), conv(8, 8, groups=2), nn.BatchNorm2d(8),
                    nn.ReLU(), nn.ChannelShuffle(2), conv(8, 12, groups=2), nn.ReLU(),
                    out=12)  # fmt: skip
    network.shuffles = {"f": ("c", "g")}
    return network


def depthwise_doubled() -> Net:
    return chain(conv(3, 6), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 12, groups=6),
                 nn.BatchNorm2d(12), nn.ReLU(), conv(12, 5), out=5)  # fmt: skip


def group_norm() -> Net:
    return chain(conv(3, 12), nn.GroupNorm(3, 12), nn.ReLU(), conv(12, 6), nn.GroupNorm(1, 6),
                 nn.SiLU(), out=6)  # fmt: skip


def layer_norm() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        x = n.b(n.norm(n.a(x).permute(0, 2, 3, 1)))
        return n.c(F.gelu(x).permute(0, 3, 1, 2))

    return Net(
        step, a=conv(3, 8), norm=nn.LayerNorm(8), b=nn.Linear(8, 10), c=conv(10, 4), fc=fc(4)
    )


def layer_norm_over_images() -> Net:
    return chain(conv(3, 8), nn.LayerNorm((8, 6, 6)), nn.ReLU(), conv(8, 4), out=4)


def rms_norm() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.b(n.norm(n.a(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)

    return Net(step, a=conv(3, 8), norm=nn.RMSNorm(8), b=nn.Linear(8, 4), fc=fc(4))


def parametric_relu() -> Net:
    return chain(conv(3, 8), nn.PReLU(8), conv(8, 6), nn.PReLU(), conv(6, 4), out=4)


def concatenation() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.c(F.relu(n.norm(torch.cat([n.a(x), n.b(x)], 1))))

    return Net(step, a=conv(3, 5), b=conv(3, 4), norm=nn.BatchNorm2d(9), c=conv(9, 4), fc=fc(4))


def concatenated_with_itself() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        a = n.a(x)
        return n.b(F.relu(n.norm(torch.cat([a, a.flip(2)], 1))))

    return Net(step, a=conv(3, 6), norm=nn.BatchNorm2d(12), b=conv(12, 4), fc=fc(4))


def pre_activation() -> Net:
    return chain(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), PreActivation(8, 6), PreActivation(8, 4),
                 nn.BatchNorm2d(8), nn.ReLU(), out=8)  # fmt: skip


def flattened() -> Net:
    return chain(conv(3, 6), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                 nn.Linear(54, 10), nn.BatchNorm1d(10), nn.ReLU(), out=10)  # fmt: skip


def pixel_shuffle() -> Net:
    return chain(conv(3, 16), nn.ReLU(), nn.PixelShuffle(2), conv(4, 6), nn.ReLU(), out=6)


def shared() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.c(F.relu(n.b(F.relu(n.b(n.a(x))))))

    return Net(step, a=conv(3, 8), b=conv(8, 8), c=conv(8, 6), fc=fc(6))


def added_to_its_input() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        a = n.a(x)
        return F.relu(a + n.b(a))

    return Net(step, a=conv(3, 8), b=conv(8, 8), fc=fc(8))


def gated_halves() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        value, gate = n.a(x).chunk(2, 1)
        return n.b(value * torch.sigmoid(gate))

    return Net(step, a=conv(3, 12), b=conv(6, 4), fc=fc(4))


def gated_linear_unit() -> Net:
    return chain(conv(3, 12), nn.BatchNorm2d(12), nn.GLU(1), conv(6, 4), out=4)


def squeeze_and_excite() -> Net:
    return chain(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), SqueezeExcitation(8, 6), conv(8, 4),
                 out=4)  # fmt: skip


def own_parameters() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.b(F.relu(n.a(x) * n.scale.weight + n.offset.weight))

    def bare(*shape: int) -> nn.Module:
        module = nn.Module()
        module.weight = nn.Parameter(torch.rand(*shape) + 0.5)
        return module

    return Net(step, a=conv(3, 8), scale=bare(8, 1, 1), offset=bare(1, 8, 1, 1), b=conv(8, 4),
               fc=fc(4))  # fmt: skip


def padded_and_sliced() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        wide = F.pad(n.a(x)[:, 1:], (0, 0, 0, 0, 2, 3))  # 2 zeros, channels 1…5 of a, 3 zeros
        return F.relu(wide + n.b(x))

    return Net(step, a=conv(3, 6), b=conv(3, 10), fc=fc(10))


def larger_of_two() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.c(torch.maximum(n.a(x), n.b(x)))

    return Net(step, a=conv(3, 6), b=conv(3, 6), c=conv(6, 4), fc=fc(4))


def instance_norm() -> Net:
    return chain(conv(3, 8), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), conv(8, 4), out=4)


def grouped_over_two() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.c(torch.cat([n.a(x), n.b(x)], 1))  # one of its groups reads a, the other b

    return Net(step, a=conv(3, 4), b=conv(3, 4), c=conv(8, 4, groups=2), fc=fc(4))


def norm_over_two() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.c(n.norm(torch.cat([n.a(x), n.b(x)], 1)))

    return Net(step, a=conv(3, 4), b=conv(3, 4), norm=nn.GroupNorm(2, 8), c=conv(8, 4), fc=fc(4))


def one_channel_expanded() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        a = n.a(x)
        return n.c(F.relu(n.b(a[:, :1].expand(-1, 3, -1, -1)))) + n.d(a)

    return Net(step, a=conv(3, 4), b=conv(3, 4), c=conv(4, 4), d=conv(4, 4), fc=fc(4))


def side_by_side() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.c(torch.cat([n.a(x), n.b(x)], 2))

    return Net(step, a=conv(3, 4), b=conv(3, 4), c=conv(4, 4), fc=fc(4))


def norm_over_tokens() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        tokens = n.norm(n.a(x).flatten(2).transpose(1, 2))  # (images, 36 tokens, channels)
        return n.b(tokens).transpose(1, 2)

    return Net(step, a=conv(3, 6), norm=nn.BatchNorm1d(36), b=nn.Linear(6, 4), fc=fc(4))


def pooled_twice() -> Net:
    def step(n: nn.Module, x: Tensor) -> Tensor:
        a = n.a(x)
        return n.b(torch.cat([a.mean((2, 3)), a.std((2, 3))], 1))

    return Net(step, a=conv(3, 6), b=nn.Linear(12, 6), fc=fc(6))


def split_in_two() -> nn.Module:
    """The two groups of a convolution, weighted against each other channel by channel and added."""

    def step(n: nn.Module, x: Tensor) -> Tensor:
        both = F.relu(n.b(F.relu(n.a(x)))).unflatten(1, (2, -1))
        gates = n.d(F.relu(n.c(both.sum(1).mean((2, 3))))).unflatten(1, (2, -1))
        return (both * torch.softmax(gates, 1)[..., None, None]).sum(1)

    layers = {"a": conv(3, 8), "b": conv(8, 12, groups=2)}
    return Net(step, **layers, c=nn.Linear(6, 4), d=nn.Linear(4, 12), fc=fc(6))


def transformer() -> VisionTransformer:
    network = VisionTransformer(
        image_size=6,
        patch_size=3,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=12,
        num_classes=5,
    )
    nn.init.normal_(network.heads.head.weight)  # a fresh head is zero and would hide everything
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    function.__name__: function
    for function in (
        one_dimension, three_dimensions, transposed, transposed_in_groups, grouped_and_shuffled,
        depthwise_doubled, group_norm, layer_norm, layer_norm_over_images, rms_norm,
        parametric_relu, concatenation, concatenated_with_itself, pre_activation, flattened,
        pixel_shuffle, shared, added_to_its_input, gated_halves, gated_linear_unit,
        squeeze_and_excite, own_parameters, padded_and_sliced, larger_of_two, instance_norm,
        transformer, grouped_over_two, norm_over_two, one_channel_expanded, side_by_side,
        norm_over_tokens, pooled_twice, split_in_two,
    )
}  # fmt: skip

UNITS: dict[str, dict[str, tuple[str, int, int]]] = {
    "one_dimension": {"a": ("free", 8, 1), "d": ("free", 6, 1)},
    "three_dimensions": {"a": ("free", 8, 1), "e": ("free", 4, 1)},
    "transposed": {"a": ("free", 6, 1), "c": ("free", 8, 1), "f": ("free", 4, 1)},
    "transposed_in_groups": {"a": ("free", 8, 2), "c": ("free", 12, 2), "h": ("free", 4, 1)},
    "grouped_and_shuffled": {"a": ("free", 8, 2), "c": ("free", 8, 4), "g": ("free", 12, 2)},
    "depthwise_doubled": {"a": ("free", 6, 1), "g": ("free", 5, 1)},
    "group_norm": {"a": ("free", 12, 3), "d": ("free", 6, 1)},
    "layer_norm": {"a": ("free", 8, 1), "b": ("free", 10, 1), "c": ("free", 4, 1)},
    "layer_norm_over_images": {"a": ("free", 8, 1), "d": ("free", 4, 1)},
    "rms_norm": {"a": ("free", 8, 1), "b": ("free", 4, 1)},
    "parametric_relu": {"a": ("free", 8, 1), "c": ("free", 6, 1), "e": ("free", 4, 1)},
    "concatenation": {"a": ("free", 5, 1), "b": ("free", 4, 1), "c": ("free", 4, 1)},
    "concatenated_with_itself": {"a": ("free", 6, 1), "b": ("free", 4, 1)},
    "pre_activation": {
        "a": ("coupled", 8, 1),
        "d.conv1": ("free", 6, 1),
        "e.conv1": ("free", 4, 1),
    },
    "flattened": {"a": ("free", 6, 1), "f": ("free", 10, 1)},
    "pixel_shuffle": {"a": ("free", 4, 1), "d": ("free", 6, 1)},
    "shared": {"a": ("coupled", 8, 1), "c": ("free", 6, 1)},
    "added_to_its_input": {"a": ("coupled", 8, 1)},
    "gated_halves": {"a": ("free", 6, 1), "b": ("free", 4, 1)},
    "gated_linear_unit": {"a": ("free", 6, 1), "d": ("free", 4, 1)},
    "squeeze_and_excite": {"a": ("free", 8, 1), "d.fc1": ("free", 6, 1), "e": ("free", 4, 1)},
    "own_parameters": {"a": ("free", 8, 1), "b": ("free", 4, 1)},
    "padded_and_sliced": {"a": ("coupled", 11, 1)},
    "larger_of_two": {"a": ("coupled", 6, 1), "c": ("free", 4, 1)},
    "instance_norm": {"a": ("free", 8, 1), "d": ("free", 4, 1)},
    "grouped_over_two": {"a": ("tied", 4, 1), "b": ("tied", 4, 1), "c": ("free", 4, 2)},
    "norm_over_two": {"a": ("tied", 4, 1), "b": ("tied", 4, 1), "c": ("free", 4, 1)},
    "one_channel_expanded": {"a": ("free", 4, 1), "b": ("free", 4, 1), "c": ("coupled", 4, 1)},
    "side_by_side": {"a": ("coupled", 4, 1), "c": ("free", 4, 1)},
    "norm_over_tokens": {"a": ("free", 6, 1), "b": ("free", 4, 1)},
    "pooled_twice": {"a": ("free", 6, 1), "b": ("free", 6, 1)},
    "split_in_two": {"a": ("free", 8, 2), "b": ("free", 6, 1), "c": ("free", 4, 1)},
    "transformer": {
        "conv_proj": ("coupled", 8, 1),
        "encoder.layers.encoder_layer_0.self_attention": ("free", 16, 4),
        "encoder.layers.encoder_layer_0.mlp.0": ("free", 12, 1),
        "encoder.layers.encoder_layer_1.self_attention": ("free", 16, 4),
        "encoder.layers.encoder_layer_1.mlp.0": ("free", 12, 1),
    },
}

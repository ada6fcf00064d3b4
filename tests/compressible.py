"""Small networks of six families that damages of weights are tried on, random and in float64."""

from collections.abc import Callable

import torch
from networks import spread
from small_networks import transformer
from torch import Tensor, nn
from torchvision.models import DenseNet
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from lesion.network.anatomy import Anatomy
from lesion.network.dissect import dissect
from lesion.network.dissection import Dissection
from lesion.zoo.networks import CifarResNet


def vgg() -> nn.Module:
    """Plain convolutions, and a batch norm behind a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5),
    )  # fmt: skip


def depthwise() -> nn.Module:
    """An inverted residual's three layers, groups, and a transposed convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
        nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 3, padding=1, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, 2, groups=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


def densenet() -> nn.Module:
    return DenseNet(8, (2, 2), 8, bn_size=2, num_classes=5)


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=5)


FAMILIES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet": (lambda: CifarResNet(8), (3, 16, 16)),
    "vgg": (vgg, (3, 16, 16)),
    "depthwise": (depthwise, (3, 16, 16)),
    "densenet": (densenet, (3, 32, 32)),
    "convnext": (convnext, (3, 32, 32)),
    "transformer": (transformer, (3, 6, 6)),
}


def opened(name: str, images: int = 2) -> tuple[nn.Module, Tensor, Dissection]:
    """The network, its images, and itself traced."""
    torch.manual_seed(0)
    make, shape = FAMILIES[name]
    x = torch.randn(max(images, 4), *shape)
    network = spread(make(), x).double().eval()
    x = x[:images].double()
    return network, x, dissect(network, lambda net, batch: net(batch), x[:2])


def anatomy_of(network: nn.Module, *shape: int) -> Anatomy:
    """The anatomy of a network that takes images of a shape."""
    x = torch.randn(2, *shape)
    return dissect(network.eval(), lambda net, batch: net(batch), x).anatomy

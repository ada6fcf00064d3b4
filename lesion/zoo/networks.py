"""The bundled networks: CIFAR-style residual networks with parameter-free shortcuts."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut without parameters (He et al. 2016, option A).

    Where the block halves the feature map, the shortcut takes every second pixel and pads the
    new channels with zeros, so that nothing but the two convolutions has weights.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.stride, self.new_channels = stride, channels_out - channels_in

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    """The residual network of He et al. 2016, section 4.2: three stages of 16, 32, 64 channels.

    `depth` is 6 n + 2 for n blocks a stage: 20, 32, 44, 56, 110.  Input (N, channels, H, W),
    output (N, classes) logits.
    """

    def __init__(self, depth: int, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"expected a depth of 6 n + 2 (20, 32, 44, 56, 110), got {depth}")
        blocks = depth // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, stride=1)
        self.layer2 = self._stage(16, 32, blocks, stride=2)
        self.layer3 = self._stage(32, 64, blocks, stride=2)
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(channels_in: int, channels_out: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(channels_in, channels_out, stride)
        rest = [BasicBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)]
        return nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
        return logits


def resnet20(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-20: three blocks a stage, 40.8 M MACs on a 3×32×32 image."""
    return CifarResNet(20, classes, channels)


def resnet56(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-56: nine blocks a stage, 125.5 M MACs on a 3×32×32 image."""
    return CifarResNet(56, classes, channels)


def resnet110(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-110: eighteen blocks a stage, 252.9 M MACs on a 3×32×32 image."""
    return CifarResNet(110, classes, channels)

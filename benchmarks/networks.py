"""Small networks of other kinds for Fashion-MNIST, and their training.

    python benchmarks/networks.py mobilenet --data FOLDER -o mobilenet.safetensors

trains one on the original files in a folder; `--network benchmarks/networks.py:mobilenet --weights
mobilenet.safetensors` names it on the command line of lesion.
"""

import argparse
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lesion.zoo import fashion_mnist
from lesion.zoo.train import accuracy, train

WIDTHS = (32, 32, 0, 64, 64, 0, 128, 128)  # 0 halves the feature map


class Vgg(nn.Module):
    """Six 3×3 convolutions with batch norm in three stages, and a linear classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in WIDTHS:
            if width:
                conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            else:
                layers.append(nn.MaxPool2d(2))
            channels = width or channels
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).mean((2, 3)))
        return logits


def vgg() -> nn.Module:
    """A VGG-style network: every layer reads what the one before it makes."""
    return Vgg()


def mobilenet() -> nn.Module:
    """MobileNetV2 at half width: inverted bottlenecks with depthwise layers; its stem keeps the
    size of these small images."""
    network: nn.Module = timm.create_model("mobilenetv2_050", num_classes=10, in_chans=1)
    network.conv_stem.stride = (1, 1)
    return network


def densenet() -> nn.Module:
    """DenseNet with blocks of 4, 6 and 8 layers that each add 12 channels to what all others
    read."""
    return timm.create_model(
        "densenet121", num_classes=10, in_chans=1, growth_rate=12, block_config=(4, 6, 8)
    )


def resnet18() -> nn.Module:
    """timm's ResNet-18 of one input channel, as it is: its last stage sees one position."""
    return timm.create_model("resnet18", num_classes=10, in_chans=1)


NETWORKS = {each.__name__: each for each in (vgg, mobilenet, densenet, resnet18)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the four idx files")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.manual_seed(0)
    network = NETWORKS[asked.network]().to(memory_format=torch.channels_last)
    images, labels = fashion_mnist.read("train", asked.data)
    train(network, fashion_mnist.normalise(images), labels, epochs=asked.epochs, rate=0.1)
    test_images, test_labels = fashion_mnist.read("t10k", asked.data)
    top1 = accuracy(network, fashion_mnist.normalise(test_images), test_labels)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, asked.out)
    print(f"top-1 {top1:.2f} % on {len(test_labels)} test images; written to {asked.out}")


if __name__ == "__main__":
    main()

"""Small networks and images that several test files share, all seeded, all in evaluation mode."""

from pathlib import Path

import torch
from randomised import randomise
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset
from torchvision import models

from lesion.zoo import demo, fashion_mnist
from lesion.zoo.networks import CifarResNet


class Plain(nn.Module):
    """Two convolutions with batch norm and a classifier: free units "a" and "b"."""

    def __init__(self, classes: int = 3, width: int = 8) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.b = nn.Conv2d(width, width, 3, stride=2)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x)))
        return self.fc(torch.relu(self.b(x)).mean((2, 3)))


class Wayward(Plain):
    """`Plain` with a step that depends on the batch's values, so that no trace stands for it."""

    def forward(self, x: Tensor) -> Tensor:
        bright = float(x.max()) > -1e9  # always, but only the values tell
        x = torch.relu(self.norm(self.a(x)))
        x = 2 * x if bright else x
        return self.fc(torch.relu(self.b(x)).mean((2, 3)))


def spread(network: nn.Module, x: Tensor) -> nn.Module:
    """The network with random statistics and all its classes likely, in float32.

    Without this, most random networks answer every image with the same class.
    """
    randomise(network, x).float()
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        logits = network(x)
        scale = logits.std(0).clamp_min(1e-6)
        head.weight /= scale[:, None]
        head.bias.copy_((head.bias - logits.mean(0)) / scale)
    return network.requires_grad_(True)


def plain(images: int = 60, seed: int = 0, kind: type[Plain] = Plain) -> tuple[Plain, Dataset]:
    """A small network and random images of three classes for it."""
    torch.manual_seed(seed)
    data = TensorDataset(torch.randn(images, 1, 8, 8), torch.randint(0, 3, (images,)))
    return spread(kind(), data.tensors[0]), data


def random_images(count: int, *shape: int, classes: int = 10, seed: int = 0) -> TensorDataset:
    """Noise with random labels."""
    numbers = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *shape, generator=numbers)
    return TensorDataset(images, torch.randint(0, classes, (count,), generator=numbers))


def resnet20(images: int) -> tuple[nn.Module, TensorDataset]:
    """The bundled ResNet-20 and the first test images of Fashion-MNIST."""
    network, _ = demo.open_network("resnet20", None, None)
    pixels, labels = fashion_mnist.bundled()
    return network.eval(), TensorDataset(fashion_mnist.normalise(pixels[:images]), labels[:images])


def resnet8(images: int) -> tuple[nn.Module, TensorDataset]:
    """A ResNet with one block a stage and random weights."""
    torch.manual_seed(0)
    data = random_images(images, 3, 16, 16)
    return spread(CifarResNet(8), data.tensors[0]), data


def vgg(images: int) -> tuple[nn.Module, TensorDataset]:
    """A VGG with batch norm and a hidden linear layer, random weights."""
    torch.manual_seed(0)
    features = models.vgg.make_layers([8, "M", 16, "M", 24, 24, "M"], batch_norm=True)
    network = nn.Sequential(
        features, nn.Flatten(), nn.Linear(24 * 16, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10)
    )
    data = random_images(images, 3, 32, 32)
    return spread(network, data.tensors[0]), data


def mobilenet(images: int) -> tuple[nn.Module, TensorDataset]:
    """torchvision's MobileNetV2 at a quarter of its width, for small images."""
    torch.manual_seed(0)
    setting = [[1, 8, 1, 1], [6, 12, 2, 2], [6, 16, 2, 2], [6, 24, 1, 1]]
    network = models.MobileNetV2(10, width_mult=0.5, inverted_residual_setting=setting)
    data = random_images(images, 3, 32, 32)
    return spread(network, data.tensors[0]), data


def densenet(images: int) -> tuple[nn.Module, TensorDataset]:
    """torchvision's DenseNet with two blocks of three layers."""
    torch.manual_seed(0)
    network = models.DenseNet(8, (3, 3), 16, bn_size=2, num_classes=10)
    data = random_images(images, 3, 32, 32)
    return spread(network, data.tensors[0]), data


def vit(images: int) -> tuple[nn.Module, TensorDataset]:
    """torchvision's vision transformer with two layers."""
    torch.manual_seed(0)
    network = models.VisionTransformer(16, 4, 2, 2, 32, 64, num_classes=10)
    nn.init.normal_(network.heads.head.weight)
    data = random_images(images, 3, 16, 16)
    return spread(network, data.tensors[0]), data


FAMILIES = {
    "resnet20": resnet20, "vgg": vgg, "mobilenet": mobilenet, "densenet": densenet, "vit": vit,
}  # fmt: skip


class Logged(Dataset):
    """Images that write down each read, a line each, in a file."""

    def __init__(self, data: Dataset, log: Path) -> None:
        self.data, self.log = data, log

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        with self.log.open("a") as file:
            file.write(f"{index}\n")
        return self.data[index]

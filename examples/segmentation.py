"""Where a segmentation network can be cut: each image scored by its mean intersection over union.

    python examples/segmentation.py

A score of one's own is a function of the outputs and targets of a batch that gives each image a
value from 0 to 1, larger being better.  The network here has random weights, the images are noise,
and the masks are what the intact network answers, some pixels changed: put in your own.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.fcn import FCN, FCNHead

import lesion

CLASSES = 4


def mean_iou(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean intersection over union of each image, over the classes in it: shape (images,).

    outputs: logits (images, classes, height, width); targets: masks (images, height, width)
    """
    answers = outputs.argmax(1)
    ious = torch.zeros(len(answers), CLASSES, dtype=torch.double)
    present = torch.zeros(len(answers), CLASSES, dtype=torch.bool)
    for number in range(CLASSES):
        mine, true = answers == number, targets == number
        union = (mine | true).sum((1, 2))
        ious[:, number] = (mine & true).sum((1, 2)) / union.clamp(min=1)
        present[:, number] = union > 0
    return (ious * present).sum(1) / present.sum(1)


def subject(images: int, size: int = 32) -> tuple[torch.nn.Module, TensorDataset]:
    """A network with random weights and noise whose masks it mostly agrees with."""
    torch.manual_seed(0)
    network = FCN(IntermediateLayerGetter(resnet18(), {"layer2": "out"}), FCNHead(128, CLASSES))
    pixels = torch.randn(images, 3, size, size)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the statistics of the first images as they are
        network.train()(pixels[:32])
        network.classifier[-1].bias -= network.eval()(pixels)["out"].mean((0, 2, 3))
        masks = network(pixels)["out"].argmax(1)
    wrong = torch.rand(masks.shape) < 0.1
    return network, TensorDataset(pixels, torch.where(wrong, (masks + 1) % CLASSES, masks))


def main(folder: Path, images: int = 300) -> None:
    network, data = subject(images)
    options = {"layers": ["backbone.*.conv1"], "ratios": (0.1, 0.5), "score": mean_iou}
    shown = ["layer", "amount", "images", "baseline", "drop", "low", "high", "interval"]
    with lesion.sweep(network, data, folder / "study.lesion", max_drop=20, **options) as study:
        print(lesion.recommend(study).text())
        print(lesion.curves(study).query("reason == ''")[shown].to_string(index=False))
    with lesion.sweep(network, data, folder / "study.lesion", full=True, **options) as study:
        print(lesion.curves(study).query("reason == ''")[shown].to_string(index=False))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))

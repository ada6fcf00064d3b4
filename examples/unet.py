"""A U-Net that finds shapes: what `lesion` is told of it, and how it is trained.

    pip install segmentation-models-pytorch
    python examples/unet.py -o unet.safetensors

docs/segmentation.md goes on from here.
"""

import argparse
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from shapes import NAMES, pictures
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lesion

CLASSES = 1 + len(NAMES)


def network() -> nn.Module:
    """ResNet-18 down to an eighth of the size, and three stages up again."""
    return smp.Unet(
        "resnet18",
        encoder_weights=None,
        encoder_depth=3,
        decoder_channels=(64, 32, 16),
        classes=CLASSES,
    )


def val(count: int | None = None) -> TensorDataset:
    return _data("val", count)


def train(count: int | None = None) -> TensorDataset:
    return _data("train", count)


def _data(part: str, count: int | None) -> TensorDataset:
    """Images (3, 64, 64) from −1 to 1, and masks (64, 64): every other pixel of the pictures."""
    drawn = pictures(part, count)
    images = torch.from_numpy(np.stack([each.pixels[::2, ::2] for each in drawn]))
    masks = torch.from_numpy(np.stack([each.mask[::2, ::2] for each in drawn]))
    return TensorDataset(images.permute(0, 3, 1, 2) / 127.5 - 1, masks.long())


def iou(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean intersection over union of each image, over the classes in it or in its answer.

    outputs: logits (images, classes, height, width); targets: masks (images, height, width)
    """
    answers = F.one_hot(outputs.argmax(1), CLASSES).bool()
    true = F.one_hot(targets, CLASSES).bool()
    union = (answers | true).sum((1, 2))
    overlap = (answers & true).sum((1, 2)) / union.clamp(min=1)
    return overlap.sum(1) / (union > 0).sum(1)


def fit(unet: nn.Module, data: TensorDataset, epochs: int) -> None:
    """Adam on the cross-entropy of the pixels, in place."""
    batches = DataLoader(data, 32, shuffle=True, drop_last=True)
    adam = torch.optim.Adam(unet.parameters(), 1e-3)
    unet.train()
    for epoch in range(epochs):
        for images, masks in batches:
            loss = F.cross_entropy(unet(images), masks)
            adam.zero_grad()
            loss.backward()
            adam.step()
        print(f"epoch {epoch + 1}: {loss:.3f}", flush=True)
    unet.eval()


@torch.no_grad()
def score(unet: nn.Module, data: TensorDataset) -> float:
    """The mean of `iou`, in per cent."""
    batches = DataLoader(data, 100)
    return 100 * float(torch.cat([iou(unet(images), masks) for images, masks in batches]).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pruned", type=Path, help="a file of lesion apply, to train further")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    unet = lesion.load_pruned(network, asked.pruned) if asked.pruned else network()
    print(f"before: {score(unet.eval(), val(asked.images)):.2f} % IoU")
    fit(unet, train(asked.images), asked.epochs)
    print(f"after: {score(unet, val(asked.images)):.2f} % IoU")
    if asked.pruned:
        lesion.save_pruned(unet, lesion.Allocation.load(asked.pruned), asked.out)
    else:
        save_file(unet.state_dict(), asked.out)


if __name__ == "__main__":
    main()

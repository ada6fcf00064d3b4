"""Where a detection network can be cut: each lesion judged by the mean average precision.

    pip install torchmetrics pycocotools
    python examples/detection.py

Average precision ranks the boxes of all images together, so it is no mean over images: each lesion
takes one whole evaluation, and none stops early.  What it is made of are the detections of each
image beside its true boxes; told that by `lesion.SetScore`, lesion draws images again and again
with replacement and puts an interval behind each drop.  Detection networks pick boxes by their
values, which no trace follows: the layers are looked for in the backbone, whose outputs are
tensors.  The network here has random weights, the images are noise, and the true boxes are those
that the intact network is surest of: put in your own.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import lesion

Boxes = dict[str, Tensor]  # of one image: boxes (n, 4), labels and, of detections, scores (n,)
SHOWN = ["layer", "amount", "images", "baseline", "accuracy", "drop", "low", "high", "interval"]


def average_precision(images: list[tuple[Boxes, Boxes]]) -> float:
    """In per cent, at an intersection over union of 0.5, of detections and true boxes; 0 where
    nothing is there to find."""
    metric = MeanAveragePrecision(iou_thresholds=[0.5])
    metric.update([detected for detected, _ in images], [true for _, true in images])
    return 100 * max(float(metric.compute()["map"]), 0.0)  # −1 without true boxes


def subject(images: int) -> tuple[nn.Module, Tensor, Callable[[nn.Module], lesion.SetScore]]:
    """A network with random weights, noise, and the function that evaluates a network on it."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    network = FasterRCNN(
        backbone, num_classes=3, min_size=64, max_size=64, rpn_post_nms_top_n_test=50
    ).eval()
    pixels = torch.rand(images, 3, 64, 64)

    @torch.no_grad()
    def detect(network: nn.Module) -> list[Boxes]:
        return network(list(pixels))

    true = [
        {"boxes": found["boxes"][:3], "labels": found["labels"][:3]} for found in detect(network)
    ]

    def evaluate(network: nn.Module) -> lesion.SetScore:
        return lesion.SetScore(list(zip(detect(network), true, strict=True)), average_precision)

    return network, pixels, evaluate


def main(folder: Path, images: int = 8) -> None:
    network, pixels, evaluate = subject(images)
    with lesion.evaluate(
        network,
        evaluate,
        folder / "study.lesion",
        pixels[:2],
        part="backbone",
        layers=["backbone.body.*.conv1"],
        ratios=(0.1, 0.5),
    ) as study:
        print(lesion.curves(study).query("reason == ''")[SHOWN].to_string(index=False))
        print(lesion.recommend(study, max_drop=5).text())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))

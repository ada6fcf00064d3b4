"""Where a detection network can be cut: each lesion judged by the average precision of all images.

    python examples/detection.py

Average precision ranks the boxes of all images together, so it is no mean over images: each lesion
takes one whole evaluation, none stops early, and no interval stands behind its drop.  Detection
networks pick boxes by their values, which no trace follows: the layers are looked for in the
backbone, whose outputs are tensors.  The network here has random weights, the images are noise, and
the true boxes are those that the intact network is surest of: put in your own.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import box_iou

import lesion

Boxes = list[dict[str, Tensor]]


def average_precision(detections: Boxes, true: list[Tensor], overlap: float = 0.5) -> float:
    """The area under precision and recall at an intersection over union of `overlap`, in per cent.

    detections: for each image its "boxes" (n, 4) and "scores" (n,); true: its true boxes (m, 4)
    Surest first, a box hits if the true box that it overlaps most is not yet taken.
    """
    taken = [torch.zeros(len(boxes), dtype=torch.bool) for boxes in true]
    ranked = sorted(
        (
            (float(score), image, box)
            for image, detected in enumerate(detections)
            for score, box in zip(detected["scores"], detected["boxes"], strict=True)
        ),
        key=lambda entry: -entry[0],
    )
    hits, total, area = 0, max(sum(map(len, true)), 1), 0.0
    for rank, (_, image, box) in enumerate(ranked, 1):
        ious = box_iou(box[None], true[image])[0] if len(true[image]) else torch.zeros(1)
        best = int(ious.argmax())
        if ious[best] >= overlap and not taken[image][best]:
            taken[image][best], hits = True, hits + 1
            area += hits / rank / total
    return 100 * area


def subject(images: int) -> tuple[nn.Module, Tensor, Callable[[nn.Module], float]]:
    """A network with random weights, noise, and the function that evaluates a network on it."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    network = FasterRCNN(
        backbone, num_classes=3, min_size=64, max_size=64, rpn_post_nms_top_n_test=50
    ).eval()
    pixels = torch.rand(images, 3, 64, 64)

    @torch.no_grad()
    def detect(network: nn.Module) -> Boxes:
        return network(list(pixels))

    true = [detected["boxes"][:3] for detected in detect(network)]
    return network, pixels, lambda network: average_precision(detect(network), true)


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
        shown = ["layer", "amount", "baseline", "accuracy", "drop", "low", "interval"]
        print(lesion.curves(study).query("reason == ''")[shown].to_string(index=False))
        print(lesion.recommend(study, max_drop=5).text())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))

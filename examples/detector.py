"""A detector of ultralytics that finds shapes: what `lesion` is told of it.

    pip install ultralytics

docs/ultralytics.md says how it is trained, cut, and trained on.  Boxes are (x, y, x, y) in pixels;
beside the working directory's best.pt lies the folder that shapes.py wrote.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import box_iou
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.utils.metrics import ap_per_class
from ultralytics.utils.nms import non_max_suppression

import lesion

MOST = 8  # boxes of an image at most, so that those of a batch are one tensor


def network() -> nn.Module:
    """The detector as it was trained."""
    return YOLO("best.pt").model.float()


class Shapes(Dataset):
    """Images (3, height, width) from 0 to 1; boxes (MOST, 5): class and corners, −1 where none."""

    def __init__(self, part: str, folder: Path = Path("shapes")) -> None:
        self.images = sorted((folder / "images" / part).glob("*.png"))
        self.labels = folder / "labels" / part

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = torch.from_numpy(np.array(Image.open(self.images[index]))).permute(2, 0, 1) / 255
        file = self.labels / f"{self.images[index].stem}.txt"
        kind, x, y, width, height = torch.from_numpy(np.loadtxt(file, ndmin=2)).float().T
        high, wide = image.shape[1:]
        boxes = torch.full((MOST, 5), -1.0)
        boxes[: len(kind), 0] = kind
        boxes[: len(kind), 1:3] = torch.stack([(x - width / 2) * wide, (y - height / 2) * high], 1)
        boxes[: len(kind), 3:5] = torch.stack([(x + width / 2) * wide, (y + height / 2) * high], 1)
        return image, boxes


def val() -> Shapes:
    return Shapes("val")


def train() -> Shapes:
    return Shapes("train")


def f_measure(outputs: Tensor, targets: Tensor) -> Tensor:
    """2 × hits / (detections + true boxes) of each image, at a confidence of 0.25 and an overlap of
    0.5: shape (images,), from 0 to 1.

    outputs: (images, 4 + classes, anchors), as the detector gives them; targets: as of Shapes
    """
    detections = non_max_suppression(outputs.clone(), conf_thres=0.25, iou_thres=0.7)
    return torch.stack([_f_measure(*pair) for pair in zip(detections, targets, strict=True)])


def _f_measure(detections: Tensor, target: Tensor) -> Tensor:
    """The same of one image; detections: (n, 6), corners, confidence and class, surest first."""
    true = target[target[:, 0] >= 0]
    overlaps = box_iou(detections[:, :4], true[:, 1:]) * (detections[:, 5:] == true[:, 0])
    hits = 0
    for overlap in overlaps:
        best = overlap.argmax()
        if overlap[best] >= 0.5:
            overlaps[:, best] = 0  # each true box is found once
            hits += 1
    return torch.tensor(2 * hits / (len(detections) + len(true)))


@torch.no_grad()
def precision(detector: nn.Module) -> lesion.SetScore:
    """The mean average precision at an overlap of 0.5, in per cent, as ultralytics' `val` counts
    it; what each image adds are its detections (which are right, how sure, which class) and the
    classes of its true boxes."""
    validator = DetectionValidator(save_dir=Path(gettempdir()))
    images: list[tuple[np.ndarray, ...]] = []
    for pixels, targets in DataLoader(val(), 50):
        detections = non_max_suppression(detector(pixels)[0], 0.001, 0.7, multi_label=True)
        for (boxes, sure, kind), target in zip(map(_split, detections), targets, strict=True):
            true = target[target[:, 0] >= 0]
            right = validator.match_predictions(kind, true[:, 0], box_iou(true[:, 1:], boxes))
            images.append(tuple(map(np.asarray, (right, sure, kind, true[:, 0]))))
    return lesion.SetScore(images, _precision)


def _split(detections: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Corners (n, 4), confidences and classes (n,)."""
    return detections[:, :4], detections[:, 4], detections[:, 5]


def _precision(images: Sequence[tuple[np.ndarray, ...]]) -> float:
    by_class = ap_per_class(*map(np.concatenate, zip(*images, strict=True)))[5]
    return 100 * float(by_class[:, 0].mean())  # the first of ten overlaps


class PrunedTrainer(DetectionTrainer):
    """Trains the network that it is given, where ultralytics would build it anew from its yaml."""

    def get_model(
        self, cfg: object = None, weights: nn.Module | None = None, verbose: bool = True
    ) -> nn.Module | None:
        return weights

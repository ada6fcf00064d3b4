"""A detector of one stage, small enough to be trained in a minute, that finds shapes.

    python examples/grid_detector.py

prints its mean average precision; notebooks/pruning_a_detector.ipynb goes on from here.  The
network gives a tensor, so that all of it can be followed: boxes are made of that outside.
"""

from collections.abc import Sequence

import numpy as np
import torch
from shapes import NAMES, Picture, pictures
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss, sigmoid_focal_loss

SIDE, STRIDE = 64, 4  # pixels: of an image, every other one of a picture's, and of a cell
CELLS = SIDE // STRIDE
CENTRES = (torch.arange(CELLS) + 0.5) * STRIDE


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Detector(nn.Module):
    """Images (n, 3, 64, 64) to (n, classes + 4, 16, 16): logits, and how far the edges of a box lie
    from the middle of its cell (left, top, right, bottom; logarithms, in cells)."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 32))
        self.coarse = nn.Sequential(block(32, 64, 2), block(64, 64), block(64, 64))
        self.head = nn.Sequential(block(96, 48), block(48, 48))
        self.answer = nn.Conv2d(48, len(NAMES) + 4, 1)
        nn.init.constant_(self.answer.bias, -2.0)  # most cells are empty

    def forward(self, images: Tensor) -> Tensor:
        fine = self.fine(images)
        wide = F.interpolate(self.coarse(fine), scale_factor=2.0)
        return self.answer(self.head(torch.cat([fine, wide], 1)))


def tensors(drawn: Sequence[Picture]) -> tuple[Tensor, list[Tensor]]:
    """Images from −1 to 1, and of each its true boxes (n, 5): class and corners in pixels."""
    images = torch.from_numpy(np.stack([each.pixels[::2, ::2] for each in drawn]))
    halved = torch.tensor([1, 0.5, 0.5, 0.5, 0.5])
    boxes = [torch.from_numpy(each.boxes).float() * halved for each in drawn]
    return images.permute(0, 3, 1, 2) / 127.5 - 1, boxes


def corners(outputs: Tensor) -> Tensor:
    """The box of each cell: (n, 16, 16, 4), in pixels."""
    left, top, right, bottom = outputs[:, len(NAMES) :].clamp(-6, 6).exp().unbind(1)
    x, y = CENTRES, CENTRES[:, None]
    sides = (x - STRIDE * left, y - STRIDE * top, x + STRIDE * right, y + STRIDE * bottom)
    return torch.stack(sides, -1)


def assigned(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The class (16, 16) that each cell should find, −1 for none, and its box (16, 16, 4).

    Those find a true box that lie near its middle; of several boxes it is the smallest.
    """
    classes, target = torch.full((CELLS, CELLS), -1), torch.zeros(CELLS, CELLS, 4)
    sizes = (boxes[:, 3] - boxes[:, 1]).argsort(descending=True)
    for kind, *box in boxes[sizes].tolist():
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        near = ((CENTRES - x).abs() < 0.75 * STRIDE) & ((CENTRES - y).abs() < 0.75 * STRIDE)[
            :, None
        ]
        classes[near], target[near] = int(kind), torch.tensor(box)
    return classes, target


def fit(detector: nn.Module, drawn: Sequence[Picture], epochs: int, rate: float = 4e-3) -> None:
    """Adam on focal loss and generalised overlap, in place; the rate falls to zero."""
    images, boxes = tensors(drawn)
    classes, targets = map(torch.stack, zip(*map(assigned, boxes), strict=True))
    adam = torch.optim.Adam(detector.parameters(), rate)
    steps = epochs * (len(images) // 32)
    falling = torch.optim.lr_scheduler.OneCycleLR(adam, rate, total_steps=steps)
    detector.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(32)[: len(images) // 32]:
            outputs, there = detector(images[chosen]), classes[chosen] >= 0
            one_hot = F.one_hot(classes[chosen] + 1, len(NAMES) + 1)[..., 1:].float()
            logits = outputs[:, : len(NAMES)].permute(0, 2, 3, 1)
            classes_lost = sigmoid_focal_loss(logits, one_hot, reduction="sum")
            boxes_lost = generalized_box_iou_loss(
                corners(outputs)[there], targets[chosen][there], reduction="sum"
            )
            adam.zero_grad()
            ((classes_lost + boxes_lost) / there.sum()).backward()
            adam.step()
            falling.step()
    detector.eval()


@torch.no_grad()
def detect(detector: nn.Module, images: Tensor, sure: float = 0.05) -> list[Tensor]:
    """Of each image its detections (n, 6), surest first: corners in pixels, confidence, class."""
    outputs = torch.cat([detector(batch) for batch in images.split(100)])
    boxes, detections = corners(outputs), []
    for kinds, places in zip(outputs[:, : len(NAMES)].sigmoid(), boxes, strict=True):
        kind, y, x = (kinds > sure).nonzero().T
        scores = kinds[kind, y, x]
        kept = batched_nms(places[y, x], scores, kind, 0.5)
        rows = torch.cat([places[y, x], scores[:, None], kind[:, None]], 1)
        detections.append(rows[kept])
    return detections


def matched(detections: Tensor, true: Tensor) -> tuple[np.ndarray, ...]:
    """What an image adds to average precision.

    Which detections are right, at an overlap of 0.5, how sure they are, and their classes; and the
    classes of the true boxes.
    """
    overlaps = box_iou(detections[:, :4], true[:, 1:]) * (detections[:, 5:] == true[:, 0])
    right = torch.zeros(len(detections), dtype=torch.bool)
    for row, overlap in enumerate(overlaps):
        best = overlap.argmax()
        if overlap[best] >= 0.5:
            right[row], overlaps[:, best] = True, 0  # each true box counts once
    return right.numpy(), detections[:, 4].numpy(), detections[:, 5].numpy(), true[:, 0].numpy()


def average_precision(images: Sequence[tuple[np.ndarray, ...]]) -> float:
    """The mean over classes, in per cent, of what `matched` gives of each image: precision at 101
    recalls, as COCO counts it."""
    right, sure, kind, true = map(np.concatenate, zip(*images, strict=True))
    order = np.argsort(-sure, kind="stable")
    right, kind = right[order], kind[order]
    precisions = []
    for number in np.unique(true):
        hits = np.cumsum(right[kind == number])
        recall = hits / (true == number).sum()
        precision = hits / np.arange(1, len(hits) + 1)
        best = np.append(
            np.maximum.accumulate(precision[::-1])[::-1], 0.0
        )  # at this recall or more
        precisions.append(best[np.searchsorted(recall, np.linspace(0, 1, 101))].mean())
    return 100 * float(np.mean(precisions))


def main() -> None:
    torch.manual_seed(0)
    detector = Detector()
    fit(detector, pictures("train", 1500), 8)
    images, boxes = tensors(pictures("val", 300))
    parts = list(map(matched, detect(detector, images), boxes))
    print(f"mean average precision: {average_precision(parts):.1f} %")


if __name__ == "__main__":
    main()

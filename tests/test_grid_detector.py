"""The detector of the tutorial: its boxes, and its average precision beside torchmetrics'."""

import importlib.util
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def grid(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    spec = importlib.util.spec_from_file_location("grid", EXAMPLES / "grid_detector.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def noisy(boxes, numbers):
    """Detections near true boxes, some far off, some of another class: (n, 6), surest first."""
    twice = boxes.repeat(2, 1)
    corners = twice[:, 1:] + 3 * torch.randn(len(twice), 2, generator=numbers).repeat(1, 2)
    kinds = (twice[:, :1] + (torch.rand(len(twice), 1, generator=numbers) < 0.2)) % 3
    sure = torch.rand(len(twice), 1, generator=numbers).sort(0, descending=True).values
    return torch.cat([corners, sure, kinds], 1)


def test_average_precision_is_that_of_torchmetrics(grid):
    MeanAveragePrecision = pytest.importorskip("torchmetrics.detection").MeanAveragePrecision
    numbers = torch.Generator().manual_seed(0)
    _, boxes = grid.tensors(grid.pictures("val", 40))
    detections = [noisy(each, numbers) for each in boxes]
    metric = MeanAveragePrecision(iou_thresholds=[0.5])
    metric.update(
        [dict(boxes=d[:, :4], scores=d[:, 4], labels=d[:, 5].long()) for d in detections],
        [dict(boxes=true[:, 1:], labels=true[:, 0].long()) for true in boxes],
    )
    expected = 100 * float(metric.compute()["map"])
    assert 20 < expected < 80
    parts = list(map(grid.matched, detections, boxes))
    assert grid.average_precision(parts) == pytest.approx(expected, abs=1e-4)


def test_an_answer_that_says_the_target_is_detected_as_it(grid):
    """Logits and distances made of the assignment itself give the true boxes back."""
    _, boxes = grid.tensors(grid.pictures("val", 30))
    answers = []
    for true in boxes:
        classes, target = grid.assigned(true)
        kinds = torch.full((len(grid.NAMES), *classes.shape), -9.0)
        rows, columns = torch.nonzero(classes >= 0, as_tuple=True)
        kinds[classes[rows, columns], rows, columns] = 9.0
        x, y = grid.CENTRES, grid.CENTRES[:, None]
        left, top, right, bottom = target.unbind(-1)
        sides = torch.stack([x - left, y - top, right - x, bottom - y]) / grid.STRIDE
        answers.append(torch.cat([kinds, sides.clamp(min=1e-9).log()]))
    detections = grid.detect(lambda images: torch.stack(answers), torch.zeros(30, 3, 64, 64))
    assert grid.average_precision(list(map(grid.matched, detections, boxes))) > 95
    for detected, true in zip(detections, boxes, strict=True):
        apart = (detected[:, None, :4] - true[None, :, 1:]).abs().amax(-1).amin(1)
        assert apart.max() < 1e-3

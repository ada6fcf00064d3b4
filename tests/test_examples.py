"""The examples run as they stand, and what they show is so."""

import importlib.util
from pathlib import Path

import pytest
import torch

import lesion

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(text, start):
    return [line.split() for line in text.splitlines() if line.split()[0].startswith(start)]


def test_segmentation_is_judged_by_the_overlap_of_each_image(tmp_path, capsys):
    module = example("segmentation")
    module.main(tmp_path, images=200)
    text = capsys.readouterr().out
    assert "% score on 160 images" in text and "To skip (" in text
    rows = lines(text, "backbone.layer")
    assert len(rows) == 16
    early, full = rows[:8], rows[8:]
    assert {row[-1] for row in full} == {"fixed"} and {row[2] for row in full} == {"160"}
    assert any(row[-1] == "anytime" and int(row[2]) < 160 for row in early)
    with lesion.Study.open(tmp_path / "study.lesion") as study:
        base = study.intact().outcomes["score"]
        assert ((base > 0) & (base < 1)).mean() > 0.9  # fractions, not hits
        frame = lesion.curves(study).query("reason == ''")
        for cell, row in zip(sorted(study.lesions, key=order(frame)), frame.itertuples(),
                            strict=True):  # fmt: skip
            drop = 100 * (base - study.outcomes(cell)["score"]).mean(dtype=float)
            assert row.drop == pytest.approx(drop, abs=1e-4) and row.low < row.drop < row.high
    for before, after in zip(early, full, strict=True):
        assert float(before[5]) <= float(after[4]) <= float(before[6])  # within the interval


def order(frame):
    """The place of a lesion in the table."""
    places = {(row.layer, row.ratio): place for place, row in enumerate(frame.itertuples())}
    return lambda cell: places[cell.target, cell.amount]


def test_the_overlap_of_an_image_is_the_mean_over_its_classes():
    mean_iou = example("segmentation").mean_iou
    answers = torch.tensor([[[0, 0], [1, 1]], [[2, 2], [2, 2]]])
    true = torch.tensor([[[0, 1], [1, 1]], [[2, 2], [2, 2]]])
    logits = torch.nn.functional.one_hot(answers, 4).permute(0, 3, 1, 2).float()
    assert mean_iou(logits, true).tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2, 1])


def test_detection_is_judged_by_one_evaluation_a_lesion(tmp_path, capsys):
    example("detection").main(tmp_path, images=4)
    text = capsys.readouterr().out
    rows = lines(text, "backbone.body.layer")
    assert len(rows) == 16 and {row[-1] for row in rows} == {"none"}
    assert {row[5] for row in rows} == {"NaN"}
    drops = [float(row[4]) for row in rows]
    assert all(float(row[2]) - float(row[3]) == pytest.approx(drop, abs=1e-5)
               for row, drop in zip(rows, drops, strict=True))  # fmt: skip
    assert max(drops) > 5
    assert "No interval stands behind these drops" in text
    with lesion.Study.open(tmp_path / "study.lesion") as study:
        assert len(study.evaluations) == 17
        assert "only backbone was looked at" in study.anatomy.notes[-1]


def test_average_precision_is_that_of_the_ranking():
    """Three boxes, two to find: right, wrong, right gives (1/1 + 2/3) / 2."""
    average_precision = example("detection").average_precision
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30]])
    detections = [{"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.7])}]
    true = [boxes[[0, 2]] + 1]
    assert average_precision(detections, true) == pytest.approx(100 * (1 + 2 / 3) / 2)
    twice = [{"boxes": boxes[[0, 0]], "scores": torch.tensor([0.9, 0.8])}]
    assert average_precision(twice, true) == pytest.approx(50)  # a second hit of one box is none
    assert average_precision([{"boxes": boxes, "scores": torch.ones(3)}], [boxes[:0]]) == 0

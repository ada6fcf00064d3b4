"""The examples run as they stand, and what they show is so."""

import copy
import doctest
import importlib.util
from pathlib import Path

import networks
import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

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
    places = {(row.layer, row.amount): place for place, row in enumerate(frame.itertuples())}
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
    assert len(rows) == 16 and {row[-1] for row in rows} == {"bootstrap"}
    for row in rows:
        baseline, accuracy, drop, low, high = map(float, row[3:8])
        assert baseline - accuracy == pytest.approx(drop, abs=1e-4)
        assert low <= drop <= high and row[2] == "4"
    assert max(float(row[5]) for row in rows) > 5
    assert "All 4 images were evaluated together" in text
    with lesion.Study.open(tmp_path / "study.lesion") as study:
        assert len(study.evaluations) == len(study.resampled) == 17
        assert "only backbone was looked at" in study.anatomy.notes[-1]


def test_average_precision_is_that_of_the_ranking():
    """Three boxes, two to find: right, wrong, right is precise by 1 up to half of the recall and by
    2/3 behind it, at 51 and 50 of the 101 recalls that are asked."""
    average_precision = example("detection").average_precision
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30]])
    ones = torch.ones(3, dtype=torch.long)
    detected = {"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.7]), "labels": ones}
    true = {"boxes": boxes[[0, 2]] + 1, "labels": ones[:2]}
    expected = 100 * (51 + 50 * 2 / 3) / 101
    assert average_precision([(detected, true)]) == pytest.approx(expected)
    twice = {"boxes": boxes[[0, 0]], "scores": torch.tensor([0.9, 0.8]), "labels": ones[:2]}
    assert average_precision([(twice, true)]) == pytest.approx(100 * 51 / 101)  # found once
    assert average_precision([(detected, {"boxes": boxes[:0], "labels": ones[:0]})]) == 0


def test_targets_of_ones_own_are_judged_chosen_and_checked(tmp_path, capsys):
    module = example("own_targets")
    module.main(tmp_path, images=100)
    text = capsys.readouterr().out
    for name, task in module.TASKS.items():
        for how in ("nothing", "reconstruct", "by_squares"):
            assert f"{name}, recovered by {how}: Check " in text
        network, data, _ = module.subject(task, 100)
        with lesion.Study.open(tmp_path / f"{name}.lesion") as study, torch.no_grad():
            pixels, targets = (tensor[list(study.header.order)] for tensor in data.tensors)
            scores = task.score(network.eval()(pixels), targets).numpy()
            assert study.intact().outcomes["score"] == pytest.approx(scores, abs=1e-3)
            frame = lesion.curves(study).query("reason == ''")
            assert len(frame) == 6 and frame["drop"].max() > 5


def test_the_scores_of_the_targets_are_those_of_a_hand():
    module = example("own_targets")
    logits, labels = (
        torch.tensor([[1.0, -1, 2], [-1, -1, -1]]),
        torch.tensor([[1.0, 1, 0], [0, 0, 0]]),
    )
    assert module.f_measure(logits, labels).tolist() == [2 * 1 / (2 + 2), 1]
    values = module.closeness(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 1.9]))
    assert values.tolist() == pytest.approx([1, 1 / 2])
    points = torch.tensor([[[0.0, 0], [1, 1]]])
    assert module.found(points, points + torch.tensor([[0.1, 0.1], [0.2, 0.2]])).tolist() == [1 / 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recover": "finetune:2"}, r"class numbers for recovery by finetune:2, whose loss is the c"
                                     r"ross-entropy, got targets of float32 \(1, 5\) for outputs"),
        ({"recover": "distill:2"}, "Expected class logits for recovery by distill:2"),
        ({"recover": "distill:2,share=1"}, "Expected class logits for recovery by distill:2"),
        ({"criterion": "taylor"}, "Expected class logits for criterion taylor, which needs gradie"),
        ({"criterion": "oracle"}, "Expected class logits for criterion oracle, which needs remo"),
    ],
)  # fmt: skip
def test_what_needs_a_loss_says_so_of_targets_of_ones_own(tmp_path, options, words):
    task = example("own_targets").TASKS["labels"]
    network, data, train = example("own_targets").subject(task, 20)
    with pytest.raises(lesion.LesionError, match=words):
        lesion.sweep(network, data, tmp_path / "s", score=task.score, train=train, **options)


def quantised_by_hand(network, layer, bits):
    """The network with one weight rounded, and nothing else changed."""
    copied = copy.deepcopy(network)
    weight = copied.get_submodule(layer).weight.data
    steps = 2 ** (bits - 1) - 1
    scale = weight.abs().max() / steps
    weight.copy_(torch.clamp(torch.round(weight / scale), -steps, steps) * scale)
    return copied


def test_a_damage_of_ones_own_gives_what_the_edited_network_gives(tmp_path):
    module = example("fake_quantisation")
    network, data = networks.resnet8(40)
    with lesion.sweep(
        network,
        data,
        tmp_path / "s.lesion",
        damage=module.damage,
        ratios=(8, 3, 2),
        layers=["layer1*", "layer2.0.conv1", "fc"],
        holdout=0,
        full=True,
    ) as study:
        images, labels = (tensor[list(study.header.order)] for tensor in data.tensors)
        lowest = {}
        for one in study.lesions:
            with torch.no_grad():
                logits = quantised_by_hand(network, one.target, int(one.amount))(images)
            right = (logits.argmax(1) == labels).numpy()
            assert (study.outcomes(one)["top1"] == right).mean() >= 1 - 1 / 40  # but for ties
            lowest[one.target] = one.amount
        assert len(study.lesions) == 12 and set(lowest.values()) == {2}
        frame = lesion.curves(study)
        assert frame["damage"].unique().tolist() == ["rounded"]
        assert frame["amount"].tolist()[:3] == [8, 3, 2]


def test_a_deciding_sweep_walks_bits_by_the_harm_they_do(tmp_path):
    module = example("fake_quantisation")
    network, data = networks.resnet20(400)
    with lesion.sweep(
        network, data, tmp_path / "s.lesion", damage=module.damage, max_drop=5.0, holdout=0,
        layers=["layer1.0.conv1", "layer3.2.conv2"],
    ) as study:  # fmt: skip
        advice = lesion.recommend(study)
        seen = {one.amount: len(study.outcomes(one)) for one in study.lesions}
        assert seen[2] > 0  # the most harm is tried first, not the largest number
        entries = {entry.layer: entry for entry in advice.layers if entry.status == "safe"}
        for entry in entries.values():
            assert entry.rate in (8, 6, 5, 4, 3, 2)
            assert f"safe down to {entry.rate:g} bits" in entry.reason
        text = advice.text()
        assert entries and "the damage is rounded. With 95 %" in text
        assert "%" not in text.partition("Most sensitive first")[2]


def test_the_taylor_criterion_by_position_is_the_expansion_of_each_position(tmp_path):
    module = example("taylor_by_position")
    assert not doctest.testmod(module, raise_on_error=True).failed
    network, data = networks.plain(40)
    numbers = torch.Generator().manual_seed(5)
    train = TensorDataset(torch.randn(64, 1, 8, 8, generator=numbers), torch.arange(64) % 3)
    with lesion.sweep(
        network, data, tmp_path / "s.lesion", criterion=module.TaylorByPosition(), train=train,
        ratios=(0.5,), full=True,
    ) as study:  # fmt: skip
        scores = study.scores("a", "free", "taylor_by_position", 0)
        assert study.criteria["taylor_by_position"].startswith("64 of 64 images")
    changes = torch.zeros(8, dtype=torch.double)
    for image, label in zip(*train.tensors, strict=True):
        kept = torch.relu(network.norm(network.a(image[None]))).detach().requires_grad_(True)
        logits = network.fc(torch.relu(network.b(kept)).mean((2, 3)))
        loss = torch.nn.functional.cross_entropy(logits, label[None])
        (gradient,) = torch.autograd.grad(loss, kept)
        changes += (kept * gradient).double().abs().mean((0, 2, 3))
    assert scores == pytest.approx((changes / len(train)).detach().numpy(), rel=1e-4)


def test_shapes_lie_where_their_boxes_and_masks_say(tmp_path):
    module = example("shapes")
    drawn = module.pictures("val", 40)
    for each in drawn:
        size = module.SIZE
        assert each.pixels.shape == (size, size, 3) and each.mask.shape == (size, size)
        inside = np.zeros((size, size), bool)
        for _, left, top, right, bottom in each.boxes:
            box = each.mask[int(top) : int(bottom) + 2, int(left) : int(right) + 2]
            inside[int(top) : int(bottom) + 2, int(left) : int(right) + 2] = True
            assert (box > 0).mean() > 0.4 and min(left, top) >= 0 and max(right, bottom) <= size
        kind, left, top, right, bottom = each.boxes[-1]  # nothing is drawn over it
        rows, columns = np.nonzero(each.mask == kind + 1)
        assert not each.mask[~inside].any()
        assert each.mask[round((top + bottom) / 2), round((left + right) / 2)] == kind + 1
        assert rows.min() <= top + 1.5 and columns.max() >= right - 1.5
    again = module.pictures("val", 40)
    assert all(
        np.array_equal(one.pixels, other.pixels) for one, other in zip(drawn, again, strict=True)
    )


def test_a_line_of_a_label_file_is_class_and_shares():
    line = example("shapes")._line(np.array([2, 32.0, 0.0, 96.0, 64.0]))
    assert line == "2 0.500000 0.250000 0.500000 0.500000"


def test_the_overlap_of_masks_is_that_of_sets(monkeypatch):
    pytest.importorskip("segmentation_models_pytorch", reason="it makes the U-Net")
    monkeypatch.syspath_prepend(EXAMPLES)
    unet = example("unet")
    numbers = torch.Generator().manual_seed(0)
    logits = torch.randn(6, unet.CLASSES, 5, 7, generator=numbers)
    masks = torch.randint(0, 3, (6, 5, 7), generator=numbers)
    for image, value in enumerate(unet.iou(logits, masks)):
        overlaps = []
        for kind in range(unet.CLASSES):
            mine = set(torch.nonzero(logits[image].argmax(0) == kind).flatten(1).unbind())
            mine = {tuple(place.tolist()) for place in mine}
            true = {tuple(p.tolist()) for p in torch.nonzero(masks[image] == kind)}
            if mine | true:
                overlaps.append(len(mine & true) / len(mine | true))
        assert value.item() == pytest.approx(sum(overlaps) / len(overlaps))


def test_a_unet_is_swept_and_pruned_by_its_example(monkeypatch, tmp_path):
    pytest.importorskip("segmentation_models_pytorch", reason="it makes the U-Net")
    monkeypatch.syspath_prepend(EXAMPLES)
    unet = example("unet")
    network, data = unet.network().eval(), unet.val(40)
    with lesion.sweep(
        network, data, tmp_path / "s.lesion", score=unet.iou, ratios=0.5, images=12, full=True
    ) as study:
        rates = lesion.recommend(study, budget=lesion.Budget(macs=0.6, align=8))
    small = lesion.apply(rates, network, data[0][0][None])
    lesion.save_pruned(small, rates, tmp_path / "small.safetensors")
    again = lesion.load_pruned(unet.network, tmp_path / "small.safetensors").eval()
    images = data.tensors[0]
    assert torch.allclose(again(images), small(images), atol=1e-6)
    assert rates.pruned.macs <= 0.6 * rates.intact.macs
    unet.fit(again, data, 1)  # trains as it stands

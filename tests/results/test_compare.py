"""Rankings one-shot and recovered, with planted drops."""

from dataclasses import replace

import numpy as np
import planted
import pytest

from lesion.errors import EvidenceError
from lesion.results.compare import compare
from lesion.results.curves import curves

IMAGES, RATIOS = 400, (0.3, 0.6)


def made(path, before, after, seen=None, criteria=("l1",), recovery="bn"):
    """A study in which layer number i loses before[i] images one-shot and after[i] recovered, and
    twice as many at 0.6; layers without numbers have no lesions."""
    one = planted.study(
        path, images=IMAGES, ratios=RATIOS, criteria=criteria,
        counts=lambda layer, ratio: (round(before.get(layer.name, 0) * ratio / 0.3), 0),
    )  # fmt: skip
    base = planted.intact(IMAGES)
    whole = {}
    for lesion in one.lesions:
        if lesion.target in after:
            count = round(after[lesion.target] * lesion.amount / 0.3)
            kept = seen(lesion) if seen else None
            own = planted.lesioned(base, count, 0).take(slice(kept))
            whole[replace(lesion, recovery=recovery)] = own
    one.add(whole)
    planted.record(one, base, whole, IMAGES)
    return one


FREE = [f"layer{s}.{b}.conv1" for s in (1, 2, 3) for b in (0, 1, 2)]
RISING = {name: 4 * place for place, name in enumerate(FREE)}


@pytest.mark.parametrize(
    ("order", "want"),
    [
        (range(9), 1.0),
        (range(8, -1, -1), -1.0),
        ((1, 0, 2, 3, 4, 5, 6, 8, 7), 1 - 6 * 4 / (9 * 80)),  # 1 − 6 Σd² / (n (n² − 1))
        ((4, 1, 2, 3, 0, 5, 6, 7, 8), 1 - 6 * 32 / (9 * 80)),
    ],
)
def test_the_correlation_is_the_planted_one(order, want, tmp_path):
    after = {name: 3 * order[place] for place, name in enumerate(FREE)}
    with made(tmp_path / "s", RISING, after) as study:
        found = compare(study, "bn")
    assert found.correlation == pytest.approx(want) and found.n == 9
    assert found.amounts == RATIOS and list(found.layers["layer"]) == FREE
    drops = found.layers[["one_shot", "recovered"]].to_numpy().T
    assert drops[0] == pytest.approx([1.5 * 100 * 4 * i / IMAGES for i in range(9)])
    assert drops[1] == pytest.approx([1.5 * 100 * 3 * i / IMAGES for i in order])
    assert found.layers["one_shot_rank"].tolist() == list(range(9, 0, -1))
    assert found.layers["recovered_rank"].tolist() == [9 - i for i in order]
    text = f"{want:.2f}".replace("-", "−")
    assert found.text() == (
        "Spearman's rank correlation of the mean drops one-shot and after bn: "
        f"{text} (9 layers, ratios 0.3, 0.6)"
    )


def test_cells_are_ranked_at_each_ratio(tmp_path):
    after = {name: 5 for name in FREE[:2]}
    with made(tmp_path / "s", RISING, after) as study:
        found = compare(study, "bn")
        at = compare(study, "bn", ratio=0.6)
        frame = curves(study).query("recovery == 'bn'")
    assert list(found.cells.columns) == [
        "layer", "kind", "amount", "one_shot", "recovered", "one_shot_rank", "recovered_rank"
    ]  # fmt: skip
    assert found.cells["layer"].tolist() == [FREE[0]] * 2 + [FREE[1]] * 2
    assert found.cells["one_shot"].tolist() == [0, 0, 1, 2]
    assert found.cells["recovered"].tolist() == frame["drop"].tolist() == [1.25, 2.5, 1.25, 2.5]
    assert found.cells["one_shot_rank"].tolist() == [2, 2, 1, 1]
    assert found.cells["recovered_rank"].tolist() == [1.5] * 4
    assert np.isnan(found.correlation) and "is not defined (2 layers" in found.text()
    assert at.amounts == (0.6,) and at.layers["one_shot"].tolist() == [0, 2]


def test_what_has_not_seen_every_image_does_not_count(tmp_path):
    def seen(lesion):
        early = lesion.target == FREE[0] or (lesion.target == FREE[1] and lesion.amount == 0.6)
        return 100 if early else None

    with made(tmp_path / "s", RISING, RISING, seen) as study:
        found = compare(study, "bn")
        assert (
            found.amounts == (0.3,) and found.n == 8 and FREE[0] not in set(found.layers["layer"])
        )
        assert len(found.cells) == 15
        assert compare(study, "bn", ratio=0.6).n == 7


def test_criteria_are_compared_apart(tmp_path):
    with made(tmp_path / "s", RISING, RISING, criteria=("l1", "l2")) as study:
        l1, l2 = (compare(study, "bn", criterion=one) for one in ("l1", "l2"))
        assert compare(study, "bn").cells.equals(l1.cells)
        assert l1.n == l2.n == 9
        with pytest.raises(EvidenceError, match="Expected layers of "):
            compare(study, "bn", criterion="fpgm")


def test_nothing_to_compare_is_one_sentence(tmp_path):
    with made(tmp_path / "s", RISING, {FREE[0]: 3}) as study:
        with pytest.raises(EvidenceError) as caught:
            compare(study, "finetune:5")
        assert str(caught.value) == (
            f"Expected layers of {study.path} that were measured on all images both one-shot and "
            "with recovery by finetune:5, got none: sweep them with --full both ways."
        )
        with pytest.raises(EvidenceError, match=r"measured at the ratio 0\.4 on all images both"):
            compare(study, "bn", ratio=0.4)
    with (
        made(tmp_path / "t", RISING, RISING, seen=lambda _: 100) as study,
        pytest.raises(EvidenceError, match="Expected layers of "),
    ):
        compare(study, "bn")


def test_equal_mean_drops_have_equal_ranks(tmp_path):
    """1 + 12 and 4 + 9 images of 300: in floats the means of both drops differ."""
    counts = {FREE[0]: (1, 12), FREE[1]: (4, 9), FREE[2]: (0, 2)}
    with planted.study(
        tmp_path / "s", images=300, ratios=(0.3, 0.6),
        counts=lambda layer, ratio: (counts.get(layer.name, (0, 0))[ratio > 0.5], 0),
    ) as study:  # fmt: skip
        base = planted.intact(300)
        whole = {
            replace(one, recovery="bn"): planted.lesioned(base, 10, 0)
            for one in study.lesions
            if one.target in counts
        }
        study.add(whole)
        planted.record(study, base, whole, 300)
        floats = curves(study).query("recovery == ''").groupby("layer")["drop"].mean()
        found = compare(study, "bn")
    assert floats[FREE[0]] != floats[FREE[1]]
    assert found.layers["one_shot_rank"].tolist() == [1.5, 1.5, 3]
    assert np.isnan(found.correlation)

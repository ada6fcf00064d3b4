"""Judging planted studies: the verdicts are known, so the advice must be, defect by defect."""

import json
import re
from dataclasses import replace

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.errors import EvidenceError, LesionError
from lesion.lesions.lesion import Lesion
from lesion.rates.recommend import recommend
from lesion.results.advice import CAVEAT
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.sweeps.goals import Decide

RATIOS = (0.1, 0.2, 0.5, 0.6)
COUNTS = {"s": (0, 0), "o": (20, 0), "f": (100, 0), "b": (0, 50)}  # safe, open, fails, better
FEW = 30  # images of an open cell: too few to settle it


def plant(path, verdicts, default="ssss", ratios=RATIOS, images=1000, few=FEW, **options) -> Study:
    """A study of 1000 images whose cells are safe, open or failing at a tolerance of 2 points.

    An open cell has seen a few images only.
    """

    def letter(layer, ratio):
        return verdicts.get(layer.name, default)[ratios.index(ratio)]

    return planted.study(
        path, images=images, counts=lambda *cell: COUNTS[letter(*cell)], ratios=ratios,
        seen=lambda *cell: few if letter(*cell) == "o" else None, **options,
    )  # fmt: skip


def advise(path, verdicts, default="ssss", **options):
    with plant(path / "a.lesion", verdicts, default, **options) as study:
        return recommend(study, max_drop=2)


def entry(advice, layer, kind="free"):
    return next(one for one in advice.layers if (one.layer, one.kind) == (layer, kind))


@pytest.mark.parametrize(
    ("cells", "rate", "status"),
    [
        ("ssss", 0.6, "safe"),
        ("sssf", 0.5, "safe"),
        ("ssfs", 0.2, "safe"),  # a lucky high ratio beyond a failing one is not taken
        ("sosf", 0.5, "safe"),  # lower ratios than a safe one need no verdict
        ("osss", 0.6, "safe"),
        ("sofs", 0.1, "safe"),
        ("oofs", 0.0, "undecided"),
        ("sooo", 0.1, "safe"),
        ("fsss", 0.0, "sensitive"),
        ("oooo", 0.0, "undecided"),
        ("bbbb", 0.6, "safe"),  # an improvement is no damage
    ],
)
def test_the_largest_safe_ratio_lies_below_the_first_sensitive_one(tmp_path, cells, rate, status):
    found = entry(advise(tmp_path, {"layer1.1.conv1": cells}), "layer1.1.conv1")
    assert (found.rate, found.status) == (rate, status)
    assert (found.drop is None) == (rate == 0)


def test_an_improvement_is_a_negative_drop(tmp_path):
    found = entry(advise(tmp_path, {"layer1.1.conv1": "bbbb"}), "layer1.1.conv1")
    assert found.drop == pytest.approx(-5)
    assert found.low < -5 < found.high < 0
    assert "−5.0 points [−6.5, −3.7]" in found.reason


def test_one_outlier_changes_nothing_for_the_others(tmp_path):
    verdicts = {"layer2.0.conv1": "ssff", "layer2.1.conv1": "sssf"}
    (tmp_path / "with").mkdir()
    without = advise(tmp_path, verdicts)
    outlier = advise(tmp_path / "with", {**verdicts, "layer2.2.conv1": "ffff"})
    rates = {**without.rates, "layer2.2.conv1": 0.0}
    assert outlier.rates == rates
    assert outlier.stages[1].rate == without.stages[1].rate == 0.5
    assert outlier.skip == ["layer2.0.conv1", "layer2.2.conv1"]


@pytest.mark.parametrize(
    ("cells", "rate", "skipped"),
    [
        # of 16 filters 2, 4, 8, 10 fall at 10, 20, 50, 60 %; the layers of stage 1 cost the same
        (("ssff", "sssf", "ssss"), 0.5, [0]),  # 3 × 4 < 2 × 8 > 1 × 10
        (("ssff", "sssf", "ffff"), 0.2, [2]),  # 2 × 4 = 1 × 8: the tie skips fewer
        (("ssss", "ssss", "ssss"), 0.6, []),
        (("ffff", "ffff", "ffff"), 0.0, [0, 1, 2]),
        (("ssff", "ssff", "ssss"), 0.2, []),  # 3 × 4 > 1 × 10
    ],
)
def test_a_stage_takes_the_rate_that_removes_most(tmp_path, cells, rate, skipped):
    names = [f"layer1.{index}.conv1" for index in range(3)]
    advice = advise(tmp_path, dict(zip(names, cells, strict=True)))
    stage = advice.stages[0]
    assert (stage.stage, stage.rate) == (1, rate)
    assert list(stage.skipped) == [names[index] for index in skipped]
    assert {*stage.layers, *stage.skipped} == set(names)
    for name in names:
        found = entry(advice, name)
        assert found.skipped == (name in stage.skipped)
        assert found.stage_rate == (0 if found.skipped else rate)


def test_a_stage_weighs_layers_by_their_own_macs(tmp_path):
    # layer2.0.conv1 reads 16 channels and so costs half of layer2.1.conv1:
    # 20 %: (½ + 1 + 1) × 7; 50 %: (1 + ½) × 16; 60 %: ½ × 20 of 32
    verdicts = {"layer2.0.conv1": "ssss", "layer2.1.conv1": "sssf", "layer2.2.conv1": "ssff"}
    stage = advise(tmp_path, verdicts).stages[1]
    assert (stage.rate, stage.skipped) == (0.5, ("layer2.2.conv1",))
    verdicts["layer2.0.conv1"], verdicts["layer2.1.conv1"] = "sssf", "ffff"
    (tmp_path / "b").mkdir()
    stage = advise(tmp_path / "b", verdicts).stages[1]
    assert (stage.rate, stage.skipped) == (0.2, ("layer2.1.conv1",))  # 1½ × 7 > ½ × 16


@settings(max_examples=10, deadline=None)
@given(cells=st.lists(st.text("sof", min_size=4, max_size=4), min_size=3, max_size=3))
def test_no_other_rate_of_a_stage_removes_more(tmp_path_factory, cells):
    names = [f"layer1.{index}.conv1" for index in range(3)]
    verdicts = dict(zip(names, cells, strict=True))
    advice = advise(tmp_path_factory.mktemp("any"), verdicts)
    chain = [text.partition("f")[0].rfind("s") + 1 for text in cells]  # up to the last safe one
    gains = [fall * sum(n > i for n in chain) for i, fall in enumerate((2, 4, 8, 10))]
    takers = [name for name in names if not entry(advice, name).skipped]
    fall = dict(zip((0, *RATIOS), (0, 2, 4, 8, 10), strict=True))[advice.stages[0].rate]
    assert fall * len(takers) == max(0, *gains)


def test_no_layer_is_dropped_silently(tmp_path):
    with plant(tmp_path / "a.lesion", {}) as study:
        advice = recommend(study, max_drop=2)
        assert [one.layer for one in advice.layers] == list(study.anatomy.layer)
    unmeasured = {one.layer: one.reason for one in advice.layers if one.status == "unmeasured"}
    assert len(unmeasured) == 10
    assert unmeasured["fc"] == "its outputs are the network's"
    assert not set(unmeasured) & {*advice.rates, *advice.skip}
    assert "layer1.0.conv2, layer1.1.conv2, layer1.2.conv2 and 6 more: coupled" in advice.text()


def test_a_layer_without_lesion_or_reason_is_said(tmp_path):
    with Study.create(tmp_path / "a.lesion", planted.header(images=200)) as study:
        chosen = [
            lesion for lesion in planted.lesions(study.anatomy)[0] if "layer1" in lesion.target
        ]
        study.add(chosen)
        base = planted.intact(200)
        planted.record(study, base, {one: planted.lesioned(base, 0, 0) for one in chosen}, 200)
        advice = recommend(study, max_drop=5)
    assert entry(advice, "layer2.0.conv1").reason == "the study has no lesion of it by l1"
    assert [stage.stage for stage in advice.stages] == [1]


def test_a_skipped_layer_gives_its_reason_in_words(tmp_path):
    advice = advise(tmp_path, {"layer2.0.conv1": "fsss", "layer2.1.conv1": "soff"})
    assert entry(advice, "layer2.0.conv1").line == (
        "8 layer2.0.conv1: first of stage 2, down-sampling; "
        "10 % of its filters cost 10.0 points [8.2, 12.0]"
    )
    assert entry(advice, "layer2.1.conv1").line == (  # what fails firmly, before what is open
        "10 layer2.1.conv1: stage 2; 50 % of its filters cost 10.0 points [8.2, 12.0]; "
        "safe up to 10 % (0.0 points [−0.4, 0.4])"
    )
    assert entry(advice, "layer3.2.conv1").reason == (
        "last of stage 3; safe up to 60 % (0.0 points [−0.4, 0.4])"
    )


def test_an_undecided_layer_says_how_many_images_it_takes(tmp_path):
    """After the first images it says about how many more settle it, and about as many do."""
    verdicts = {"layer1.0.conv1": "ssso"}
    with plant(tmp_path / "a.lesion", verdicts, images=4000, few=0) as study:
        lesion = next(
            one for one in study.lesions if (one.target, one.amount) == ("layer1.0.conv1", 0.6)
        )
        base = planted.intact(4000)
        hesitant = np.argsort(np.where(base.margin > 0, base.margin, np.inf))[:80:2]
        whole = {lesion: planted.flipped(base, hesitant)}
        planted.sweep(study, Decide(Aim(2)), base, whole, most=1)
        first = int(study.seen(lesion).sum())
        found = entry(recommend(study, max_drop=2), "layer1.0.conv1")
        assert found.rate == 0.5
        text = re.search(rf"not settled by {first} images, about ([\d ]+) more would", found.reason)
        needed = int(text[1].replace(" ", ""))
        planted.sweep(study, Decide(Aim(2)), base, whole)
        assert entry(recommend(study, max_drop=2), "layer1.0.conv1").rate == 0.6
        assert needed / 3 < study.seen(lesion).sum() - first < 3 * needed


def test_an_undecided_layer_of_too_few_images_does_not_promise_a_verdict(tmp_path):
    found = entry(advise(tmp_path, {"layer1.0.conv1": "sooo"}), "layer1.0.conv1")
    assert found.rate == 0.1 and "20 % of its filters cost " in found.reason
    assert "not settled by 30 images, " in found.reason


def test_a_complete_study_decides_by_what_is_the_case(tmp_path):
    """20 of 1000 images is a drop of 2 points, which 2 tolerate, and 21 is not."""
    ratios = (0.1, 0.5)
    counts = {"layer1.0.conv1": 20, "layer1.1.conv1": 21}
    with planted.study(
        tmp_path / "a.lesion", images=1000, ratios=ratios,
        counts=lambda layer, ratio: (counts.get(layer.name, 0) if ratio == 0.5 else 0, 0),
    ) as study:  # fmt: skip
        rates = recommend(study, max_drop=2).rates
    assert (rates["layer1.0.conv1"], rates["layer1.1.conv1"]) == (0.5, 0.1)


def test_a_sweep_that_stopped_early_is_judged_as_the_whole(tmp_path):
    """Each ratio that either study calls safe or sensitive is what the planted drops say."""
    ratios, base = (0.2, 0.4, 0.6, 0.8), planted.intact(4000)
    with planted.study(tmp_path / "whole", images=4000, ratios=ratios) as study:
        whole = {lesion: study.outcomes(lesion) for lesion in study.lesions}
        wanted = recommend(study, max_drop=2)
    with Study.create(tmp_path / "early", planted.header(images=4000)) as study:
        study.add(*planted.lesions(study.anatomy, ratios))
        planted.sweep(study, Decide(Aim(2)), base, whole)
        found = recommend(study)
        seen = [int(study.seen(lesion).sum()) for lesion in study.lesions]
    assert found.max_drop == 2 and found.rates == wanted.rates
    assert found.skip == wanted.skip and found.stages == wanted.stages
    assert 0 < sum(seen) < 0.4 * sum(map(len, whole.values())) and 0 in seen


def test_the_branch_stands_alone_and_is_no_rate(tmp_path):
    advice = advise(tmp_path, {"conv1": "ffff"})
    found = entry(advice, "conv1", "branch")
    assert found.skipped and found.stage_rate is None
    assert found.reason.endswith("measured as a branch, not to be removed alone")
    assert advice.skip == ["conv1"]
    assert "conv1" not in advice.rates
    assert all("conv1" not in (*stage.layers, *stage.skipped) for stage in advice.stages)


def test_a_coupled_unit_is_a_row_of_its_own_and_explains_its_layers(tmp_path):
    base = planted.intact(1000)
    with plant(tmp_path / "a.lesion", {}) as study:
        unit = Lesion("conv1", "coupled", "l1", 0.5, 32, 64)
        study.add([unit])
        planted.record(study, base, {unit: planted.lesioned(base, 100, 0)}, 1000)
        advice = recommend(study, max_drop=2)
    found = entry(advice, "conv1", "coupled")
    assert (found.status, found.rate, found.number) == ("sensitive", 0, None)
    assert found.line == ("conv1: coupled unit; 50 % of its filters cost 10.0 points [8.2, 12.0]")
    assert entry(advice, "layer2.2.conv2", "branch").reason == ("its filters fall with unit conv1")
    assert entry(advice, "conv1", "branch").rate == 0.6
    assert "conv1" not in {*advice.skip, *advice.rates}


def test_a_failed_lesion_ends_the_chain_and_says_why(tmp_path):
    with plant(tmp_path / "a.lesion", {}) as study:
        lesion = next(one for one in study.lesions if one.target == "layer3.1.conv1")
        study.fail(replace(lesion, amount=0.2), "its outputs are not finite")
        found = entry(recommend(study, max_drop=2), "layer3.1.conv1")
    assert found.rate == 0.1
    assert "20 % of its filters: its outputs are not finite" in found.reason


def test_of_several_seeds_the_worst_counts(tmp_path):
    base = planted.intact(1000)
    with plant(tmp_path / "a.lesion", {}, criteria=("random",)) as study:
        again = [replace(one, seed=1) for one in study.lesions if one.target == "layer1.0.conv1"]
        study.add(again)
        whole = {one: planted.lesioned(base, 100 if one.amount > 0.3 else 0, 0) for one in again}
        planted.record(study, base, whole, 1000)
        assert recommend(study, max_drop=2).rates["layer1.0.conv1"] == 0.2


def test_l1_is_judged_unless_another_criterion_is_named(tmp_path):
    with plant(tmp_path / "a.lesion", {}, criteria=("random", "l1")) as study:
        assert recommend(study, max_drop=2).criterion == "l1"
        assert recommend(study, max_drop=2, criterion="random").criterion == "random"
        with pytest.raises(EvidenceError, match=r"one of the criteria .*\(random, l1\), got fpgm"):
            recommend(study, criterion="fpgm")


def test_a_study_without_images_is_no_evidence(tmp_path):
    with Study.create(tmp_path / "a.lesion", planted.header()) as study:
        study.add(*planted.lesions(study.anatomy))
        with pytest.raises(EvidenceError, match=r"Expected measured images .* holds none: run the"):
            recommend(study)


def test_too_few_images_are_refused_with_how_many_it_takes(tmp_path):
    with plant(tmp_path / "a.lesion", {}, default="oooo") as study:
        with pytest.raises(EvidenceError) as caught:
            recommend(study, max_drop=2)
        assert re.fullmatch(
            r"Expected one layer at least to lose surely more or surely less than 2 points, but 30 "
            r"of 1 000 images settle none: about [\d ]+ more would settle a first one; measure "
            r"more images, or allow another drop\.", str(caught.value),
        )  # fmt: skip


@pytest.mark.parametrize("max_drop", [-1, 0, 100, float("nan")])
def test_a_tolerance_outside_0_and_100_is_refused(tmp_path, max_drop):
    with plant(tmp_path / "a.lesion", {}) as study, pytest.raises(
        LesionError, match="Expected a tolerance in points, above 0 and below 100, such as 1, got"
    ):  # fmt: skip
        recommend(study, max_drop=max_drop)


def test_advice_is_json_and_a_table_and_a_text_that_ends_with_the_caveat(tmp_path):
    advice = advise(tmp_path, {"layer2.0.conv1": "ffff"})
    values = json.loads(json.dumps(advice.to_dict(), allow_nan=False))
    assert values["skip"] == ["layer2.0.conv1"]
    assert values["rates"] == advice.rates
    assert values["stages"][1] == {
        "stage": 2, "rate": 0.6, "layers": ["layer2.1.conv1", "layer2.2.conv1"],
        "skipped": ["layer2.0.conv1"],
    }  # fmt: skip
    table = advice.table()
    assert list(table["layer"]) == [one.layer for one in advice.layers]
    assert list(table.loc[table["skipped"], "number"]) == [8]
    lines = advice.text().splitlines()
    assert lines[0].startswith("The intact network: 93.00 % top-1 on 1 000 images.")
    assert lines[1] == "To skip (1 of 10 measured):"
    assert lines[2] == f"  {entry(advice, 'layer2.0.conv1').line}"
    assert "  stage 2: 60 % in 2 of 3 layers, without layer2.0.conv1" in lines
    assert lines[-1] == values["caveat"] == CAVEAT
    assert "barely correlated with accuracy after it (Feng et al. 2024)" in CAVEAT


# --- the layers ranked


STOOD = {
    "layer1.0.conv1": "ssff", "layer2.0.conv1": "ffff", "layer3.0.conv1": "sfff",
    "layer1.2.conv1": "sfff", "layer2.2.conv1": "ssff", "layer3.2.conv1": "ssff",
}  # fmt: skip


def test_the_layers_are_ranked_by_what_they_stand_whatever_their_stage_takes(tmp_path):
    advice = advise(tmp_path, STOOD)
    free = [(one.layer, one.rate) for one in advice.ranking if one.kind == "free"]
    assert free == [
        ("layer2.0.conv1", 0), ("layer1.2.conv1", 0.1), ("layer3.0.conv1", 0.1),
        ("layer1.0.conv1", 0.2), ("layer2.2.conv1", 0.2), ("layer3.2.conv1", 0.2),
        ("layer1.1.conv1", 0.6), ("layer2.1.conv1", 0.6), ("layer3.1.conv1", 0.6),
    ]  # fmt: skip
    lines = advice.text().splitlines()
    start = lines.index("Most sensitive first, by the ratio that each stands alone:")
    assert lines[start + 1] == "  0 %: layer2.0.conv1"
    assert lines[start + 2] == "  10 %: layer1.2.conv1, layer3.0.conv1"
    values = advice.to_dict()
    assert [one["layer"] for one in values["ranking"]] == [one.layer for one in advice.ranking]
    table = advice.table().dropna(subset="rank").sort_values("rank")
    assert table["layer"].tolist() == [one.layer for one in advice.ranking]


def test_what_is_not_told_yet_has_no_place_in_the_ranking(tmp_path):
    """Neither unmeasured layers nor undecided ones are called sensitive, or count at a stage's end.

    With layer1.0.conv1 among them the first blocks would stand 0 % in the median."""
    told = {**STOOD, "layer1.0.conv1": "oooo", "layer2.0.conv1": "oooo"}
    advice = advise(tmp_path, told)
    assert advice.ranking[0].layer == "layer1.2.conv1"
    assert not {"layer1.0.conv1", "layer2.0.conv1"} & {one.layer for one in advice.ranking}
    assert "  not told yet: layer1.0.conv1, layer2.0.conv1" in advice.text().splitlines()
    assert "in the first blocks of stages 10 %" in advice.boundaries


def test_of_two_that_stand_the_same_the_one_that_loses_more_comes_first(tmp_path):
    counts = {"layer1.0.conv1": 3, "layer1.1.conv1": 9, "layer1.2.conv1": 6}
    with planted.study(
        tmp_path / "a", images=1000, ratios=(0.5,),
        counts=lambda layer, _: (counts.get(layer.name, 0), 0),
    ) as study:  # fmt: skip
        ranked = [one.layer for one in recommend(study, max_drop=2).ranking]
    assert ranked[:3] == ["layer1.1.conv1", "layer1.2.conv1", "layer1.0.conv1"]


def test_blocks_at_the_ends_of_stages_are_compared_with_the_others(tmp_path):
    """0.2, 0 and 0.1 in the first blocks, 0.1, 0.2 and 0.2 in the last, 0.6 in the others."""
    advice = advise(tmp_path, STOOD)
    said = (
        "Layers stand, in the median: in the first blocks of stages 10 %, the last 20 %, the "
        "others 60 %."
    )
    assert advice.boundaries == said and said in advice.text().splitlines()
    assert advice.to_dict()["boundaries"] == said

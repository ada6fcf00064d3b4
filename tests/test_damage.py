"""A study that holds several kinds of damage of one layer tells them apart, whatever is asked."""

import json

import mixed
import numpy as np
import pandas as pd
import planted
import pytest

import lesion as package
from lesion.errors import EvidenceError, LesionError
from lesion.lesions.lesion import Lesion, Skipped
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.reports.plots.heatmap import heatmap_table
from lesion.reports.plots.rows import of_damage
from lesion.reports.plots.sensitivity import sensitivity_table
from lesion.results.compare import compare
from lesion.results.curves import curves
from lesion.results.reading import Reading
from lesion.study.aim import Aim
from lesion.study.error_shares import Plan, family_of, shares

EQUAL = {"filters": (0.3, 0.6), "noise": (0.3, 0.6)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with mixed.study(tmp_path_factory.mktemp("mixed") / "m.lesion") as made:
        yield made


@pytest.fixture(scope="module")
def bits(tmp_path_factory):
    """A study of bits alone."""
    with mixed.study(tmp_path_factory.mktemp("bits") / "b.lesion", {"quantise": (8, 4)}) as made:
        yield made


def entry(advice, layer):
    return next(each for each in advice.layers if each.layer == layer)


def test_curves_hold_each_damage_in_order_of_harm(study):
    frame = curves(study)
    rows = frame[frame["layer"] == "layer1.0.conv1"].groupby("damage")["amount"]
    assert {damage: list(amounts) for damage, amounts in rows} == {
        "filters": [0.3, 0.6], "noise": [0.3, 0.6], "quantise": [8, 6, 4, 2],
    }  # fmt: skip
    for row in frame[frame["reason"] == ""].itertuples():
        lost = mixed.points(row.layer, row.damage, row.amount)
        assert row.drop == pytest.approx(lost)
    assert list(curves(study, damage="quantise")["damage"].unique()) == ["quantise"]


def test_equal_amounts_of_two_kinds_are_never_joined(study, tmp_path):
    with mixed.study(tmp_path / "a", {"filters": (0.3, 0.6)}) as alone:
        expected = recommend(alone, 1.0)
    assert recommend(study, 1.0).layers == expected.layers
    noise = entry(recommend(study, 1.0, damage="noise"), "layer1.0.conv1")
    assert (noise.status, noise.rate) == ("sensitive", 0.0) and "0.3 σ cost 5.0" in noise.reason


def test_advice_on_bits_reads_downwards(study):
    advice = recommend(study, 1.0, damage="quantise")
    plain, down = entry(advice, "layer1.0.conv1"), entry(advice, "layer2.0.conv1")
    assert (plain.rate, plain.drop) == (4, pytest.approx(0.8))
    safe, stop = plain.reason.split("; ")[1:]
    assert safe.startswith("safe down to 4 bits (0.8 points [")
    assert stop.startswith("2 bits of its weights cost 30.0 points [")
    assert (down.rate, down.status) == (8, "safe")
    assert advice.rates == {name: entry(advice, name).rate for name in mixed.LAYERS}
    assert advice.ranking[0].layer == "layer2.0.conv1"
    assert (advice.stages, advice.skip, advice.boundaries) == ((), [], "")
    assert all(each.stage_rate is None and not each.skipped for each in advice.layers)


def test_advice_on_bits_says_so_in_words(study):
    advice = recommend(study, 1.0, damage="quantise")
    text = advice.text()
    assert "the damage is quantise, by l1." in text
    assert "  8 bits: layer2.0.conv1\n  4 bits: layer" in text
    for word in ("%", "filters fall", "To skip", "Rates by stage", "up to"):
        assert word not in text.split("\n", 1)[1], word
    assert "800" not in text
    values = json.loads(json.dumps(advice.to_dict()))
    assert values["damage"] == "quantise" and "amounts" not in values


def test_what_stands_no_amount_says_none(tmp_path):
    def lost(layer, damage, amount):
        return 9.0 if layer == mixed.LAYERS[0] else 0.0

    with mixed.study(tmp_path / "a", {"quantise": (8, 4)}, lost) as made:
        advice = recommend(made, 1.0)
    assert advice.ranking[0].layer == mixed.LAYERS[0] and advice.rates.keys() == {*mixed.LAYERS[1:]}
    assert f"  none: {mixed.LAYERS[0]}\n  4 bits: " in advice.text()
    assert advice.skip == [mixed.LAYERS[0]]
    kept, alone = advice.text().split("Each layer by itself:")
    assert "To keep in 32 bits (1 of 3 measured):" in kept and f"{mixed.LAYERS[0]}: " in kept
    assert mixed.LAYERS[0] not in alone and all(name in alone for name in mixed.LAYERS[1:])


def test_reasons_are_told_of_the_damage_that_they_are_of(study, tmp_path):
    with mixed.study(tmp_path / "a") as made:
        made.set_damage("n_m", mixed.BITS)
        made.add((), [Skipped("conv1", "layer", "its filters read 3 inputs").by("n_m"),
                      Skipped("fc", "layer", "its rows are one").by("quantise")])  # fmt: skip
        frame = curves(made)
        advice = recommend(made, 1.0, damage="quantise")
    rows = frame[frame["reason"].str.startswith("its ")]
    assert rows[["layer", "damage"]].to_numpy().tolist() == [["conv1", "n_m"], ["fc", "quantise"]]
    assert "read 3 inputs" not in advice.text() and "fc: its rows are one" in advice.text()
    for damage, there in (("quantise", ["fc"]), ("noise", [])):
        shown = of_damage(frame, damage)
        assert shown[shown["reason"].str.startswith("its ")]["layer"].tolist() == there


def test_filters_are_what_is_judged_where_nothing_is_named(study, bits):
    assert recommend(study, 1.0).damage == "filters"
    assert recommend(bits, 1.0).damage == "quantise"
    with pytest.raises(EvidenceError, match=r"kinds of damage .*\(quantise\), got filters"):
        recommend(bits, 1.0, damage="filters")


def test_bits_save_no_multiply_accumulates(study, bits, tmp_path):
    with mixed.study(tmp_path / "a", {"filters": (0.3, 0.6)}) as alone:
        expected = recommend(alone, budget=Budget(macs=0.95))
    found = recommend(study, budget=Budget(macs=0.95))
    assert (found.filters, found.drop, found.high) == (
        expected.filters, expected.drop, expected.high,
    )  # fmt: skip
    with pytest.raises(LesionError, match=r"lesions that save MACs, but those of quantise .* none"):
        recommend(bits, budget=Budget(macs=0.95))


def test_class_drops_name_the_damage(study):
    frame = curves(study, by_class=True)
    own = frame[(frame["layer"] == mixed.LAYERS[0]) & (frame["amount"] == 0.3)]
    drops = {damage: part["drop"].mean() for damage, part in own.groupby("damage")}
    assert drops.keys() == {"filters", "noise"} and drops["noise"] > drops["filters"] + 3
    assert set(curves(study, damage="noise", by_class=True)["damage"]) == {"noise"}


def test_comparing_takes_one_damage(tmp_path):
    with mixed.study(tmp_path / "a", recoveries=("", "bn")) as made:
        found = compare(made, "bn", damage="quantise")
        plain = compare(made, "bn")
    assert (found.damage, found.amounts) == ("quantise", (8, 6, 4, 2))
    assert "quantise 8, 6, 4, 2" in found.text()
    assert (plain.damage, plain.amounts) == ("filters", (0.3, 0.6))
    low = found.cells[found.cells["amount"] == 2]
    np.testing.assert_allclose(low["one_shot"], 2 * low["recovered"], atol=0.1)


def test_claims_of_each_damage_share_their_own_error(study):
    lesions = study.lesions
    one = {each.damage: each for each in lesions if each.target == mixed.LAYERS[0]}
    assert family_of(one["filters"]) == "l1/" and family_of(one["quantise"]) == "quantise/l1/"
    for damage in one:
        own = [each for each in lesions if each.damage == damage]
        assert shares(study, Aim(1.0), own, study.images).sum() <= 0.05


def test_plans_of_filters_read_as_they_did():
    lesions = mixed.lesions("filters", (0.3, 0.6))
    plan = Plan.of(lesions, Aim(), 100)
    assert "damage" not in json.loads(plan.to_text()) and Plan.from_text(plan.to_text()) == plan
    other = Plan.of(mixed.lesions("quantise", (8, 4)), Aim(), 100)
    assert Plan.from_text(other.to_text()) == other and other.family == "quantise/l1/"


def test_unplanned_amounts_have_a_share_and_all_together_no_more_than_one():
    plan = Plan.of(mixed.lesions("quantise", (8, 4), mixed.LAYERS[:1]), Aim(), 100)
    anatomy = planted.anatomy()
    numbers = [n / 4 for n in range(1, 4000)]
    weights = [
        plan.weight(Lesion(mixed.LAYERS[0], "free", "l1", n, 0, 16, "quantise"), anatomy)
        for n in [*numbers, *(-n for n in numbers)]
    ]
    assert min(weights) > 0 and sum(weights) < 1
    assert plan.weight(Lesion("conv1", "branch", "l1", 3, 0, 16, "quantise"), anatomy) > 0


def test_a_reading_sees_one_damage(study):
    reading = Reading.of(study, damage="noise")
    assert {each.damage for each in reading.drops} == {"noise"} and len(reading.lesions) == 6
    assert len(Reading.each(study, None, 95)) == 3


@pytest.mark.parametrize("table", [sensitivity_table, heatmap_table])
def test_tables_of_pictures_are_of_one_damage(study, table):
    frame = curves(study)
    of_bits = table(frame, damage="quantise")
    amounts = of_bits["amount"].unique() if "amount" in of_bits else of_bits.columns
    assert list(amounts) == [8, 6, 4, 2]
    alone = frame[frame["damage"].isin(["", "filters"])]
    pd.testing.assert_frame_equal(table(frame), table(alone))


def test_axes_of_bits_run_down(study):
    frame = curves(study)
    advice = package.recommend(study, 1.0, damage="quantise")
    for axes in (
        package.plot_sensitivity(frame, advice)[0],
        package.plot_rates(advice),
    ):
        left, right = axes.get_xlim()
        assert left > 8 > 2 > right
    labels = [axes.get_xlabel() for axes in package.plot_sensitivity(frame, advice)]
    assert labels[-1] == "bits of the weights in this layer"
    heatmap = package.plot_heatmap(frame, advice)
    assert [text.get_text() for text in heatmap.get_xticklabels()] == ["8", "6", "4", "2"]
    assert heatmap.get_xlabel().startswith("bits of the weights")


def test_curves_that_do_not_say_how_amounts_read_are_refused(study):
    frame = curves(study)
    frame.attrs.clear()
    with pytest.raises(LesionError, match="say how amounts of quantise read"):
        package.plot_heatmap(frame, damage="quantise")
    package.plot_heatmap(frame)


def test_files_of_two_damages_lie_side_by_side(study, tmp_path):
    from lesion.reports.plots.save import save_all

    frame = curves(study)
    names = {
        damage: [path.name for path in save_all(frame, tmp_path, damage=damage)]
        for damage in ("filters", "quantise")
    }
    assert names["filters"] == ["sensitivity.png", "drop.png", "heatmap.png"]
    assert names["quantise"] == [name.replace(".", "-quantise.") for name in names["filters"]]


def test_advice_on_another_damage_is_no_advice_on_this(study):
    advice = recommend(study, 1.0)
    with pytest.raises(LesionError, match="advice on quantise, got one on filters"):
        package.plot_heatmap(curves(study), advice, damage="quantise")


def test_the_command_line_takes_a_damage(study, capsys, monkeypatch, tmp_path):
    from lesion.cli.run import main

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["lesion", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        return capsys.readouterr().out

    path = study.path
    assert "safe down to 4 bits" in run("recommend", path, "--max-drop", 1, "--damage", "quantise")
    assert "safe up to 30 %" in run("recommend", path, "--max-drop", 1)
    table = run("curves", path)
    assert "damage" in table.split("\n")[0] and "removed" in table.split("\n")[0]
    written = run("plot", path, "-o", tmp_path / "plots", "--max-drop", 1).split()
    assert any(name.endswith("rates.png") for name in written)
    assert any(name.endswith("rates-quantise.png") for name in written)
    assert sum(name.endswith("norms.png") for name in written) <= 1

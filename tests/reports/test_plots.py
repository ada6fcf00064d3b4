"""The plots: tables against formulas, and what is drawn against the tables."""

from dataclasses import replace
from itertools import combinations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from lesion.errors import EvidenceError, LesionError
from lesion.reports.plots.heatmap import heatmap_table, plot_heatmap, short
from lesion.reports.plots.norms import norms_table, plot_norms
from lesion.reports.plots.rates import plot_rates, rates_table
from lesion.reports.plots.rows import one_criterion
from lesion.reports.plots.save import save_all
from lesion.reports.plots.sensitivity import plot_sensitivity, sensitivity_table
from lesion.reports.plots.style import COLOURS, DASHES, line_style, spread, stage_style
from lesion.results.advice import Advice, LayerAdvice
from lesion.results.curves import curves as curves_of
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.sweeps.goals import Decide


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with planted.study(tmp_path_factory.mktemp("study") / "a.lesion", images=1000) as made:
        yield made


@pytest.fixture(scope="module")
def curves(study):
    return with_stem(curves_of(study))


def with_stem(curves):
    """The same curves with the first layer as a stem, so that every kind of panel is there."""
    return curves.assign(stage=curves["stage"].mask(curves["layer"] == "conv1", 0))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "b.lesion"
    with planted.study(path, depth=56, images=300) as made:
        return with_stem(curves_of(made))


def layer_advice(row, skipped, rate):
    """Advice on one row of the curves, with the rates that the test plants."""
    stage = None if pd.isna(row.stage) else row.stage
    measured = not pd.isna(row.drop)
    return LayerAdvice(
        layer=row.layer, number=row.number, stage=stage, unit=row.unit, kind=row.kind,
        status="safe" if measured else "unmeasured", rate=rate if measured else 0.0,
        stage_rate=None if not stage else 0.0 if skipped else 0.3, skipped=skipped,
        drop=None, low=None, high=None, reason=row.reason,
    )  # fmt: skip


def advise(curves, skipped=(), rate=0.4, max_drop=1.0, criterion="l1"):
    layers = (
        layer_advice(row, row.layer in skipped, 0.1 if row.layer in skipped else rate)
        for row in curves.drop_duplicates("layer").itertuples()
    )
    return Advice(max_drop, 95, "top1", criterion, 1000, 93.0, tuple(layers), (), "")


DOWN = ("layer2.0.conv1", "layer3.0.conv1")


@pytest.fixture(autouse=True)
def untouched():
    """No drawing function changes matplotlib's settings."""
    before = matplotlib.rcParams.copy()
    yield
    plt.close("all")
    assert matplotlib.rcParams == before


def boxes(ax, texts):
    ax.figure.draw_without_rendering()
    return [Text.get_window_extent(text) for text in texts if text.get_text()]  # without leaders


def assert_apart(found):
    for one, other in combinations(found, 2):
        assert not one.overlaps(other), (one, other)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


# rows


def test_seeds_merge_to_their_mean_and_the_span_of_their_intervals(curves):
    twin = curves.assign(
        seed=1, drop=curves["drop"] + 2, low=curves["low"] - 1, high=curves["high"] + 3
    )
    merged = one_criterion(pd.concat([curves, twin], ignore_index=True))
    single = one_criterion(curves)
    assert len(merged) == len(single)
    np.testing.assert_allclose(merged["drop"], single["drop"] + 1)
    np.testing.assert_allclose(merged["low"], single["low"] - 1)
    np.testing.assert_allclose(merged["high"], single["high"] + 3)


def test_criteria_and_roundings_are_not_mixed(curves):
    other = curves.assign(criterion="random", drop=curves["drop"] + 50)
    nearest = curves.assign(rounding="nearest", drop=curves["drop"] + 70)
    mixed = pd.concat([curves, other, nearest], ignore_index=True)
    pd.testing.assert_series_equal(one_criterion(mixed)["drop"], one_criterion(curves)["drop"])
    np.testing.assert_allclose(
        one_criterion(mixed, "random")["drop"].dropna(), curves["drop"].dropna() + 50
    )


def test_unknown_criterion_names_those_there_are(curves):
    with pytest.raises(LesionError, match=r"measured criteria \(l1\), got 'taylor'"):
        plot_heatmap(curves, criterion="taylor")


def test_curves_without_a_measurement_are_refused(curves):
    with pytest.raises(EvidenceError, match="at least one measured lesion, got none"):
        plot_sensitivity(curves[curves["drop"].isna()])


def test_every_layer_of_the_curves_is_a_row(curves):
    assert set(one_criterion(curves)["layer"]) == set(curves["layer"])


# labels


@given(st.lists(st.floats(-3, 3), max_size=30), st.floats(0.001, 0.5))
def test_spread_keeps_order_gap_and_limits(wanted, gap):
    placed = spread(wanted, gap, 0.0, 1.0)
    assert ((placed >= -1e-9) & (placed <= 1 + 1e-9)).all()
    order = np.argsort(wanted, kind="stable")
    room = min(gap, 1 / max(1, len(wanted) - 1))
    assert (np.diff(placed[order]) >= room - 1e-9).all()


def test_spread_leaves_what_is_apart_where_it_is():
    np.testing.assert_allclose(spread([0.9, 0.1, 0.5], 0.2, 0, 1), [0.9, 0.1, 0.5])


def test_styles_differ_without_colour():
    assert len({line_style(i)["marker"] for i in range(7)}) == 7
    assert len({str(stage_style(i)["linestyle"]) for i in range(7)}) == len(DASHES)
    assert len({(line_style(i)["marker"], line_style(i)["color"]) for i in range(56)}) == 56


def test_emphasis_stays_apart_for_the_colour_blind():
    """The three commonest colours, as a deuteranope sees them (Viénot et al. 1999)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714],
                       [0.0299566, 0.184309, 1.46709]])  # fmt: skip
    blind = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    matrix = np.linalg.inv(to_lms) @ blind @ to_lms
    seen = [matrix @ np.power(to_rgb(colour), 2.2) for colour in COLOURS[:3]]
    for one, other in combinations(seen, 2):
        assert np.abs(one - other).max() > 0.1


# sensitivity


def test_sensitivity_table_starts_intact_and_holds_every_measured_lesion(curves):
    table = sensitivity_table(curves, column="drop")
    measured = curves[curves["drop"].notna()]
    starts = table.groupby("label").head(1)
    assert (starts[["amount", "value", "low", "high"]] == 0).all(axis=None)
    rest = table.drop(starts.index)
    np.testing.assert_allclose(rest["value"], measured["drop"])
    np.testing.assert_allclose(rest["amount"], 100 * measured["pruned"] / measured["channels"])


def test_accuracy_bounds_are_baseline_minus_the_bounds_of_the_drop(curves):
    table = sensitivity_table(curves)
    rest = table[table["amount"] > 0]
    measured = curves[curves["drop"].notna()]
    np.testing.assert_allclose(rest["value"], measured["accuracy"])
    np.testing.assert_allclose(rest["low"], measured["baseline"] - measured["high"])
    np.testing.assert_allclose(rest["high"], measured["baseline"] - measured["low"])


def test_without_advice_the_steepest_layer_of_each_panel_is_marked(curves):
    table = sensitivity_table(curves)
    mean = curves.groupby(["stage", "layer"])["drop"].mean()
    expected = {layer for _, layer in mean.dropna().groupby("stage").idxmax()}
    marked = table[table["marked"]]
    assert set(marked["layer"]) == expected


def test_unknown_column_is_refused(curves):
    with pytest.raises(LesionError, match=r'"accuracy" or "drop", got \'loss\''):
        plot_sensitivity(curves, column="loss")


@pytest.mark.parametrize("column", ["accuracy", "drop"])
def test_sensitivity_lines_are_the_table(curves, column):
    advice = advise(curves, DOWN)
    table = sensitivity_table(curves, advice, column)
    axes = plot_sensitivity(curves, advice, column)
    assert [ax.get_title("left").split("  ")[0] for ax in axes] == [
        "stem", "stage 1", "stage 2", "stage 3"
    ]  # fmt: skip
    drawn = {name: line for ax in axes for name, line in lines_of(ax).items()}
    for name, part in table.groupby("label"):
        np.testing.assert_allclose(drawn[name].get_xdata(), part["amount"])
        np.testing.assert_allclose(drawn[name].get_ydata(), part["value"])
        marked = part["layer"].iloc[0] in DOWN
        assert (drawn[name].get_linewidth() > 1.5) == marked
        assert (drawn[name].get_marker() != "None") == marked


def test_sensitivity_shows_intervals_intact_network_and_tolerance(curves):
    _, ax, *_ = plot_sensitivity(curves, advise(curves, DOWN))
    baseline = curves["baseline"].dropna().iloc[0]
    flat = [line.get_ydata()[0] for line in ax.get_lines() if len(set(line.get_ydata())) == 1]
    np.testing.assert_allclose(sorted(flat), [baseline - 1, baseline])
    table = sensitivity_table(curves)
    first = table[table["panel"] == "stage 1"]["label"].unique()
    assert len(ax.collections) == len(first)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    part = table[table["label"] == first[0]]
    assert (band.min(), band.max()) == pytest.approx((part["low"].min(), part["high"].max()))


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """The curves of a study whose lesions stopped as soon as they were told apart."""
    base, ratios = planted.intact(4000), (0.2, 0.5, 0.8)
    path = tmp_path_factory.mktemp("study") / "c.lesion"
    with Study.create(path, planted.header(images=4000)) as made:
        made.add(*planted.lesions(made.anatomy, ratios))
        whole = {}
        for index, one in enumerate(made.lesions):
            layer = made.anatomy.layer[one.target]
            counts = planted.counts(layer, one.amount, 4000)
            whole[one] = planted.lesioned(base, *counts, seed=index)
        planted.sweep(made, Decide(Aim(2)), base, whole)
        return curves_of(made)


def test_where_lesions_stopped_early_marked_layers_alone_show_intervals_as_lines(early):
    table = sensitivity_table(early, advise(early, DOWN), column="drop")
    assert (table["interval"] == "anytime").any()
    axes = plot_sensitivity(early, advise(early, DOWN), column="drop")
    part = table[(table["layer"] == DOWN[0]) & (table["interval"] == "anytime")]
    (ax,) = (ax for ax in axes if any(text.get_text().endswith(DOWN[0]) for text in ax.texts))
    (lines,) = (one for one in ax.collections if isinstance(one, LineCollection))
    drawn = np.array(lines.get_segments())
    np.testing.assert_allclose(drawn[:, 0, 0], drawn[:, 1, 0])
    for row in part.itertuples():
        (place,) = np.flatnonzero(np.isclose(drawn[:, 0, 0], row.amount))
        np.testing.assert_allclose(drawn[place, :, 1], [row.low, row.high])
    bands = [one for one in ax.collections if not isinstance(one, LineCollection)]
    whole = table[(table["panel"] == part["panel"].iloc[0]) & (table["layer"] != DOWN[0])]
    stopped = whole.groupby("label")["interval"].agg(lambda one: (one == "anytime").any())
    assert len(bands) == (~stopped).sum()  # those that have seen all images


def test_sensitive_layers_are_named_and_labels_do_not_overlap(deep):
    skipped = list(deep[deep["drop"].notna() & (deep["stage"] == 2)]["layer"].unique())
    axes = plot_sensitivity(deep, advise(deep, skipped))
    texts = {ax: [text.get_text() for text in ax.texts] for ax in axes}
    assert sorted(texts[axes[2]]) == sorted(f"{20 + 2 * i} layer2.{i}.conv1" for i in range(9))
    assert texts[axes[1]] == texts[axes[3]] == []
    found = [text for ax in axes for text in ax.texts]
    assert_apart(boxes(axes[0], found))
    others = [ax.get_window_extent() for ax in axes]
    assert not any(box.overlaps(ax) for box in boxes(axes[0], found) for ax in others)


def test_labels_that_do_not_fit_are_counted(deep):
    skipped = list(deep[deep["drop"].notna()]["layer"].unique())
    ax = plt.subplots(figsize=(5, 2))[1]
    plot_sensitivity(deep, advise(deep, skipped), ax=ax)
    assert_apart(boxes(ax, ax.texts))
    named = [text.get_text() for text in ax.texts]
    assert f"and {len(skipped) - len(named) + 1} more" in named


def test_sensitivity_counts_layers_without_numbers(curves):
    counts = curves[curves["drop"].isna()]["stage"].value_counts(dropna=False)
    assert counts.sum() == 10
    titles = [ax.get_title("left") for ax in plot_sensitivity(curves)]
    expected = [
        f"stage {i}  ({counts[i]} not measured)" if i in counts else f"stage {i}" for i in (1, 2, 3)
    ]
    assert titles == ["stem", *expected]


def test_given_axes_are_used(curves, study):
    for draw in (
        lambda ax: plot_sensitivity(curves, ax=ax)[0],
        lambda ax: plot_heatmap(curves, ax=ax),
        lambda ax: plot_norms(study.norms, ax=ax),
        lambda ax: plot_rates(advise(curves), ax=ax),
    ):
        ax = plt.subplots()[1]
        count = len(plt.get_fignums())
        assert draw(ax) is ax
        assert len(plt.get_fignums()) == count


# heatmap


def test_heatmap_table_is_the_drops_in_order_of_execution(curves):
    table = heatmap_table(curves)
    assert list(table.columns) == pytest.approx(np.arange(1, 10) / 10)
    assert table.index[0] == "1 conv1 (branch)" and table.index[-1] == "20 fc"
    row = curves[(curves["layer"] == "layer2.0.conv1") & np.isclose(curves["amount"], 0.7)]
    assert table.loc["8 layer2.0.conv1", 0.7] == row["drop"].item()
    assert table.isna().all(axis=1).sum() == 10


def test_heatmap_cells_and_their_numbers_are_the_table(curves):
    table = heatmap_table(curves).dropna(how="all")
    ax = plot_heatmap(curves)
    np.testing.assert_allclose(ax.collections[0].get_array(), table)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(table.index)
    written = [text for text in ax.texts if not text.get_text().startswith("st")]
    assert [text.get_text() for text in written] == [short(drop) for drop in table.to_numpy().flat]
    assert_apart(boxes(ax, written))


def test_heatmap_names_stages_and_what_was_not_measured(curves):
    ax = plot_heatmap(curves)
    names = [text.get_text() for text in ax.texts if text.get_text().startswith("st")]
    assert names == ["stem", "stage 1", "stage 2", "stage 3"]
    note = " ".join(ax.get_xlabel().split())
    assert "not measured: 9 layers (coupled by additions; `--units all` has it);" in note
    assert "fc (its outputs are the network's)" in note


def test_one_outlier_flattens_nothing(curves):
    wild = curves.copy()
    wild.loc[wild["drop"].idxmax(), "drop"] = 1e6
    mesh = plot_heatmap(wild).collections[0]
    assert mesh.norm.vmax < 1e3
    assert mesh.norm(0.0) == pytest.approx(0.5)
    assert mesh.norm(1.0) - mesh.norm(0.0) > 0.05
    assert mesh.colorbar.extend == "max"


def test_small_drops_do_not_get_loud_colours(curves):
    faint = curves.assign(drop=curves["drop"] * 0 + 0.01)
    assert plot_heatmap(faint).collections[0].norm.vmax == 1.0


def test_heatmap_bar_ends_the_largest_safe_ratio(curves):
    ax = plot_heatmap(curves, advise(curves, DOWN, rate=0.4))
    marks = {line.get_ydata()[0] // 1: line.get_xdata()[0] for line in ax.get_lines()
             if line.get_color() == "black"}  # fmt: skip
    table = heatmap_table(curves).dropna(how="all")
    expected = {i: 1 if name.split()[1] in DOWN else 4 for i, name in enumerate(table.index)}
    assert marks == expected
    assert "1 point" in ax.get_title("left")


def test_failed_cells_stay_empty(curves):
    broken = curves.copy()
    numbers = ["accuracy", "drop", "low", "high"]
    place = broken[broken["layer"] == "layer2.0.conv1"].index[3]
    broken.loc[place, numbers] = np.nan
    broken.loc[place, "reason"] = "its outputs are not numbers"
    ax = plot_heatmap(broken)
    cells = ax.collections[0].get_array()
    note = " ".join(ax.get_xlabel().split())
    assert note.endswith("hatched cells (its outputs are not numbers)")
    assert np.ma.count_masked(cells) == 1
    assert np.isnan(heatmap_table(broken).loc["8 layer2.0.conv1"].iloc[3])


@pytest.mark.parametrize("draw", [plot_sensitivity, plot_heatmap])
def test_labels_of_a_deep_network_do_not_overlap(deep, draw):
    drawn = draw(deep, advise(deep, ("layer2.0.conv1",)))
    for ax in drawn if isinstance(drawn, list) else [drawn]:
        assert_apart(boxes(ax, ax.get_yticklabels()))
        assert_apart(boxes(ax, ax.texts))


@pytest.mark.parametrize("rename", [str, lambda name: f"stages.3.blocks.2.{name}.conv_dw.of_many"])
def test_degenerate_curves_are_drawn(curves, rename):
    single = curves[np.isclose(curves["amount"], 0.5)].head(1)
    single = single.assign(layer=[rename(name) for name in single["layer"]])
    for drop, column in ((0.0, "accuracy"), (-3.0, "drop")):
        flat = single.assign(drop=drop, low=drop, high=drop)
        (ax,) = plot_sensitivity(flat, column=column)
        assert [text.get_text() for text in ax.texts] == [f"1 {flat['layer'].item()} (branch)"]
        assert plot_heatmap(flat).collections[0].get_array().item() == drop


# norms


def test_norms_are_sorted_and_divided_by_the_largest():
    table = norms_table({"a": np.array([2.0, 8.0, 4.0, 6.0]), "b": np.zeros(2)})
    assert list(table["norm"]) == [1, 0.75, 0.5, 0.25, 0, 0]
    assert list(table["share"]) == [0, 25, 50, 75, 0, 50]


def test_norms_lines_are_the_table_and_highlights_are_named(study):
    ax = plot_norms(study.norms, study.anatomy, DOWN)
    table = norms_table(study.norms, study.anatomy)
    assert list(table["layer"].unique()) == list(study.anatomy.layer)
    drawn = lines_of(ax)
    for name, part in table.groupby("label"):
        np.testing.assert_allclose(drawn[name].get_ydata(), part["norm"])
        np.testing.assert_allclose(drawn[name].get_xdata(), part["share"])
        assert (drawn[name].get_linewidth() > 2) == (part["layer"].iloc[0] in DOWN)
    named = [text.get_text() for text in ax.texts]
    assert sorted(named) == ["14 layer3.0.conv1", "8 layer2.0.conv1"]
    assert_apart(boxes(ax, ax.texts))
    assert drawn["8 layer2.0.conv1"].get_color() != drawn["14 layer3.0.conv1"].get_color()


def test_no_norms_are_refused():
    with pytest.raises(EvidenceError, match="at least one layer, got none"):
        plot_norms({})


# rates


def test_bars_are_the_own_rates_and_lines_the_common_ones(curves):
    advice = advise(curves, DOWN)
    table = rates_table(advice)
    ax = plot_rates(advice)
    bars = {round(bar.get_y() + bar.get_height() / 2): bar for bar in ax.patches}
    assert [bars[i].get_width() for i in range(len(table))] == pytest.approx(list(table["rate"]))
    assert list(table["rate"]) == [10.0 if name else 40.0 for name in table["skipped"]]
    hatched = [i for i in range(len(table)) if bars[i].get_hatch()]
    assert list(table["label"][hatched]) == ["8 layer2.0.conv1", "14 layer3.0.conv1"]
    (crosses,) = [line for line in ax.get_lines() if line.get_marker() == "X"]
    assert list(crosses.get_ydata()) == hatched
    lines = [line for line in ax.get_lines() if line.get_color() == "black"]
    assert {line.get_xdata()[0] for line in lines} == {30.0}
    assert len(lines) == (~table["skipped"] & table["common"].notna()).sum()
    names = [text.get_text() for text in ax.texts]
    assert names == ["stem", "stage 1: 30 %", "stage 2: 30 %", "stage 3: 30 %"]


def test_rates_say_what_was_not_measured(curves):
    ax = plot_rates(advise(curves, max_drop=0.5))
    note = " ".join(ax.get_xlabel().split())
    assert note.startswith("filters pruned (%) not measured: 9 layers (coupled by additions;")
    assert len(ax.get_yticks()) == 10
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert texts == ["largest ratio within 0.5 points", "common rate of the stage"]


def test_a_tolerance_of_nothing_is_drawn(curves):
    (ax, *_) = plot_sensitivity(curves, advise(curves, DOWN, max_drop=0.0), column="drop")
    assert [line.get_ydata()[0] for line in ax.get_lines()[-2:]] == [0, 0]


def test_pictures_show_the_criterion_and_the_score_of_the_advice(curves):
    other = curves[curves["drop"].notna()].assign(criterion="random")
    both = pd.concat([curves, other.assign(drop=other["drop"] + 30)], ignore_index=True)
    advice = replace(advise(curves, criterion="random"), column="top5")
    ax = plot_heatmap(both, advice)
    np.testing.assert_allclose(
        ax.collections[0].get_array(), heatmap_table(curves).dropna(how="all") + 30
    )
    assert ax.collections[0].colorbar.ax.get_ylabel() == "drop in top-5 accuracy (points)"
    assert plot_sensitivity(both, advice)[0].get_ylabel() == "top-5 accuracy (%)"


# files


def test_save_all_writes_every_figure_and_leaves_none_open(tmp_path, curves, study):
    curves = curves[curves["stage"] == 2]
    before = plt.get_fignums()
    paths = save_all(
        curves, tmp_path / "new" / "figures", advice=advise(curves, DOWN), norms=study.norms,
        anatomy=study.anatomy, formats=("png", "pdf"),
    )  # fmt: skip
    names = ("sensitivity", "drop", "heatmap", "norms", "rates")
    expected = [f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")]
    assert [path.name for path in paths] == expected
    assert all(path.stat().st_size > 5000 for path in paths)
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert plt.imread(paths[0]).shape[1] > 500
    assert plt.get_fignums() == before


def test_save_all_is_reproducible_and_leaves_out_what_it_has_no_data_for(tmp_path, curves):
    small = curves[curves["layer"] == "layer2.0.conv1"]
    folders = tmp_path / "a", tmp_path / "b"
    first, second = (save_all(small, folder, formats=("svg",)) for folder in folders)
    assert {path.stem for path in first} == {"sensitivity", "drop", "heatmap"}
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("formats, came", [(("png", "bmp"), "bmp"), ((), "none")])
def test_save_all_refuses_other_formats(tmp_path, curves, formats, came):
    with pytest.raises(LesionError, match=f"formats among png, svg, pdf, got {came};"):
        save_all(curves, tmp_path, formats=formats)
    assert list(tmp_path.iterdir()) == []


def test_save_all_says_where_it_could_not_write(tmp_path, curves):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(LesionError, match=r"Expected to write .*sensitivity.png, got: "):
        save_all(curves, tmp_path / "file")
    assert plt.get_fignums() == []

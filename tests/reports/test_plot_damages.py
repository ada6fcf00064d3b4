"""Kinds of damage side by side: what is averaged, what is within a tolerance, and what is drawn."""

import json
from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from legible import assert_legible
from mixed import study

from lesion.errors import EvidenceError, LesionError
from lesion.lesions.amounts import FILTERS
from lesion.reports.plots.damages import (
    damage_map_table,
    damages_table,
    plot_damage_map,
    plot_damages,
)
from lesion.reports.plots.save import save_damages
from lesion.results.curves import curves
from lesion.sequential.paired_intervals import bonett_price

BITS = {8: 75.0, 4: 87.0, 2: 93.0}
LAYERS = ("first", "second", "third")


def frame(kinds=("filters", "quantise"), width=0.4):
    """Drops that rise with what is saved; `third` has filters alone, `first` no two bits."""
    rows = []
    for kind in kinds:
        amounts = {0.25: 25.0, 0.75: 75.0} if kind == "filters" else BITS
        for number, layer in enumerate(LAYERS, 1):
            for amount, saved in amounts.items():
                if (layer == "third" and kind != "filters") or (layer, amount) == ("first", 2):
                    continue
                drop = number * saved / 100 * (2 if kind == "filters" else 1)
                for criterion in ("l1", "random") if kind == "filters" else ("",):
                    rows.append(
                        {
                            "layer": layer, "number": number, "kind": "free", "damage": kind,
                            "criterion": criterion, "recovery": "", "amount": amount,
                            "drop": drop if criterion != "random" else 50.0, "low": drop - width,
                            "high": drop + width, "bytes_saved": saved, "macs_saved": saved / 2,
                        }
                    )  # fmt: skip
    made = pd.DataFrame(rows)
    made.attrs["damages"] = {kind: json.dumps(asdict(FILTERS)) for kind in kinds}
    return made


def test_means_are_over_the_layers_and_amounts_that_all_share():
    table = damages_table(frame()).set_index(["damage", "amount"])
    assert list(table.index) == [
        ("filters", 0.25),
        ("filters", 0.75),
        ("quantise", 8),
        ("quantise", 4),
    ]
    assert (table["layers"] == 2).all()
    assert table["saved"].tolist() == [25, 75, 75, 87]
    np.testing.assert_allclose(table["drop"], [0.75, 2.25, 1.125, 1.305])
    np.testing.assert_allclose(table["high"] - table["drop"], 0.4)
    np.testing.assert_allclose(damages_table(frame(), "macs")["saved"], [12.5, 37.5, 37.5, 43.5])


def test_the_map_is_the_most_that_is_saved_within_the_tolerance():
    table = damage_map_table(frame(), 1.3)
    assert list(table.index) == ["1 first", "2 second", "3 third"]
    assert table["filters"].tolist() == [25, 0, 0]  # 0.9, then 1.4 and 1.9 by the upper ends
    assert table["quantise"].tolist()[:2] == [87, 0] and np.isnan(table["quantise"].iloc[2])


def test_intervals_are_of_the_mean_where_every_lesion_saw_every_image(tmp_path):
    with study(tmp_path / "a.lesion") as made:
        given = curves(made).assign(bytes_saved=50.0)  # a planted study knows nothing of it
        apart, table = damages_table(given), damages_table(given, study=made)
        base = made.intact().outcomes["top1"].astype(float)
        for row in table.itertuples():
            scores = [
                made.outcomes(lesion)["top1"]
                for lesion in made.lesions
                if (lesion.damage, lesion.amount) == (row.damage, row.amount)
            ]
            assert len(scores) == row.layers == 3
            ends = 100 * np.array(bonett_price((base - np.mean(scores, axis=0)).tolist(), 0.95))
            np.testing.assert_allclose((row.drop, row.low, row.high), ends)
        less = damages_table(given, study=made, confidence=80)
    assert (less["high"] - less["low"] < table["high"] - table["low"]).all()
    np.testing.assert_allclose(table["drop"], apart["drop"])
    assert (table["high"] - table["low"] < apart["high"] - apart["low"]).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f[f["damage"] == "filters"], "two kinds of damage.*got filters.*--damage"),
        (lambda f: f[(f["damage"] == "filters") == (f["layer"] == "third")], "on the same layers"),
        (lambda f: f.assign(low=np.nan), "two kinds of damage"),
    ],
)
def test_what_cannot_be_set_side_by_side(change, match):
    with pytest.raises(EvidenceError, match=match):
        damages_table(change(frame()))


def test_another_resource_is_refused():
    with pytest.raises(LesionError, match="bytes, macs, dense_macs, bops, got 'time'"):
        damages_table(frame(), "time")


def test_lines_are_the_table():
    kinds = ("filters", *(f"quantise:grid={name}" for name in "abcdefghijk"))
    ax = plot_damages(frame(kinds))
    table = damages_table(frame(kinds))
    lines = [line for line in ax.get_lines() if line.get_marker() != "None"]
    assert len(lines) == 12
    for line, kind in zip(lines, kinds, strict=True):
        part = table[table["damage"] == kind]
        np.testing.assert_allclose(line.get_xdata(), 100 - part["saved"])
        np.testing.assert_allclose(line.get_ydata(), part["drop"])
    styles = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(styles) == 12
    assert_legible(ax.figure)
    plt.close(ax.figure)


def test_cells_are_the_map():
    ax = plot_damage_map(frame(), 1.3)
    assert [text.get_text() for text in ax.texts] == ["87", "25", "0", "0", "0"]
    assert_legible(ax.figure)
    plt.close(ax.figure)


def test_of_a_study_they_are_files(tmp_path):
    with study(tmp_path / "a.lesion") as made:
        table = curves(made)
    table["bytes_saved"] = 50.0  # a planted study knows nothing of it
    names = [path.name for path in save_damages(table, tmp_path, formats=("png", "svg"))]
    assert names == ["damages.png", "damages.svg", "damage-map.png", "damage-map.svg"]

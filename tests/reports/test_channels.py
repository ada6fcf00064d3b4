"""The bars of an allocation: channels that stay and fall, and what remains of the costs."""

from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from legible import assert_legible, luminance, written

from lesion.errors import LesionError
from lesion.network.cost import Cost
from lesion.rates.allocation import Allocation
from lesion.rates.unit_rate import UnitRate
from lesion.reports.plots.channels import channels_table, plot_channels
from lesion.reports.plots.save import save_allocation

STREAM = "not measured as a unit"


def unit(name, stage, channels, kept, kind="free", reason=""):
    return UnitRate(name, kind, stage, channels, tuple(range(kept)), {}, reason=reason)


def allocation(units):
    return Allocation(
        subject={}, goal="", criterion="l1", column="top1", baseline=92.0, images=1000,
        rates=tuple(units), intact=Cost(2000, 1000, 900), pruned=Cost(1001, 623, 500), drop=0.61,
        high=0.98, guarantee="",
    )  # fmt: skip


SMALL = (
    unit("conv1", None, 64, 64, "coupled", STREAM),
    unit("layer1.0.conv1", 1, 16, 12),
    unit("layer1.1.conv1", 1, 16, 16),
    unit("layer2.0.conv1", 2, 32, 20),
    unit("layer3.0.conv1", 3, 64, 1),
)


def many(count):
    """A network of four stages, the names long and the rates rising."""
    return [
        unit(f"features.stage{4 * i // count + 1}.block{i}.conv", 4 * i // count + 1, 128, 128 - i)
        for i in range(count)
    ]


def bars_of(ax):
    """Each row's bars from left to right as (start, width, hatch)."""
    rows = {}
    for bar in ax.patches:
        place = round(bar.get_y() + bar.get_height() / 2)
        rows.setdefault(place, []).append((bar.get_x(), bar.get_width(), bar.get_hatch()))
    return {place: sorted(bars, key=lambda bar: bar[0]) for place, bars in rows.items()}


def test_the_table_has_every_unit_in_order():
    table = channels_table(allocation(SMALL))
    assert list(table["label"]) == ["conv1 (coupled)", *(one.unit for one in SMALL[1:])]
    assert list(table["panel"]) == ["no stage", "stage 1", "stage 1", "stage 2", "stage 3"]
    assert (table["kept"] + table["pruned"] == table["channels"]).all()
    assert list(table["pruned"]) == [0, 4, 0, 12, 63]
    np.testing.assert_allclose(table["rate"], [0, 25, 0, 37.5, 100 * 63 / 64])
    assert list(table["reason"]) == [STREAM, "", "", "", ""]


def test_bars_are_the_channels_and_what_falls_is_hatched():
    ax = plot_channels(allocation(SMALL))
    found = bars_of(ax)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for place, one in enumerate(SMALL):
        kept = len(one.kept)
        expected = [(0, kept, None)]
        if one.pruned:
            expected.append((kept, one.pruned, "/////"))
        assert found[place] == expected
    assert [label.get_text() for label in ax.get_yticklabels()] == list(
        channels_table(allocation(SMALL))["label"]
    )
    low, high = ax.get_ylim()
    assert low > high, "the first unit stands at the top"


def test_parts_differ_in_lightness():
    ax = plot_channels(allocation(SMALL))
    faces = {}
    for bar in ax.patches:
        whole = bar.get_y() + bar.get_height() / 2 < 0.5
        faces["whole" if whole else "fall" if bar.get_hatch() else "stay"] = bar.get_facecolor()
    light = {name: luminance(colour) for name, colour in faces.items()}
    assert light["fall"] - light["stay"] > 0.4 and light["whole"] - light["stay"] > 0.4


def test_stages_are_parted_and_named():
    ax = plot_channels(allocation(SMALL))
    assert [line.get_ydata()[0] for line in ax.get_lines()] == [0.5, 2.5, 3.5]
    named = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert {name: y for name, y in named.items() if name.startswith("stage")} == {
        "stage 1": 1.5, "stage 2": 3, "stage 3": 4
    }  # fmt: skip
    assert {name: y for name, y in named.items() if name.endswith("%")} == {
        "−25 %": 1, "−38 %": 3, "−98 %": 4
    }  # fmt: skip


def test_the_title_says_what_remains_and_what_it_costs():
    title = plot_channels(allocation(SMALL)).get_title("left")
    assert " ".join(title.split()) == (
        "what remains: MACs 50.0 %, parameters 62.3 % predicted drop in top-1 accuracy: "
        "0.61 points, at most 0.98"
    )
    timed = replace(allocation(SMALL), milliseconds=(4.0, 3.0, 0.1))
    assert ", time 75.0 % predicted" in " ".join(plot_channels(timed).get_title("left").split())


def test_rates_without_a_prediction_say_so():
    own = replace(allocation(SMALL), drop=float("nan"), high=float("nan"), column="evaluation")
    title = plot_channels(own).get_title("left")
    assert title.endswith("drop in evaluation not predicted")
    known = plot_channels(replace(own, drop=-0.012, high=0.02)).get_title("left")
    assert known.endswith("predicted drop in evaluation: −0.01, at most 0.02")


def test_what_was_not_chosen_is_said_below():
    ax = plot_channels(allocation(SMALL))
    note = " ".join(ax.get_xlabel().split())
    assert note == f"channels whole without a choice: conv1 (coupled) ({STREAM})"
    legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert legend == ["stay", "fall", "whole without a choice"]
    two = (*SMALL, unit("conv9", None, 8, 8, "coupled", STREAM))
    assert f"2 units ({STREAM})" in " ".join(plot_channels(allocation(two)).get_xlabel().split())
    ax = plot_channels(allocation(SMALL[1:]))
    assert ax.get_xlabel() == "channels"
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["stay", "fall"]


def test_a_rate_given_with_a_reason_is_drawn_like_one_that_was_chosen():
    pinned = allocation([*SMALL, unit("fc0", 3, 8, 4, reason="pinned")])
    ax = plot_channels(pinned)
    assert bars_of(ax)[5] == [(0, 4, None), (4, 4, "/////")]
    assert "pinned" not in ax.get_xlabel()


@pytest.mark.parametrize("count", [1, 10, 28, 60])
def test_labels_can_be_read(count):
    ax = plot_channels(allocation(many(count)))
    assert len(ax.get_yticks()) == count
    assert_legible(ax.figure)


def test_labels_thin_out_where_there_is_no_room():
    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    assert plot_channels(allocation(many(60)), ax) is ax
    step = int(ax.get_yticks()[1])
    names = [one.unit for one in many(60)]
    assert [label.get_text() for label in ax.get_yticklabels()] == names[::step] and step > 1
    ticks = {label for label in written(figure) if label.get_text().startswith("features")}
    boxes = sorted((text.get_window_extent() for text in ticks), key=lambda box: box.y0)
    assert all(one.y1 <= other.y0 for one, other in pairwise(boxes))
    assert not [text for text in ax.texts if text.get_text().endswith("%")]


def test_it_is_saved_like_the_others(tmp_path):
    paths = save_allocation(allocation(SMALL), tmp_path / "new", formats=("png", "svg"))
    assert paths == [tmp_path / "new" / "channels.png", tmp_path / "new" / "channels.svg"]
    assert all(path.stat().st_size > 10_000 for path in paths) and not plt.get_fignums()
    with pytest.raises(LesionError, match="Expected formats among png, svg, pdf, got gif; choose"):
        save_allocation(allocation(SMALL), tmp_path, formats=("gif",))

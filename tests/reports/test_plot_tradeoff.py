"""The trade-off: lines, intervals and the intact network read back from the axes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from legible import assert_legible
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex

from lesion.errors import EvidenceError, LesionError
from lesion.reports.plots.save import save_tradeoff
from lesion.reports.plots.style import COLOURS
from lesion.reports.plots.tradeoff import plot_tradeoff, tradeoff_table

WAYS = {"global l1": 2.0, "lesion": 1.0, "uniform": 3.0}
BUDGETS = (0.7, 0.3, 0.5)


def frame(tuned=(False, True), budgets=BUDGETS):
    """Each way loses its number of points a tenth of the MACs, a third of that once tuned."""
    rows = [("uniform", 1.0, 92.0, np.nan, np.nan, False)]
    for way, slope in WAYS.items():
        for macs in budgets:
            for after in tuned:
                score = 92 - slope * 10 * (1 - macs) / (3 if after else 1)
                rows.append((way, macs, score, score - 0.5, score + 0.7, after))
    return pd.DataFrame(rows, columns=["way", "macs", "accuracy", "low", "high", "tuned"])


def drawn(ax):
    """Each way's lines, one-shot under False and tuned under True."""
    lines = [line for line in ax.get_lines() if line.get_label() in WAYS]
    return {(line.get_label(), line.get_linestyle() == "--"): line for line in lines}


def test_the_table_is_the_frame_in_order():
    table = tradeoff_table(frame())
    assert list(dict.fromkeys(table["way"])) == ["intact", "lesion", "global l1", "uniform"]
    assert len(table) == len(frame())
    assert table.loc[0, ["share", "accuracy"]].tolist() == [100.0, 92.0]
    own = table[(table["way"] == "lesion") & ~table["tuned"]]
    np.testing.assert_allclose(own["share"], [30, 50, 70])
    np.testing.assert_allclose(own["accuracy"], [85, 87, 89])
    np.testing.assert_allclose(own["low"], own["accuracy"] - 0.5)


def test_one_intact_network_may_be_named_by_every_way():
    rows = frame()
    again = pd.concat([rows, rows.head(1).assign(way="lesion")], ignore_index=True)
    pd.testing.assert_frame_equal(tradeoff_table(again), tradeoff_table(rows))


def test_lines_are_the_table():
    ax = plot_tradeoff(frame())
    found = drawn(ax)
    assert len(found) == 6
    table = tradeoff_table(frame())
    for (way, tuned), line in found.items():
        part = table[(table["way"] == way) & (table["tuned"] == tuned)]
        np.testing.assert_allclose(line.get_xdata(), part["share"])
        np.testing.assert_allclose(line.get_ydata(), part["accuracy"])


def test_ways_differ_by_colour_and_marker_and_tuning_by_dashes_and_filling():
    found = drawn(plot_tradeoff(frame()))
    for way in WAYS:
        one, other = found[way, False], found[way, True]
        assert (one.get_color(), one.get_marker()) == (other.get_color(), other.get_marker())
        assert one.get_linestyle() == "-" and other.get_linestyle() == "--"
        assert to_hex(one.get_markerfacecolor()) == to_hex(one.get_color())
        assert other.get_markerfacecolor() == "white"
    for look in ("get_color", "get_marker"):
        assert len({getattr(found[way, False], look)() for way in WAYS}) == 3
    width = {way: found[way, False].get_linewidth() for way in WAYS}
    assert width["lesion"] > max(width["uniform"], width["global l1"])


def test_the_recommended_have_a_band_and_baselines_whiskers():
    ax = plot_tradeoff(frame(tuned=(False,)))
    (band,) = [one for one in ax.collections if isinstance(one, PolyCollection)]
    own = tradeoff_table(frame(tuned=(False,))).query("way == 'lesion'")
    edge = band.get_paths()[0].vertices
    assert to_hex(band.get_facecolor()[0]) == COLOURS[0].lower()
    for share, low, high in own[["share", "low", "high"]].to_numpy():
        here = edge[np.isclose(edge[:, 0], share), 1]
        assert (here.min(), here.max()) == pytest.approx((low, high))
    whiskers = [one for one in ax.collections if isinstance(one, LineCollection)]
    ends = np.array([path for one in whiskers for path in one.get_segments()])
    baselines = tradeoff_table(frame(tuned=(False,))).query("way in ('global l1', 'uniform')")
    np.testing.assert_allclose(ends[:, 0], baselines[["share", "low"]])
    np.testing.assert_allclose(ends[:, 1], baselines[["share", "high"]])


def test_a_single_budget_has_a_whisker_and_missing_intervals_nothing():
    ax = plot_tradeoff(frame((False,), (0.5,)))
    ends = [one.get_segments()[0] for one in ax.collections if isinstance(one, LineCollection)]
    assert len(ends) == 3
    np.testing.assert_allclose(ends[0], [[50, 86.5], [50, 87.7]])
    bare = plot_tradeoff(frame().assign(low=np.nan, high=np.nan))
    assert not any(len(one.get_paths()[0].vertices) for one in bare.collections if one.get_paths())
    assert "interval" not in legend(bare)


def legend(ax):
    return [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_the_intact_network_is_a_line():
    ax = plot_tradeoff(frame())
    (line,) = [line for line in ax.get_lines() if line.get_label() not in WAYS]
    assert line.get_ydata() == [92.0, 92.0] and line.get_linestyle() == "-"
    assert legend(ax) == [
        "lesion (recommended)", "global l1", "uniform", "one-shot", "after a finetune",
        "intact network", "interval",
    ]  # fmt: skip
    without = frame(tuned=(False,)).query("macs < 1")
    bare = plot_tradeoff(without)
    assert len(bare.get_lines()) == 3
    assert legend(bare)[3:] == ["one-shot", "interval"]


def test_two_calls_are_two_panels():
    _, (left, right) = plt.subplots(1, 2, sharey=True)
    rows = frame()
    for ax, tuned in ((left, False), (right, True)):
        assert plot_tradeoff(rows[(rows["tuned"] == tuned) | (rows["macs"] == 1)], ax) is ax
        assert {after for _, after in drawn(ax)} == {tuned}
    assert len(plt.get_fignums()) == 1


def test_baselines_alone_keep_their_looks():
    rows = frame()
    whole, alone = drawn(plot_tradeoff(rows)), drawn(plot_tradeoff(rows[rows["way"] != "lesion"]))
    for key, line in alone.items():
        assert line.get_color() == whole[key].get_color()


def test_labels_can_be_read():
    assert_legible(plot_tradeoff(frame()).figure)


def test_bad_frames_are_refused():
    with pytest.raises(LesionError) as caught:
        plot_tradeoff(frame().drop(columns=["low", "tuned"]))
    assert str(caught.value) == (
        "Expected columns way, macs, accuracy, low, high, tuned, got none named low, tuned; add "
        "them."
    )
    with pytest.raises(LesionError) as caught:
        plot_tradeoff(frame().assign(macs=lambda rows: 100 * rows["macs"]))
    assert str(caught.value) == (
        "Expected macs as shares from 0 to 1, got 100; divide them by the intact network's."
    )
    with pytest.raises(EvidenceError, match="one network with fewer MACs, got none; measure one"):
        plot_tradeoff(frame().head(1))
    two = pd.concat([frame(), frame().head(1).assign(accuracy=90.0)])
    with pytest.raises(LesionError, match="one intact network, got accuracies of 90 and 92 with"):
        plot_tradeoff(two)


def test_it_is_saved_like_the_others(tmp_path):
    (path,) = save_tradeoff(frame(), tmp_path)
    assert path == tmp_path / "tradeoff.png" and path.stat().st_size > 10_000
    assert not plt.get_fignums()

"""Calibration: points, the upper prediction and its share read back from the axes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from legible import assert_legible

from lesion.errors import EvidenceError, LesionError
from lesion.reports.plots.calibration import calibration_table, plot_calibration
from lesion.reports.plots.save import save_calibration

NETWORKS = ("ResNet-20", "ResNet-56", "VGG")


def frame(each=20, networks=NETWORKS):
    """Predictions from 0.1 to 40 points; of each network the i-th has i points beyond its upper."""
    parts = []
    for i, name in enumerate(networks):
        predicted = np.geomspace(0.1, 40, each)
        upper = 1.4 * predicted + 0.2
        measured = np.where(np.arange(each) < i, upper + 0.3, predicted - 0.2)
        parts.append(pd.DataFrame(
            {"network": name, "predicted": predicted, "upper": upper, "measured": measured}
        ))  # fmt: skip
    return pd.concat(parts)


def points_of(ax, name):
    """The network's points, within and beyond the upper prediction."""
    lines = [line for line in ax.get_lines() if line.get_label() == name]
    return {line.get_markerfacecolor() != "none": line for line in lines}


def test_the_table_says_how_loose_the_upper_prediction_is():
    table = calibration_table(frame())
    assert list(table.index) == list(range(60))
    np.testing.assert_allclose(table["slack"], table["upper"] - table["measured"])
    assert table.groupby("network")["within"].sum().to_dict() == {
        "ResNet-20": 20, "ResNet-56": 19, "VGG": 18
    }  # fmt: skip


def test_a_drop_equal_to_the_upper_prediction_is_within():
    exact = frame().assign(measured=lambda rows: rows["upper"])
    assert calibration_table(exact)["within"].all()


def test_points_are_the_table_and_those_beyond_look_different():
    ax = plot_calibration(frame())
    table = calibration_table(frame())
    for name, part in table.groupby("network"):
        found = points_of(ax, name)
        assert set(found) == set(part["within"])
        for within, line in found.items():
            own = part[part["within"] == within]
            np.testing.assert_allclose(line.get_xdata(), own["predicted"])
            np.testing.assert_allclose(line.get_ydata(), own["measured"])
    filled, hollow = (points_of(ax, "VGG")[within] for within in (True, False))
    assert filled.get_marker() == hollow.get_marker()
    assert hollow.get_markersize() > filled.get_markersize()
    assert hollow.get_markeredgecolor() == filled.get_color()


def test_networks_differ_by_colour_and_marker():
    ax = plot_calibration(frame())
    lines = [points_of(ax, name)[True] for name in NETWORKS]
    assert len({line.get_color() for line in lines}) == 3
    assert len({line.get_marker() for line in lines}) == 3


def test_the_identity_and_the_upper_predictions_are_drawn():
    ax = plot_calibration(frame())
    lines = {line.get_label(): line for line in ax.get_lines()}
    perfect = lines["perfect"].get_xydata()
    np.testing.assert_allclose(perfect[:, 0], perfect[:, 1])
    np.testing.assert_allclose(perfect[:, 0], ax.get_xlim())
    assert ax.get_xlim() == ax.get_ylim() and ax.get_xscale() == ax.get_yscale() == "symlog"
    table = calibration_table(frame())
    np.testing.assert_allclose(lines["upper"].get_xdata(), table["predicted"])
    np.testing.assert_allclose(lines["upper"].get_ydata(), table["upper"])


def test_every_point_lies_within_the_limits():
    for scale in (0.01, 1.0, 2.0):
        scaled = frame().assign(network="a")
        scaled[["predicted", "upper", "measured"]] *= scale
        scaled.loc[:, "measured"] -= 3 * scale
        ax = plot_calibration(scaled)
        low, high = ax.get_xlim()
        numbers = scaled[["predicted", "upper", "measured"]]
        assert low < numbers.min(axis=None) and numbers.max(axis=None) < high


def test_shares_stand_in_title_and_legend():
    ax = plot_calibration(frame())
    assert ax.get_title("left") == "within the upper prediction: 57 of 60 (95 %)"
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == [
        "ResNet-20: 20 of 20 within", "ResNet-56: 19 of 20 within", "VGG: 18 of 20 within",
        "as predicted", "upper prediction", "beyond the upper prediction",
    ]  # fmt: skip
    held = plot_calibration(frame(networks=NETWORKS[:1]))
    assert held.get_title("left").endswith("20 of 20 (100 %)")
    assert len(held.figure.legends[0].get_texts()) == 3


def test_a_share_is_not_rounded_up_to_all():
    rows = pd.concat([frame(1000, ("a",)), frame(1, ("b", "c"))])
    title = plot_calibration(rows).get_title("left")
    assert title.endswith("1001 of 1002 (99.9 %)")


@pytest.mark.parametrize("networks", [NETWORKS, NETWORKS[:1], ("MobileNetV3-small at 160",) * 5])
@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_labels_can_be_read(scale, networks):
    rows = frame(networks=[f"{name} {i}" for i, name in enumerate(networks)])
    rows[["predicted", "upper", "measured"]] *= scale
    assert_legible(plot_calibration(rows).figure)
    within = rows.assign(measured=rows["predicted"])
    assert_legible(plot_calibration(within).figure)


def test_given_axes_are_used():
    ax = plt.subplots()[1]
    assert plot_calibration(frame(), ax) is ax
    assert len(plt.get_fignums()) == 1


def test_bad_frames_are_refused():
    with pytest.raises(LesionError) as caught:
        plot_calibration(frame().drop(columns="upper"))
    assert str(caught.value) == (
        "Expected columns network, predicted, upper, measured, got none named upper; add it."
    )
    with pytest.raises(EvidenceError) as caught:
        plot_calibration(frame().head(0))
    assert str(caught.value) == (
        "Expected at least one measured set of rates, got none; measure one."
    )
    holed = frame().reset_index(drop=True)
    holed.loc[[3, 7], "upper"] = np.nan
    holed.loc[3, "measured"] = np.inf
    with pytest.raises(LesionError) as caught:
        plot_calibration(holed)
    assert str(caught.value) == (
        "Expected finite drops, got 2 of 60 rows without; leave these out."
    )


def test_it_is_saved_like_the_others(tmp_path):
    (path,) = save_calibration(frame(), tmp_path, formats=("svg",))
    assert path == tmp_path / "calibration.svg" and path.stat().st_size > 10_000
    assert not plt.get_fignums()

"""Criteria beside the oracle: dots, layers and intervals read back from the axes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from legible import assert_legible
from matplotlib.collections import LineCollection, PathCollection

from lesion.errors import EvidenceError
from lesion.lesions.agreement import CRITERIA, LAYERS, Agreement
from lesion.reports.plots.criteria import criteria_table, plot_criteria
from lesion.reports.plots.save import save_criteria

MEANS = {"l1": (0.4, "weights"), "taylor": (0.7, "gradients"), "apoz": (-0.1, "activations")}
NAN = np.nan


def agreement(names=tuple(MEANS), layers=3):
    """Each criterion's layers lie 0.1 apart around its mean; apoz fits the first alone."""
    cells = [("oracle", f"conv{i}", "free", 8, NAN, 0.5, "") for i in range(layers)]
    rows = [("oracle", "removals", 512, layers, NAN, NAN, NAN, NAN, NAN, 0.5, 9.0, "")]
    for name in names:
        mean, needs = MEANS.get(name, (0.2, "weights"))
        values = [mean + 0.1 * (i - (layers - 1) / 2) for i in range(layers)]
        cells += [(name, f"conv{i}", "free", 8, v, NAN, "") for i, v in enumerate(values)]
        rows.append(
            (name, needs, 0, layers, mean, mean - 0.1, mean + 0.1, mean, mean, NAN, 1.0, "")
        )
    return Agreement(
        pd.DataFrame(rows, columns=CRITERIA), pd.DataFrame(cells, columns=LAYERS),
        pd.DataFrame({"layer": ["conv0"], "verdict": ["yes"]}), "oracle", 512, 95,
    )  # fmt: skip


def test_the_table_is_ranked_and_without_the_oracle():
    table = criteria_table(agreement())
    assert table["criterion"].tolist() == ["taylor", "l1", "apoz"]
    assert table.loc[0, ["spearman", "low", "high"]].tolist() == pytest.approx([0.7, 0.6, 0.8])


def test_dots_are_the_numbers():
    ax = plot_criteria(agreement())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["taylor", "l1", "apoz"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the best at the top
    dots = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}
    assert dots["gradients"] == [[0.7, 0]] and dots["weights"] == [[0.4, 1]]
    assert dots["activations"] == [[-0.1, 2]]
    (pale,) = (each for each in ax.collections if isinstance(each, PathCollection))
    wanted = [
        [x + step, row] for x, row in ((0.4, 1), (0.7, 0), (-0.1, 2)) for step in (-0.1, 0, 0.1)
    ]
    np.testing.assert_allclose(pale.get_offsets(), wanted)
    ends = [
        segment.tolist() for each in ax.collections if isinstance(each, LineCollection)
        for segment in each.get_segments()
    ]  # fmt: skip
    assert sorted(end[0][0] for end in ends) == pytest.approx([-0.2, 0.3, 0.6])
    assert "24 channels of 3 layers, each removed alone on 512 images" in ax.get_title(
        "left"
    ).replace("\n", " ")


def test_what_is_drawn_can_be_read(tmp_path):
    names = ("l1", "taylor", "apoz", *(f"criterion_of_another_package_{i}" for i in range(25)))
    for some in (tuple(MEANS), names):
        assert_legible(plot_criteria(agreement(some)).figure)
    paths = save_criteria(agreement(), tmp_path, formats=("png", "pdf"))
    assert [path.name for path in paths] == [
        "criteria.png", "criteria.pdf", "criteria.csv", "layers.csv", "norms.csv"
    ]  # fmt: skip
    assert pd.read_csv(paths[2])["spearman"].tolist()[1:] == pytest.approx([0.4, 0.7, -0.1])


def test_axes_of_the_users_own():
    figure, ax = plt.subplots()
    assert plot_criteria(agreement(), ax) is ax and not figure.legends
    assert len(ax.get_legend().get_texts()) == 4


def test_nothing_to_draw():
    with pytest.raises(EvidenceError, match="Expected a criterion that ranks a layer's channels"):
        plot_criteria(agreement(names=()))

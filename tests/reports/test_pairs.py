"""The heatmap of interactions: cells, blanks and marks read back from the axes."""

from itertools import combinations, pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legible import as_deuteranope, assert_legible

from lesion.errors import EvidenceError
from lesion.joint.interactions import Interactions
from lesion.reports.plots.heatmap import short
from lesion.reports.plots.pairs import interactions_table, plot_interactions
from lesion.reports.plots.save import save_interactions

UNITS = ("stem", *(f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in (0, 2, 10)))


def value(first, second):
    """Neighbours strengthen each other, others spare each other; the first and third do nothing."""
    apart = UNITS.index(second) - UNITS.index(first)
    return {1: 6.0, 2: 0.0}.get(apart, -0.3 * apart)


def found(pairs, half=1.0, **more):
    rows = [(one, two, value(one, two), value(one, two) - half, value(one, two) + half, 2000)
            for one, two in pairs]  # fmt: skip
    names = ["first", "second", "interaction", "low", "high", "images"]
    return Interactions(
        pd.DataFrame(rows, columns=names), **{"screened": 0, "column": "top1", "confidence": 95,
                                              **more}
    )  # fmt: skip


ALL = tuple(combinations(UNITS, 2))
SOME = tuple(pair for pair in ALL if UNITS.index(pair[1]) - UNITS.index(pair[0]) != 3)


def rectangles(ax, hatched=False):
    """The cells, as (row, column), that are framed or hatched."""
    own = [one for one in ax.patches if bool(one.get_hatch()) == hatched]
    return {(int(np.floor(one.get_y())), int(np.floor(one.get_x()))) for one in own}


@settings(max_examples=20)
@given(st.permutations(ALL))
def test_units_come_in_order_of_execution_whatever_the_order_of_the_pairs(shuffled):
    table = interactions_table(found(shuffled))
    assert list(table.index) == list(table.columns) == list(UNITS)


def test_pairs_that_leave_the_order_open_go_by_number():
    table = interactions_table(found([("layer1.2.conv1", "layer1.10.conv1"),
                                      ("stem", "layer1.0.conv1")]))  # fmt: skip
    assert list(table.index) == ["layer1.2.conv1", "layer1.10.conv1", "stem", "layer1.0.conv1"]


def test_pairs_in_a_circle_are_drawn_too():
    circle = found(SOME[:2]).table.assign(first=["b", "a"], second=["a", "b"])
    assert list(interactions_table(Interactions(circle, 0, "top1", 95)).index) == ["a", "b"]


def test_the_table_is_symmetric_and_holds_every_pair():
    table = interactions_table(found(SOME))
    for one, two in ALL:
        if (one, two) in SOME:
            assert table.loc[one, two] == table.loc[two, one] == value(one, two)
        else:
            assert np.isnan(table.loc[one, two]) and np.isnan(table.loc[two, one])
    assert np.isnan(np.diag(table)).all()


def test_each_pair_is_one_cell_below_the_diagonal():
    ax = plot_interactions(found(SOME))
    cells = ax.collections[0].get_array()
    assert cells.shape == (9, 9) and cells.count() == len(SOME)
    for one, two in SOME:
        assert cells[UNITS.index(two) - 1, UNITS.index(one)] == value(one, two)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(UNITS[1:])
    assert [label.get_text() for label in ax.get_xticklabels()] == list(UNITS[:-1])
    low, high = ax.get_ylim()
    assert low > high
    written = sorted(text.get_text() for text in ax.texts)
    assert written == sorted(short(value(*pair)) for pair in SOME)


def test_unmeasured_pairs_are_hatched():
    ax = plot_interactions(found(SOME))
    missing = {(UNITS.index(two) - 1, UNITS.index(one)) for one, two in set(ALL) - set(SOME)}
    assert rectangles(ax, hatched=True) == missing and len(missing) == 7
    assert "not measured" in legend(ax)
    whole = plot_interactions(found(ALL))
    assert not rectangles(whole, hatched=True) and "not measured" not in legend(whole)


def legend(ax):
    return [text.get_text() for own in ax.figure.legends for text in own.get_texts()]


def test_pairs_whose_interval_excludes_0_are_framed():
    ax = plot_interactions(found(ALL, half=1.0))
    apart = {pair for pair in ALL if abs(value(*pair)) > 1.0}
    assert rectangles(ax) == {(UNITS.index(two) - 1, UNITS.index(one)) for one, two in apart}
    assert 0 < len(apart) < len(ALL)
    assert legend(ax) == ["95 % interval excludes 0"]
    none = plot_interactions(found(ALL, half=50.0))
    assert not rectangles(none) and not none.figure.legends


def test_colours_are_centred_at_0_and_apart_for_the_colour_blind():
    mesh = plot_interactions(found(ALL)).collections[0]
    assert mesh.norm.vmin == -mesh.norm.vmax == -6.0
    assert mesh.norm(0.0) == pytest.approx(0.5)
    low, middle, high = (as_deuteranope(mesh.cmap(mesh.norm(i))[:3]) for i in (-6, 0, 6))
    for one, other in ((low, middle), (middle, high), (low, high)):
        assert np.abs(one - other).max() > 0.1


def test_small_interactions_do_not_get_loud_colours():
    faint = found(ALL)
    faint.table["interaction"] /= 100
    assert plot_interactions(faint).collections[0].norm.vmax == 1.0


def test_the_title_says_how_pairs_were_chosen_and_the_bar_what_they_are():
    ax = plot_interactions(found(SOME, screened=45, column="agreement"))
    assert ax.get_title("left") == "38 pairs on 2 000 images, the strongest of 45"
    bar = ax.figure.axes[1].get_ylabel()
    assert bar == "interaction in agreement with the intact network (points)"
    assert plot_interactions(found(ALL)).get_title("left") == "45 pairs on 2 000 images"


@pytest.mark.parametrize("pairs", [ALL[:1], SOME, ALL])
def test_labels_can_be_read(pairs):
    assert_legible(plot_interactions(found(pairs)).figure)


@pytest.mark.parametrize("count", [10, 20, 30])
def test_numbers_stay_inside_their_frames(count):
    names = [f"layer{i}.conv" for i in range(count)]
    rows = [{"first": one, "second": two, "interaction": -1.8, "low": -2, "high": -1, "images": 9}
            for one, two in pairwise(names)]  # fmt: skip
    ax = plot_interactions(Interactions(pd.DataFrame(rows), 0, "top1", 95))
    assert_legible(ax.figure)
    texts = sorted(ax.texts, key=lambda text: text.get_position())
    frames = sorted((one for one in ax.patches if not one.get_hatch()), key=lambda one: one.get_x())
    assert len(texts) == len(frames) == count - 1
    for text, frame in zip(texts, frames, strict=True):
        inner, outer = text.get_window_extent(), frame.get_window_extent()
        assert outer.x0 <= inner.x0 and inner.x1 <= outer.x1


def test_given_axes_are_used_without_numbers_where_they_do_not_fit():
    _, (small, large) = plt.subplots(1, 2, figsize=(7, 4), width_ratios=(1, 6))
    assert plot_interactions(found(ALL), small) is small
    assert plot_interactions(found(ALL[:3]), large) is large
    assert len(plt.get_fignums()) == 1
    assert not small.texts and len(large.texts) == 3


def test_no_pair_is_one_sentence():
    with pytest.raises(EvidenceError) as caught:
        plot_interactions(found([]))
    assert str(caught.value) == "Expected at least one measured pair of units, got none."


def test_it_is_saved_like_the_others(tmp_path):
    (path,) = save_interactions(found(SOME), tmp_path, formats=("pdf",))
    assert path == tmp_path / "interactions.pdf" and path.stat().st_size > 10_000
    assert not plt.get_fignums()

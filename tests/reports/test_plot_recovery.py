"""The picture of one-shot beside recovered curves: its table, and that both sides compare."""

from dataclasses import replace
from itertools import combinations

import matplotlib.pyplot as plt
import planted
import pytest
from matplotlib.text import Annotation, Text

from lesion.errors import EvidenceError, LesionError
from lesion.rates.recommend import recommend
from lesion.reports.plots.recovery import plot_recovery, recovery_table
from lesion.reports.plots.save import save_recovery
from lesion.reports.plots.sensitivity import sensitivity_table
from lesion.results.curves import curves as curves_of

IMAGES = 1000


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Recovered lesions lose a third, but for one layer, which becomes the steepest of its stage;
    the stem cannot recover."""
    with planted.study(tmp_path_factory.mktemp("study") / "a.lesion", images=IMAGES) as made:
        base, whole = planted.intact(IMAGES), {}
        for lesion in made.lesions:
            if lesion.kind == "free":
                broken, repaired = planted.counts(
                    made.anatomy.layer[lesion.target], lesion.amount, IMAGES
                )
                steep = lesion.target == "layer2.2.conv1"
                count = 300 * lesion.amount if steep else broken / 3
                own = planted.lesioned(base, round(count), repaired)
                whole[replace(lesion, recovery="bn")] = own
        made.add(whole)
        planted.record(made, base, whole, IMAGES)
        yield made


@pytest.fixture
def axes(study):
    yield plot_recovery(study, "bn")
    plt.close("all")


def test_the_table_has_both_sides_of_every_layer(study):
    curves = curves_of(study)
    table = recovery_table(curves, "bn")
    assert set(table["recovery"]) == {"", "bn"} and "1 conv1 (branch)" not in set(table["label"])
    sides = {way: part for way, part in table.groupby("recovery")}
    assert len(sides[""]) == len(sides["bn"]) == 9 * 10
    one_shot = sensitivity_table(curves)
    alone = one_shot[one_shot["kind"] == "free"].reset_index(drop=True)
    same = ["panel", "label", "amount", "value", "low", "high"]
    assert sides[""][same].reset_index(drop=True).equals(alone[same])
    frame = curves.query("recovery == 'bn'").sort_values(["layer", "amount"])
    drawn = sides["bn"].query("amount > 0").sort_values(["layer", "amount"])
    assert drawn["value"].tolist() == frame["accuracy"].tolist()


def test_what_stands_out_on_one_side_is_marked_on_both(study):
    table = recovery_table(curves_of(study), "bn")
    marked = {way: set(part["label"][part["marked"]]) for way, part in table.groupby("recovery")}
    assert marked[""] == marked["bn"] and len(marked[""]) == 4
    assert "12 layer2.2.conv1" in marked[""]


def test_each_stage_has_two_panels_with_equal_axes(axes):
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles == [
        f"stage {stage}, {way}" for stage in (1, 2, 3) for way in ("one-shot", "after bn")
    ]
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in axes}) == 1
    places = [ax.get_subplotspec() for ax in axes]
    assert [place.colspan.start for place in places] == [0, 1] * 3
    for left, right in zip(axes[::2], axes[1::2], strict=True):
        looks = [
            {line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle())
             for line in ax.get_lines()} for ax in (left, right)
        ]  # fmt: skip
        assert looks[0] == looks[1]


def written(axes):
    """The texts that are drawn: titles, names at line ends, axis labels, ticks, the legend."""
    figure = axes[0].figure
    figure.draw_without_rendering()
    found = figure.legends[0].get_texts()
    for ax in axes:
        found += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]
        found += [text for text in ax.texts if isinstance(text, Annotation)]
        found += [tick.label1 for axis in (ax.xaxis, ax.yaxis) for tick in axis._update_ticks()]
    return [text for text in found if text.get_visible() and text.get_text()]


def test_no_text_covers_another_or_leaves_the_figure(axes):
    found = written(axes)
    boxes = [Text.get_window_extent(text) for text in found]
    assert sum(isinstance(text, Annotation) for text in found) == 9 * 2 and len(found) > 50
    whole = axes[0].figure.bbox
    for text, box in zip(found, boxes, strict=True):
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 + 1, text
        assert whole.y0 <= box.y0 and box.y1 <= whole.y1 + 1, text
    for (text, one), (other_text, other) in combinations(zip(found, boxes, strict=True), 2):
        assert not one.padded(-1).overlaps(other.padded(-1)), (text, other_text)


def test_a_frame_and_advice_do_as_well(study):
    advice = recommend(study)
    axes = plot_recovery(curves_of(study), "bn", advice, "drop")
    assert axes[0].get_ylabel() == "drop in top-1 accuracy (points)"
    assert set(recovery_table(curves_of(study), "bn", advice).query("marked")["layer"]) == {
        entry.layer for entry in advice.layers if entry.skipped and entry.kind == "free"
    }
    plt.close("all")


def test_nothing_recovered_is_one_sentence(study):
    with pytest.raises(EvidenceError) as caught:
        plot_recovery(study, "finetune:3")
    assert str(caught.value) == (
        "Expected curves of lesions with recovery by finetune:3, got others (one-shot, bn): sweep "
        "with that first."
    )
    curves = curves_of(study)
    apart = curves[(curves["recovery"] == "") ^ (curves["layer"] == "layer1.0.conv1")]
    with pytest.raises(EvidenceError, match="Expected a layer that was measured one-shot and with"):
        plot_recovery(apart, "bn")


def test_one_shot_pictures_ignore_recovered_lesions(study):
    curves = curves_of(study)
    alone = curves[(curves["recovery"] == "") | curves["amount"].isna()]
    assert sensitivity_table(curves).equals(sensitivity_table(alone))
    recovered = curves[curves["recovery"] == "bn"]
    assert (sensitivity_table(recovered)["kind"] == "free").all()


def test_it_is_saved_like_the_others(study, tmp_path):
    paths = save_recovery(curves_of(study), "bn", tmp_path / "new", formats=("png", "svg"))
    assert paths == [tmp_path / "new" / "recovery.png", tmp_path / "new" / "recovery.svg"]
    assert all(path.stat().st_size > 10_000 for path in paths) and not plt.get_fignums()
    with pytest.raises(LesionError, match="Expected formats among png, svg, pdf, got gif; choose"):
        save_recovery(curves_of(study), "bn", tmp_path, formats=("gif",))

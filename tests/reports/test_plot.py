"""One picture of a study by its name, as the file that `lesion plot` writes."""

import matplotlib.pyplot as plt
import planted
import pytest

from lesion.errors import EvidenceError, LesionError


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with planted.study(tmp_path_factory.mktemp("s") / "s", images=1000) as made:
        yield made


@pytest.mark.parametrize("picture", ["sensitivity", "drop", "heatmap", "norms", "rates"])
def test_each_picture_is_drawn(study, picture):
    axes = study.plot(picture)
    assert axes and all(ax.has_data() for ax in axes)
    _, mine = plt.subplots()
    assert study.plot(picture, ax=mine) == [mine] and mine.has_data()


def test_curves_have_a_panel_for_each_stage(study):
    assert len(study.plot("drop", 2.0)) == 4  # the stem and three stages


def test_another_picture_is_refused_with_those_there_are(study):
    with pytest.raises(LesionError, match=r"Expected a picture \(sensitivity, drop, heatmap"):
        study.plot("pie")


def few_seen(layer, ratio):
    return 20


def test_without_advice_there_are_no_rates(tmp_path):
    with planted.study(tmp_path / "few", images=200, ratios=(0.5,), seen=few_seen) as few:
        assert few.plot("heatmap")
        with pytest.raises(EvidenceError, match="settle none"):
            few.plot("rates")

"""What records look like: short as text, and as HTML whole, complete and harmless."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import planted
import pytest

import lesion
from lesion.errors import StudyError
from lesion.reports import notebook
from lesion.reports.notebook import CIVIDIS, UNKNOWN
from lesion.results.advice import Advice

EVIL = "<script>alert(1)</script>\"'&\x1b[31m\u202e]]>"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with planted.study(tmp_path_factory.mktemp("s") / "s.lesion", images=2000) as made:
        yield made


@pytest.fixture(scope="module")
def advice(study) -> Advice:
    return study.recommend(1.0)


def page(record) -> ElementTree.Element:
    """The HTML as a tree, which an open tag or a bare sign would break."""
    return ElementTree.fromstring(record._repr_html_())


def rows(tree) -> list[dict[str, str]]:
    titles = [cell.text for cell in tree.iter("th")]
    body = [[cell.text or "" for cell in row] for row in tree.find(".//tbody")]
    return [dict(zip(titles, cells, strict=True)) for cells in body]


def columns(tree) -> list[tuple[str, str, float]]:
    """Text, colour and height of each column of the picture."""
    groups = tree.iter(f"{SVG}g")
    return [(each[0].text, each.get("fill"), float(each[1].get("height"))) for each in groups]


def test_texts_are_short(study, advice):
    allocation = study.recommend(budget=lesion.Budget(macs=0.7))
    for record in (study, advice, allocation, study.anatomy):
        text = repr(record)
        assert len(text) < 200 and "\n" not in text and text.startswith("<") and text[-1] == ">"
    assert repr(study) == (
        f"<Study in {study.path}: resnet20, 90 lesions, 2 000 of 2 000 images>"
    ) or "…" in repr(study)
    assert repr(study.anatomy).startswith("<Anatomy: 20 layers in 11 units (9 free, 1 coupled, 1 t")
    counts = {
        status: [entry.status for entry in advice.layers].count(status)
        for status in ("safe", "sensitive", "undecided")
    }
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    assert repr(advice) == f"<Advice at 1 point, filters: of its layers {said}>"
    left = 100 * allocation.pruned.macs / allocation.intact.macs
    assert f"{left:.4g} % of the MACs remain" in repr(allocation)


def test_a_row_and_a_column_for_each_layer(advice):
    tree = page(advice)
    table = rows(tree)
    assert [row["layer"] for row in table] == [entry.layer for entry in advice.layers]
    assert [row["verdict"] for row in table] == [entry.status for entry in advice.layers]
    assert [text.split(":")[0] for text, _, _ in columns(tree)] == [row["layer"] for row in table]


def test_columns_are_as_high_as_what_is_safe_and_dark_where_nothing_is(advice):
    drawn = {text.split(":")[0]: (colour, height) for text, colour, height in columns(page(advice))}
    safe = sorted(
        (entry for entry in advice.layers if entry.status == "safe"), key=lambda each: each.rate
    )
    heights = [drawn[entry.layer][1] for entry in safe]
    assert heights == sorted(heights) and heights[-1] == notebook.HIGH
    assert drawn[safe[-1].layer][0] == CIVIDIS[-1]
    for entry in advice.layers:
        if entry.status == "unmeasured":
            assert drawn[entry.layer] == (UNKNOWN, 0.0)
        if entry.status == "sensitive":
            assert drawn[entry.layer] == (CIVIDIS[0], 0.0)


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_are_told_apart_by_brightness_alone():
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    assert [to_hex(colormaps["cividis"](step / 9)) for step in range(10)] == list(CIVIDIS)
    shades = [luminance(colour) for colour in CIVIDIS]
    assert shades == sorted(shades)


def few_seen(layer, ratio):
    return 20


def test_a_study_shows_its_advice_and_a_closed_one_still_something(study, tmp_path):
    assert rows(page(study)) == rows(page(study.recommend()))
    with planted.study(tmp_path / "few", images=200, ratios=(0.5,), seen=few_seen) as few:
        assert "settle none" in "".join(page(few).itertext())
    assert repr(few) == f"<Study in {few.path}>" or "…" in repr(few)
    assert "Study in" in "".join(page(few).itertext())
    with pytest.raises(StudyError):
        _ = few.images


def test_a_heavy_study_is_not_judged_to_be_shown(study, monkeypatch):
    monkeypatch.setattr(notebook, "HEAVY", 10)
    text = "".join(page(study).itertext())
    assert "recommend() says what each layer stands" in text and "sensitive" not in text


def test_rates_show_what_stays_of_each_unit(study):
    allocation = study.recommend(budget=lesion.Budget(macs=0.7))
    tree = page(allocation)
    assert [row["channels stay"] for row in rows(tree)] == [
        f"{len(rate.kept)} of {rate.channels}" for rate in allocation.rates
    ]
    for (_, _, height), rate in zip(columns(tree), allocation.rates, strict=True):
        assert height == pytest.approx(notebook.HIGH * len(rate.kept) / rate.channels, abs=0.06)


def test_an_anatomy_shows_what_each_layer_computes(study):
    tree = page(study.anatomy)
    assert [row["layer"] for row in rows(tree)] == [layer.name for layer in study.anatomy.layers]
    most = max(layer.macs for layer in study.anatomy.layers)
    for (_, colour, height), layer in zip(columns(tree), study.anatomy.layers, strict=True):
        assert height == pytest.approx(notebook.HIGH * layer.macs / most, abs=0.06)
        assert colour == notebook.KINDS[study.anatomy.unit[layer.unit].kind]


def test_names_are_no_tags_and_steer_nothing(study, advice, tmp_path):
    layers = tuple(replace(entry, layer=EVIL, reason=EVIL) for entry in advice.layers)
    allocation = study.recommend(budget=lesion.Budget(macs=0.7))
    rates = tuple(replace(rate, unit=EVIL, reason=EVIL) for rate in allocation.rates)
    anatomy = study.anatomy
    body = replace(
        anatomy,
        layers=tuple(replace(layer, name=EVIL, unit=EVIL) for layer in anatomy.layers),
        units=(replace(anatomy.units[0], name=EVIL, reason=EVIL),),
        notes=(EVIL,),
    )
    header = planted.header(20, 100, settings={"name": EVIL, "score": "top1"})
    with lesion.Study.create(tmp_path / f"{EVIL.replace('/', '')}.lesion", header) as named:
        hostile = [
            replace(advice, layers=layers, guarantee=EVIL),
            replace(allocation, rates=rates, guarantee=EVIL, goal=EVIL),
            body,
            named,
        ]
        for record in hostile:
            text = record._repr_html_()
            tree = ElementTree.fromstring(text)
            assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
            assert "<script>alert(1)" in "".join(tree.itertext())
            kinds = {re.sub(r"{.*}", "", each.tag) for each in tree.iter()}
            assert kinds <= {
                "div", "small", "svg", "g", "title", "rect",
                "table", "thead", "tbody", "tr", "th", "td",
            }  # fmt: skip
            assert "\x1b" not in repr(record) and "\u202e" not in repr(record)


def test_a_notebook_shows_it(study):
    """By the rules of IPython's own formatter."""
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(study.anatomy)
    assert data["text/html"].startswith("<div>") and data["text/plain"] == repr(study.anatomy)
    json.dumps(data)

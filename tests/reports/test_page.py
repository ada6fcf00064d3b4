"""The page of a study: what stands in it, that texts stay texts, and that advice is advice."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import hostile
import planted
import pytest

import lesion
from lesion import report
from lesion.errors import LesionError
from lesion.rates.allocate import by_stage
from lesion.reports.page.report import embedded
from lesion.results.reading import Reading

TOLERANCES = (0.5, 1, 2, 5, 10)


class Reader(HTMLParser):
    """The elements of a page, with their attributes, and the text of each script."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self._inside = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_data(self, text):
        if self._inside:
            self.scripts[-1] += text

    def handle_endtag(self, tag):
        self._inside = False


def values_in(page):
    """What a page embeds for its script."""
    return json.loads(Reader(page).scripts[0])


@pytest.fixture
def study(tmp_path):
    with planted.study(tmp_path / "s.lesion", ratios=(0.25, 0.5, 0.75)) as made:
        yield made


def test_the_page_says_what_was_measured_on_what(study):
    page = report(study, tolerances=(1,))
    for text in ("resnet20", "2 000 of 2 000 in a random order", "93.00 % top-1 on 2 000 images",
                 "filters by l1", "lesion recommend s.lesion"):  # fmt: skip
        assert text in page, text


def test_it_needs_nothing_but_itself(study):
    page = report(study, tolerances=(1,))
    for tag, attributes in Reader(page).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed")
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "action"):
                assert value.startswith("#"), value
    assert "default-src 'none'" in page


def test_curves_are_the_studys(study):
    family = values_in(report(study, tolerances=(1,)))["families"][0]
    rows = lesion.curves(study).set_index(["layer", "amount"])
    for target, curve in zip(family["targets"], family["curves"], strict=True):
        assert [family["amounts"][cell["at"]] for cell in curve] == [0.25, 0.5, 0.75]
        for cell in curve:
            row = rows.loc[target["name"], family["amounts"][cell["at"]]]
            for name in ("drop", "low", "high"):
                assert cell[name] == pytest.approx(row[name], abs=1e-4)


@pytest.mark.parametrize("seen", [None, lambda layer, ratio: 1900], ids=["full", "early"])
def test_advice_is_that_of_recommend(tmp_path, seen):
    with planted.study(tmp_path / "s.lesion", seen=seen, ratios=(0.25, 0.5, 0.75)) as study:
        values = values_in(report(study, tolerances=TOLERANCES))
        family = values["families"][0]
        assert [answer["max_drop"] for answer in family["answers"]] == [*TOLERANCES]
        for answer, tolerance in zip(family["answers"], TOLERANCES, strict=True):
            if "refusal" in answer:
                with pytest.raises(lesion.EvidenceError) as caught:
                    lesion.recommend(study, tolerance)
                assert values["texts"][answer["refusal"]] == str(caught.value)
                continue
            advice = lesion.recommend(study, tolerance)
            names = [target["name"] for target in family["targets"]]
            skipped = [
                name
                for name, mark, target in zip(
                    names, answer["skipped"], family["targets"], strict=True
                )
                if mark == "1" and target["kind"] != "coupled"
            ]
            assert skipped == advice.skip
            rates = dict(zip(names, answer["rates"], strict=True))
            assert {name: rates[name] for name in advice.rates} == advice.rates
            assert {each["stage"]: each["rate"] for each in answer["stages"]} == {
                each.stage: each.rate for each in advice.stages
            }
            reasons = [values["texts"][place] for place in answer["reasons"]]
            known = {entry.layer: entry.reason for entry in advice.layers}
            assert reasons == [known[name] for name in names]
            together = by_stage(Reading.of(study), advice)
            assert answer["together"]["macs"] == [together.pruned.macs, together.intact.macs]
            assert answer["together"]["drop"] == pytest.approx(together.drop, abs=1e-4)


def test_a_tolerance_that_nothing_is_known_of_says_why(tmp_path):
    with planted.study(tmp_path / "s.lesion", seen=lambda layer, ratio: 60) as study:
        values = values_in(report(study, tolerances=(0.1,)))
        (answer,) = values["families"][0]["answers"]
        with pytest.raises(lesion.EvidenceError) as caught:
            lesion.recommend(study, 0.1)
        assert values["texts"][answer["refusal"]] == str(caught.value)


@pytest.mark.parametrize("tolerances", [(0,), (-1,), (100,), (float("nan"),)])
def test_tolerances_that_are_none(study, tolerances):
    with pytest.raises(LesionError, match="Expected a tolerance"):
        report(study, tolerances=tolerances)


@pytest.fixture
def named(tmp_path):
    with hostile.study(tmp_path / "s.lesion", ratios=(0.5,)) as made:
        yield made


def test_texts_of_the_study_stay_texts(named):
    names = dict.fromkeys(range(10), hostile.NAMES[0])
    page = report(named, None, (1,), names)
    read = Reader(page)
    assert len(read.scripts) == 2  # the values, and ours
    assert [tag for tag, _ in read.elements if tag in ("img", "iframe")] == []
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202e]", page)
    kept = [layer["name"] for layer in values_in(page)["layers"]]
    assert (
        hostile.NAMES[0] in kept
        and hostile.NAMES[1] in kept
        and hostile.NAMES[3] in kept
        and hostile.NAMES[4] in kept
    )
    assert r"\u001b[31mred\u0007\u2028\u2029\u202ecba" in kept


def test_nothing_ends_the_script_that_holds_the_values():
    text = "</script><!--<script>]]>&\u2028"
    assert json.loads(embedded([text])) == [text]
    assert not set("<>&\u2028") & set(embedded([text]))


def test_classes_bear_their_names(study):
    values = values_in(report(study, None, (1,), ["shoe", "bag"]))
    assert values["classes"]["names"][:3] == ["shoe", "bag", "class 2"]
    assert sum(values["classes"]["images"]) == 2000


def test_the_page_is_written(study, tmp_path):
    page = lesion.report(study, tmp_path / "report.html", 1)
    assert (tmp_path / "report.html").read_text("utf-8") == page
    assert repr(page) == f"<Page: {-(-len(page.encode()) // 1000)} kB of HTML>"
    source = re.search(r'srcdoc="([^"]*)"', page._repr_html_())
    assert unescape(source[1]) == page


def test_a_study_without_lesions_is_refused(tmp_path):
    with (
        lesion.Study.create(tmp_path / "s.lesion", planted.header()) as study,
        pytest.raises(lesion.EvidenceError, match="Expected measured lesions"),
    ):
        report(study)


def test_of_many_lesions_that_stopped_early_a_page_has_fewer_tolerances(tmp_path, monkeypatch):
    def early(layer, ratio):
        return 900

    with planted.study(tmp_path / "e.lesion", ratios=(0.25, 0.5), seen=early) as study:
        usual = {each["max_drop"] for each in answers_in(study)}
        monkeypatch.setattr("lesion.reports.page.answers.MANY", 10)
        assert {each["max_drop"] for each in answers_in(study)} == {0.2, 0.5, 1, 2, 5, 10} < usual
        asked = report(study, tolerances=(3, 4))
        assert [each["max_drop"] for each in values_in(asked)["families"][0]["answers"]] == [3, 4]


def answers_in(study):
    """The answers on a page, at the tolerances that it chooses."""
    return values_in(report(study))["families"][0]["answers"]

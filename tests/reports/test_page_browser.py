"""The page in a browser: it loads nothing, answers as `recommend` does, and needs no pointer.

Skipped where playwright or Chromium is missing. LESION_CHROMIUM names another browser than the
system's. Barriers are what axe-core finds, of the package axe-playwright-python; LESION_AXE names
another axe.min.js.
"""

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import hostile
import mixed
import planted
import pytest
from test_page_more import PAIRS, TRADEOFF

import lesion
from lesion.joint.verification import Check
from lesion.rates.allocate import by_stage
from lesion.results.reading import Reading

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("LESION_CHROMIUM") or shutil.which("chromium")
TOLERANCES = (0.5, 1, 2, 5, 10)
SIZES = [pytest.param(size, id=str(size["width"])) for size in (
    {"width": 1200, "height": 900}, {"width": 400, "height": 900})]  # fmt: skip


def axe():
    """The file of axe-core."""
    if named := os.environ.get("LESION_AXE"):
        return Path(named)
    package = find_spec("axe_playwright_python")
    if package is None:
        pytest.skip("axe-playwright-python is not installed")
    return Path(package.origin).with_name("axe.min.js")


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with planted.study(folder / "s.lesion", ratios=(0.25, 0.5, 0.75)) as made:
        lesion.report(made, folder / "report.html", TOLERANCES)
        yield made


def shown(browser, path, **how):
    """The page, open, with what it complains of and asks for."""
    page = browser.new_page(**how)
    page.set_default_timeout(600_000)  # a busy machine is no fault of the page
    page.complaints, page.requests = [], []
    page.on("console", lambda said: page.complaints.append(said.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
    page.on("request", lambda asked: page.requests.append(asked.url))
    page.goto(Path(path).as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    return page


@pytest.fixture
def page(browser, study):
    opened = shown(browser, study.path.with_name("report.html"))
    yield opened
    opened.close()


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_quiet_alone_and_fits(browser, study, size, scheme):
    path = study.path.with_name("report.html")
    page = shown(browser, path, viewport=size, color_scheme=scheme)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert page.complaints == [] and page.requests == [path.as_uri()] and wide <= size["width"]
    page.close()


def everything(folder):
    """The page of a study with whatever can be measured besides."""
    with planted.study(folder / "s.lesion", ratios=(0.25, 0.5, 0.75)) as study:
        rates = lesion.recommend(study, budget=lesion.Budget(macs=0.8))
        known = Check(rates, 1.0, 0.025, 1, "safe", 300, 400, 93.0, 0.5, -0.25, 1.25)
        for check in (known, replace(known, number=2, verdict="undecided")):
            study.add_check(json.dumps(check.to_dict()))
        lesion.report(study, folder / "report.html", 5, None, TRADEOFF, PAIRS)


def early(folder):
    """The page of a study that stopped early, at a tolerance of which nothing is known as well."""
    with planted.study(folder / "s.lesion", ratios=(0.5,), seen=lambda *_: 900) as study:
        lesion.report(study, folder / "report.html", (0.1, 5))


def damages(folder):
    """The page of a study of several damages, with recovery and without."""
    with mixed.study(folder / "s.lesion", recoveries=("", "bn")) as study:
        lesion.report(study, folder / "report.html", TOLERANCES)


def odd(folder):
    """The page of a study whose names are hostile."""
    with hostile.study(folder / "s.lesion", ratios=(0.5,)) as study:
        lesion.report(study, folder / "report.html", 5, [hostile.NAMES[1]] * 10)


@pytest.fixture(
    scope="module", params=[everything, early, damages, odd], ids=lambda of: of.__name__
)
def report(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    request.param(folder)
    return folder / "report.html"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_the_way(browser, report, size, scheme):
    page = shown(browser, report, viewport=size, color_scheme=scheme)
    page.evaluate(axe().read_text("utf-8"))
    first = page.evaluate("axe.run()")
    page.locator("#strip .cell[tabindex='0']").focus()
    page.keyboard.press("End")  # a layer is chosen, and has details
    chosen = page.evaluate("axe.run()")
    page.close()
    for looked in (first, chosen):
        assert len(looked["passes"]) > 10
        serious = [
            each for each in looked["violations"] if each["impact"] in ("serious", "critical")
        ]
        assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []


@pytest.mark.parametrize("place", range(len(TOLERANCES)))
def test_the_slider_answers_as_recommend_does(page, study, place):
    page.locator("#tolerance").focus()
    page.keyboard.press("Home")
    for _ in range(place):
        page.keyboard.press("ArrowRight")
    advice = lesion.recommend(study, TOLERANCES[place])
    names = {entry.layer: f"{entry.number} {entry.layer}" for entry in advice.layers}
    names["conv1"] += " (branch)"
    assert texts(page, "#skip-list button") == [names[name] for name in advice.skip]
    stages = [f"stage {stage.stage}" if stage.stage else "stem" for stage in advice.stages]
    assert texts(page, "#stages tbody th") == stages
    rates = [f"{100 * stage.rate:g} %" for stage in advice.stages]
    assert texts(page, "#stages tbody td:nth-child(2)") == rates
    together = by_stage(Reading.of(study), advice)
    share = 100 * together.pruned.macs / together.intact.macs
    assert float(page.inner_text("#macs-left").split()[0]) == pytest.approx(share, abs=0.051)
    lost = page.inner_text("#joint-drop").split()[0].replace("−", "-")
    assert float(lost) == pytest.approx(together.drop, abs=0.0051)


def test_a_chosen_layer_is_marked_everywhere(page):
    page.locator("#table button.link").nth(4).click()
    name = page.locator("#table button.link").nth(4).inner_text()
    for place in ("#table tr.chosen th", "#heatmap tr.chosen th", "#details h3"):
        assert texts(page, place) == [name]
    assert page.locator("#strip .cell.chosen").count() == 1
    assert page.locator("#strip .cell.chosen").get_attribute("aria-label").startswith(f"{name}:")
    curve = page.locator("#curves .curve.chosen")
    assert curve.count() == 1 and curve.locator("title").first.text_content() == name
    assert f"{name}: 25 % cost" in page.locator("#curves").get_attribute("aria-label")


def test_the_keyboard_reaches_everything(page):
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.closest('[id]')?.id || ''"
            )
        )
    wanted = {"family", "tolerance", "strip", "curves", "heatmap", "filter", "copy", "table"}
    assert wanted - reached <= {"family"}  # which is hidden where there is but one
    page.locator("#strip .cell[tabindex='0']").focus()
    page.keyboard.press("End")
    last = page.inner_text("#details h3")
    page.keyboard.press("Home")
    first = page.inner_text("#details h3")
    assert first.startswith("1 conv1") and last != first
    page.locator("#heatmap").focus()
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#details h3") not in (first, last)


def test_the_table_sorts_filters_and_becomes_csv(page):
    page.get_by_role("button", name="rank").click()
    ranks = [int(text) for text in texts(page, "#table td:nth-child(7)")]
    assert ranks == sorted(ranks) and len(ranks) == 10
    page.locator("#filter").fill("layer2 CONV1")
    assert all("layer2" in text for text in texts(page, "#table tbody th"))
    assert page.inner_text("#shown") == "3 of 10 rows"
    rows = list(csv.DictReader(io.StringIO(page.evaluate("tableAsCsv()"), newline="")))
    assert [row["layer"].split()[1][:6] for row in rows] == ["layer2"] * 3


def test_names_are_only_names(browser, tmp_path):
    with hostile.study(tmp_path / "s.lesion", ratios=(0.5,)) as study:
        lesion.report(study, tmp_path / "report.html", 5, [hostile.NAMES[1]] * 10)
    page = shown(browser, tmp_path / "report.html", viewport={"width": 400, "height": 800})
    for place in range(page.locator("#table button.link").count()):
        page.locator("#table button.link").nth(place).click()
    assert page.complaints == [] and len(page.requests) == 1
    assert page.locator("script").count() == 2 and page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert hostile.NAMES[0] in page.inner_text("#table") and hostile.NAMES[1] in page.inner_text(
        "#classes"
    )
    rows = list(csv.reader(io.StringIO(page.evaluate("tableAsCsv()"), newline="")))
    assert all(not cell.startswith(("=", "@", "+")) for row in rows for cell in row)
    page.close()


def test_in_the_cell_of_a_notebook_it_works_as_alone(browser, study, tmp_path):
    path = tmp_path / "cell.html"
    path.write_text(
        f"<!DOCTYPE html>{lesion.report(study, None, TOLERANCES)._repr_html_()}", "utf-8"
    )
    page, said = browser.new_page(), []
    page.set_default_timeout(600_000)  # as in `shown`
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    inside = page.frame_locator("iframe")
    inside.locator("#tolerance").focus()
    inside.locator("#tolerance").press("End")
    advice = lesion.recommend(study, TOLERANCES[-1])
    assert inside.locator("#skip-list button").count() == len(advice.skip)
    assert inside.locator("#strip .cell").count() > 0 and not said
    page.close()


def test_what_else_was_measured_is_shown_and_can_be_reached(browser, tmp_path):
    everything(tmp_path)
    page = shown(browser, tmp_path / "report.html")
    ways = page.locator("nav li:not([hidden]) a").evaluate_all("all => all.map((a) => a.hash)")
    assert {"#classes-section", "#tradeoff-section", "#pairs-section", "#checks-section"} < {*ways}
    assert "#beside-section" not in ways and not page.locator("#beside-section").is_visible()
    for way in ways:
        assert page.locator(way).is_visible(), way
    points = page.locator("#tradeoff figure path")
    assert points.count() == 3 and page.locator("#tradeoff .way.tuned path").count() == 1
    intact, kept, uniform = (points.nth(place).bounding_box() for place in range(3))
    assert intact["x"] > kept["x"] and intact["y"] < kept["y"] < uniform["y"]
    assert kept["x"] + kept["width"] / 2 == pytest.approx(
        uniform["x"] + uniform["width"] / 2, abs=1
    )
    page.close()

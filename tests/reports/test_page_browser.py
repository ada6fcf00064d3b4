"""The page in a browser: it loads nothing, answers as `recommend` does, and needs no pointer.

Skipped where playwright or Chromium is missing. LESION_CHROMIUM names another browser than the
system's; LESION_AXE names axe.min.js of axe-core, by which accessibility is looked at as well.
"""

import csv
import io
import os
import shutil
from pathlib import Path

import hostile
import planted
import pytest

import lesion
from lesion.rates.allocate import by_stage
from lesion.results.reading import Reading

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("LESION_CHROMIUM") or shutil.which("chromium")
TOLERANCES = (0.5, 1, 2, 5, 10)


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


@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_quiet_alone_and_fits(browser, study, width, scheme):
    path = study.path.with_name("report.html")
    size = {"width": width, "height": 900}
    page = shown(browser, path, viewport=size, color_scheme=scheme)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert page.complaints == [] and page.requests == [path.as_uri()] and wide <= width
    if axe := os.environ.get("LESION_AXE"):
        page.evaluate(Path(axe).read_text())
        found = page.evaluate("axe.run()")["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    page.close()


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

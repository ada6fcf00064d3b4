"""`lesion report`: a page of a study, and of tables that other commands printed."""

import subprocess
import sys

import planted
import pytest


@pytest.fixture
def swept(tmp_path):
    planted.study(tmp_path / "s.lesion", ratios=(0.25, 0.75)).close()
    return tmp_path / "s.lesion"


def test_a_page_is_written(run, swept, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"thing {place}" for place in range(10)))
    (tmp_path / "t.csv").write_text(
        "way,macs,accuracy,low,high,tuned\nlesion,1.0,93,93,93,False\nlesion,0.5,80,79,81,False\n"
    )
    out = tmp_path / "r.html"
    named = ("--class-map", tmp_path / "names.txt", "--tradeoff", tmp_path / "t.csv")
    ran = run("report", swept, "-o", out, "--tolerances", "1,5", *named)
    assert ran.code == 0 and ran.out.endswith("r.html\n")
    page = out.read_text("utf-8")
    assert '"max_drop":5.0' in page and '"thing 3"' in page and '"share":50.0' in page


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--tolerances", "x"), "Expected numbers with commas between them for --tolerances"),
        (("--tolerances", "0"), "Expected a tolerance in points, above 0"),
        (("--tradeoff", "nowhere.csv"), "Expected a table in nowhere.csv"),
        (("-o", "nowhere/r.html"), "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(run, swept, tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    run("report", swept, *options).refused(text)
    assert not list(tmp_path.glob("*.html"))


def test_what_a_demonstrations_classes_are_called_needs_no_torch(tmp_path, monkeypatch):
    named = {"source": {"options": {"network": "demo:resnet20"}}}
    plain = planted.header
    settings = plain().settings | named
    monkeypatch.setattr(planted, "header", lambda *size: plain(*size, settings=settings))
    planted.study(tmp_path / "s.lesion", ratios=(0.25, 0.75)).close()
    code = """
import sys
from lesion.cli.run import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    asked = [sys.executable, "-c", code, "report", "s.lesion"]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ankle boot" in (tmp_path / "report.html").read_text("utf-8")

"""The site is built without a warning, and pages name what there is."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

import lesion
from lesion.cli.run import app

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("benchmarks/*.md")),
]
COMMANDS = typer.main.get_command(app).commands
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the pages, built strictly: a link that leads nowhere ends the build."""
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
    folder = tmp_path_factory.mktemp("site")
    asked = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    paths = os.pathsep.join([str(ROOT), *sys.path[1:]])
    given = {**os.environ, "PYTHONPATH": paths, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(asked, cwd=ROOT, env=given, capture_output=True, text=True)
    assert not built.returncode, built.stdout + built.stderr
    assert "WARNING" not in built.stdout + built.stderr
    return folder


def test_the_reference_has_every_public_name_and_command(site):
    python = (site / "reference/python/index.html").read_text()
    assert not [name for name in lesion.__all__ if f'id="lesion.{name}"' not in python]
    commands = (site / "reference/commands/index.html").read_text()
    assert not [name for name in COMMANDS if f'id="lesion-{name}"' not in commands]


def test_files_of_the_repository_are_part_of_it(site):
    first = (site / "index.html").read_text()
    assert 'src="figures/demo/drop.png"' in first and 'href="benchmarks/"' in first
    assert (site / "figures/demo/drop.png").exists() and (site / "examples/unet.py").exists()
    shown = (site / "notebooks/reading_curves/index.html").read_text()
    assert 'src="../reading_curves_1.png"' in shown
    assert (site / "notebooks/reading_curves_1.png").read_bytes().startswith(b"\x89PNG")


def test_docstrings_become_markdown():
    markdown = runpy.run_path(str(ROOT / "docs/hooks/docstrings.py"))["markdown"]
    told = "What it gives.\n\na, b: one\n    and more\nc: two\n\n>>> 1 + 1\n2"
    assert markdown(told) == (
        "What it gives.\n\n- `a, b`: one\n    and more\n- `c`: two\n\n```pycon\n>>> 1 + 1\n2\n```"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_pages_are_commands_with_these_options(page):
    for block in SHELL.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            for words in re.findall(r"(?:^|&& \S*/?)lesion +(\w.*)", line):
                name, *given = shlex.split(words.replace("$(", ""), comments=True)
                known = {"--help"}.union(*(_names(it) for it in COMMANDS[name].params))
                options = {word.split("=")[0] for word in given if re.match(r"--?[a-z]", word)}
                assert options <= known, f"{page.name}: {line}"


def _names(parameter):
    return {*parameter.opts, *parameter.secondary_opts}


def test_links_of_the_readme_lead_to_files_and_the_package_index_page_has_none():
    links = LINK.findall((ROOT / "README.md").read_text())
    assert links and not [link for link in links if not (ROOT / link).exists()]
    assert not LINK.findall((ROOT / "docs/pypi.md").read_text())


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cited["version"]) == lesion.__version__ and cited["authors"]


def test_the_first_page_begins_as_the_readme_does():
    beginning, rest, _ = (ROOT / "README.md").read_text().partition("## On your own network")
    there = beginning.replace("](figures/", "](../figures/")
    assert rest and (ROOT / "docs/index.md").read_text().startswith(there)

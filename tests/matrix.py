"""Which Pythons and torches the package works under: each pair in a virtual environment of its own.

    python tests/matrix.py 3.10:2.6.0 3.13:2.15.0

A pair is installed from the package index as anybody would install it, runs the tests that see most
of torch's insides, and is removed; it takes minutes, and 6 GB while it lasts.  uv, of pip, brings
the Pythons or finds them.  docs/versions.md is written after each pair, and keeps what was tried
before.
"""

import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "versions.md"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
OLDEST = 6  # of torch 2
PACKAGES = ("torch", "torchvision", "numpy", "pandas")
EXTRAS = ("pytest", "pytest-xdist", "hypothesis")
TESTS = (
    "tests/network/rules",
    "tests/network/test_eager.py",
    "tests/network/test_functional.py",
    "tests/network/test_outputs.py",
    "tests/network/test_program.py",
    "tests/network/test_trace.py",
    "tests/engine/test_attention.py",
    "tests/engine/test_branches.py",
    "tests/engine/test_copy.py",
    "tests/engine/test_engine.py",
    "tests/exports/test_programs.py",
    "tests/exports/test_pruned.py",
    "tests/exports/test_pruned_attention.py",
    "tests/exports/test_torch_prune.py",
    "tests/exports/test_torch_pruning.py",
    "tests/zoo/test_checkpoints.py",
    "tests/zoo/test_open_evaluation.py",
    "tests/zoo/test_preprocessing.py",
)
HEAD = "| Python | torch | torchvision | numpy | pandas | tests | on |"


class Tried(NamedTuple):
    """A row of the page: versions, what the tests said, and the day."""

    python: str
    torch: str
    torchvision: str
    numpy: str
    pandas: str
    tests: str
    on: str

    @property
    def pair(self) -> tuple[str, str]:
        """The minor versions."""
        return _minor(self.python), _minor(self.torch)

    @property
    def verdict(self) -> str:
        """The tests in a word or two."""
        if "failed" in self.tests or "error" in self.tests:
            return "**fails**"
        return "passes" if "passed" in self.tests else self.tests


def attempt(python: str, torch: str) -> Tried:
    """A pair installed and tested; `tests` says what stood in the way where it cannot be."""
    today = date.today().isoformat()
    with tempfile.TemporaryDirectory() as folder:
        interpreter = f"{folder}/bin/python"
        made = _run("uv", "venv", "--python", python, "--clear", folder)
        wanted = (f"torch=={torch}", ".[onnx,pruning]", *EXTRAS)
        installed = _run("uv", "pip", "install", "--python", interpreter, *wanted)
        if installed.returncode:
            print(made.stdout, installed.stdout, flush=True)
            return Tried(python, torch, "", "", "", "cannot be installed", today)
        query = f"from importlib.metadata import version; print(*map(version, {PACKAGES}))"
        versions = _run(interpreter, "-c", query).stdout.split()
        number = _run(interpreter, "-c", "import platform; print(platform.python_version())").stdout
        tested = _run(interpreter, "-m", "pytest", "-q", "-n", "2", "--durations=8", *TESTS)
    print(tested.stdout[-6000:], flush=True)
    return Tried(number.strip(), *versions, _result(tested.stdout), today)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command at the repository's root, both its streams as text."""
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _result(printed: str) -> str:
    """What pytest counted, without the seconds, and the names of what failed."""
    last = printed.rstrip().splitlines()[-1]
    names = re.findall(r"^(?:FAILED|ERROR) \S*?(\w+\.py\S*)", printed, re.MULTILINE)
    return "; ".join(
        [re.sub(r"(, \d+ warnings?)? in .*|=", "", last).strip(), *(f"`{name}`" for name in names)]
    )


def read() -> list[Tried]:
    """The rows of the page."""
    if not PAGE.exists():
        return []
    rows = PAGE.read_text().split(HEAD)[-1].splitlines()[2:]
    return [Tried(*map(str.strip, row.strip("|").split("|"))) for row in rows if row]


def text(tried: list[Tried]) -> str:
    """The page: minor versions against each other, then each pair as it was tried."""
    verdicts = {each.pair: each.verdict for each in tried}
    newest = max(int(each.pair[1].split(".")[1]) for each in tried)
    lines = [INTRODUCTION, f"| torch | {' | '.join(f'Python {each}' for each in PYTHONS)} |"]
    lines.append("|---" * (1 + len(PYTHONS)) + "|")
    for torch in (f"2.{number}" for number in range(OLDEST, newest + 1)):
        cells = [verdicts.get((python, torch), "not tried") for python in PYTHONS]
        lines.append(f"| {' | '.join([torch, *cells])} |")
    lines += [DETAILS, HEAD, "|---" * len(Tried._fields) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(each)} |" for each in tried)]) + "\n"


def main(pairs: list[str]) -> None:
    for python, torch in (pair.split(":") for pair in pairs):
        new = attempt(python, torch)
        print(*new, sep=" | ", flush=True)
        others = [each for each in read() if each.pair != new.pair]
        PAGE.write_text(text(sorted([*others, new], key=lambda each: _order(each.pair))))


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def _order(pair: tuple[str, str]) -> list[int]:
    return [int(number) for version in pair for number in version.split(".")]


INTRODUCTION = """\
# Python and torch, as they were tried

`lesion` asks for Python 3.10 and torch 2.6 or newer. A bound says little of what works, so pairs are tried:
`python tests/matrix.py 3.10:2.6.0` makes a virtual environment, installs the package and that torch with what
fits them, runs the tests that see most of torch's insides (tracing, replay, slicing, export), and writes this
page. All other tests run under one pair, that of whoever changes the package.
"""  # noqa: E501
DETAILS = """
*Cannot be installed*: there is no such torch for that Python, or it asks for what does not go together. *Not
tried* says nothing either way.

Under torch 2.6, 2.7 and 2.10, networks of TorchScript are refused, and so are those that change in place what
dropout gives back in evaluation mode and read its input again; under torch 2.6 networks with batch norm
cannot be written as ONNX. Each is told in a sentence. Their tests are marked (`tests/torches.py`); the run of
torch 2.6 below is older than the marks.

## What was run

On Linux, x86-64, without a GPU.
"""  # noqa: E501

if __name__ == "__main__":
    main(sys.argv[1:])

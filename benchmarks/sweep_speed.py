"""How fast the full sweep of a CIFAR ResNet is, beside a plain loop and Torch-Pruning.

    python benchmarks/sweep_speed.py --images 1000 --repeats 3 --threads 2 -o sweep_speed.md

The contenders (see `contenders.py`) take turns, each time in a fresh process, on the same images;
seconds are counted around the sweep and without imports, and medians are shown. Run it with
nothing else at work. It ends with an error where the contenders disagree on the images.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypedDict

HERE = Path(__file__).parent
NAMES = ("lesion", "plain loop", "Torch-Pruning")
REFERENCE = "plain loop"
TIES = 1e-4  # the share of outcomes that may differ, where logits tie to float tolerance
HEADER = (
    "contender",
    "lesions",
    "seconds",
    "of them fastest–slowest",
    "images × lesions a second",
    "times the plain loop",
    "peak memory (MiB)",
    "of it the sweep's",
    "outcomes that differ",
)


class Result(TypedDict):
    """What a contender's process leaves; memory in KiB."""

    seconds: float
    before: int
    peak: int
    images: int
    outcomes: dict[str, list[bool]]


@dataclass(frozen=True)
class Runs:
    """The runs of one contender."""

    name: str
    results: tuple[Result, ...]

    @property
    def seconds(self) -> list[float]:
        return [result["seconds"] for result in self.results]

    @property
    def outcomes(self) -> dict[str, list[bool]]:
        return self.results[0]["outcomes"]

    @property
    def rate(self) -> float:
        """Images × lesions a second."""
        return self.results[0]["images"] * len(self.outcomes) / median(self.seconds)

    @property
    def peak(self) -> float:
        """The most memory of a run, in MiB."""
        return max(result["peak"] for result in self.results) / 1024

    @property
    def own(self) -> float:
        """What the sweep added to the peak of before, in MiB."""
        return max(result["peak"] - result["before"] for result in self.results) / 1024


def run(name: str, options: list[str], threads: int) -> Result:
    """One run of a contender in a process of its own."""
    print(f"{name} …", end=" ", flush=True)
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, str(HERE / "contenders.py"), name, "--threads", str(threads)]
        subprocess.run([*command, *options, "--out", str(out)], check=True, env=environment)
        result: Result = json.loads(out.read_text())
    print(f"{result['seconds']:.1f} s", flush=True)
    return result


def differing(first: dict[str, list[bool]], second: dict[str, list[bool]]) -> tuple[int, int]:
    """How many outcomes of the lesions that both have differ, and of how many."""
    both = [(first[key], second[key]) for key in first.keys() & second.keys()]
    unequal = sum(a != b for left, right in both for a, b in zip(left, right, strict=True))
    return unequal, sum(len(left) for left, _ in both)


def rows(contenders: Iterable[Runs], reference: Runs) -> Iterator[tuple[str, ...]]:
    """The cells of the table."""
    for runs in contenders:
        unequal, compared = differing(runs.outcomes, reference.outcomes)
        yield (
            runs.name,
            str(len(runs.outcomes)),
            f"{median(runs.seconds):.1f}",
            f"{min(runs.seconds):.1f}–{max(runs.seconds):.1f}",
            f"{runs.rate:.0f}",
            f"{runs.rate / reference.rate:.2f}",
            f"{runs.peak:.0f}",
            f"{runs.own:.0f}",
            f"{unequal} of {compared}",
        )


def table(contenders: list[Runs], reference: Runs) -> str:
    """The Markdown table."""
    lines = [HEADER, tuple("---" for _ in HEADER), *rows(contenders, reference)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="demo:resnet56", help="demo:resnet20, demo:resnet56")
    parser.add_argument("--weights", help="a file, or random, instead of the bundled weights")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    options = ["--network", asked.network, "--images", str(asked.images)]
    options += ["--weights", asked.weights] if asked.weights else []
    names = list(dict.fromkeys([*asked.contenders, REFERENCE]))
    results_of: dict[str, list[Result]] = {name: [] for name in names}
    for _ in range(asked.repeats):
        for name in names:
            results_of[name].append(run(name, options, asked.threads))
    contenders = [Runs(name, tuple(results)) for name, results in results_of.items()]
    (reference,) = (runs for runs in contenders if runs.name == REFERENCE)
    text = (
        f"{asked.network}, {asked.images} images, {asked.repeats} interleaved repeats, "
        f"{asked.threads} thread(s)\n\n{table(contenders, reference)}\n"
    )
    print(text)
    if asked.out:
        asked.out.write_text(text)
    return disagreement(contenders, reference)


def disagreement(contenders: Iterable[Runs], reference: Runs) -> int:
    """1, and a sentence, where more outcomes differ than ties explain; else 0."""
    for runs in contenders:
        unequal, compared = differing(runs.outcomes, reference.outcomes)
        if not compared or unequal > TIES * compared:
            print(f"{runs.name} and the {REFERENCE} disagree on {unequal} of {compared} outcomes")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

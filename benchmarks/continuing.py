"""What a study measures anew when it goes on from one aim to the next, and whether it ends alike.

    python benchmarks/continuing.py --network demo:resnet20 --half-width 1 -o continuing.md

One study decides at each of the tolerances in turn, then knows every drop to a half-width, then
measures everything; a second one measures everything at once. An answer is one lesion on one image.
The command ends with an error where an answer is given twice, or where the two tables of curves
are not equal bit for bit.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.data import TensorDataset

import lesion
from lesion.sweeps.progress import Progress
from lesion.words import grouped, points
from lesion.zoo import fashion_mnist
from lesion.zoo.forms import open_network

HEADER = "step", "answers kept", "answers given", "answers held", "of all"


@dataclass(frozen=True)
class Step:
    """A sweep of a study: the answers it found there, gave and left.

    given: by its own count, without the intact network's; lesions × images: what there is in all
    """

    name: str
    kept: int
    given: int
    held: int
    most: int

    @property
    def cells(self) -> tuple[str, ...]:
        numbers = map(grouped, (self.kept, self.given, self.held))
        return (self.name, *numbers, f"{100 * self.held / self.most:.1f} %")


def answers(study: lesion.Study) -> int:
    """How many answers a study holds."""
    return sum(int(study.seen(cell).sum()) for cell in study.lesions)


def run(subject: tuple[nn.Module, Any], path: Path, name: str, **asked: Any) -> Step:
    """One sweep of the study at `path`."""
    print(f"{name} …", end=" ", flush=True)
    kept = intact = 0
    if path.exists():
        with lesion.Study.open(path) as study:
            kept, intact = answers(study), study.images
    steps: list[Progress] = []
    start = time.perf_counter()
    with lesion.sweep(*subject, path, holdout=0, progress=steps.append, **asked) as study:
        held, most = answers(study), len(study.lesions) * len(study.header.order)
        given = steps[-1].done if steps else 0
        if not asked.get("full"):  # a full sweep does not count the intact network's passes
            given -= study.images - intact
    print(f"{time.perf_counter() - start:.0f} s", flush=True)
    return Step(name, kept, given, held, most)


def aims(asked: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The aims in turn, and what they are called."""
    for tolerance in asked.tolerances:
        yield f"decide at {points(tolerance)}", {"max_drop": tolerance}
    yield f"every drop to ± {asked.half_width:g}", {"half_width": asked.half_width}
    yield "everything", {"full": True}


def compared(continued: pd.DataFrame, fresh: pd.DataFrame) -> tuple[int, dict[str, int]]:
    """How many rows are equal bit for bit, and in how many rows each column that differs does."""
    if list(continued) != list(fresh) or len(continued) != len(fresh):
        raise SystemExit("The continued study's table has other rows or columns than the new one.")
    unequal = continued.map(repr) != fresh.map(repr)
    counts = {str(name): int(unequal[name].sum()) for name in unequal if unequal[name].any()}
    return int((~unequal.any(axis=1)).sum()), counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="demo:resnet20")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[2.0, 1.0])
    parser.add_argument("--half-width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    network, _ = open_network(asked.network)
    pixels, labels = (tensor[: asked.images] for tensor in fashion_mnist.bundled())
    subject = network.eval(), TensorDataset(fashion_mnist.normalise(pixels), labels)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("continued", "fresh")]
        steps = [run(subject, paths[0], name, **aim) for name, aim in aims(asked)]
        steps.append(run(subject, paths[1], "everything, in a new study", full=True))
        tables = []
        for path in paths:
            with lesion.Study.open(path) as study:
                tables.append(lesion.curves(study))
    text = f"{asked.network}, {asked.images} images, {asked.threads} thread(s)\n\n{report(steps)}\n"
    equal, different = compared(*tables)
    lesions = int(tables[1]["amount"].notna().sum())
    text += (
        f"\nThe table of the continued study and that of the new one: {equal} of {len(tables[1])} "
        f"rows, {lesions} of these of lesions, are equal bit for bit.\n"
    )
    print(text)
    if asked.out:
        asked.out.write_text(text)
    check(steps, different)


def report(steps: list[Step]) -> str:
    """The Markdown table."""
    lines = [HEADER, tuple("---" for _ in HEADER), *(step.cells for step in steps)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def check(steps: list[Step], different: dict[str, int]) -> None:
    """Ends with a sentence where answers were given twice or the tables differ."""
    for step in steps:
        if step.kept + step.given != step.held:
            raise SystemExit(
                f"{step.name}: {step.kept} answers kept and {step.given} given make "
                f"{step.kept + step.given}, but the study holds {step.held}."
            )
    if different:
        columns = ", ".join(f"{name} in {count} rows" for name, count in different.items())
        raise SystemExit(f"The continued study's table differs from the new one's: {columns}.")


if __name__ == "__main__":
    main()

"""Which classification networks of torchvision `lesion` takes apart, and how: a row a network.

    python benchmarks/torchvision_table.py -o benchmarks/torchvision.md
    python benchmarks/torchvision_table.py resnet18 vit_b_16

Weights are random, so that nothing is downloaded. Each network is dissected and its lesions
planned; then its first and its last unit are swept at two ratios on four random images.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchvision import models

from lesion import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.loop import Sweep
from lesion.sweeps.prepare import prepare

CLASSES, IMAGES, RATIOS = 10, 4, (0.3, 0.7)
SIZES = {"inception_v3": 299, "maxvit_t": 224}
TRANSFORMERS, SMALL = 224, 64
PLAIN = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
HEADER = (
    "network",
    "input",
    "layers",
    "free",
    "coupled",
    "tied",
    "measured by",
    "seconds",
    "sweep",
    "notes",
)


@dataclass(frozen=True)
class Row:
    """What became of one network.

    free, coupled, tied: numbers of layers by the kind of their unit
    whole: why it is measured by whole forward passes, "" where it is replayed
    seconds: to dissect it and to plan its lesions; sweep: lesions measured, or why not
    """

    name: str
    size: int
    layers: int
    free: int
    coupled: int
    tied: int
    whole: str
    seconds: float
    sweep: str
    notes: tuple[str, ...]

    def cells(self) -> tuple[str, ...]:
        notes = "; ".join(text for text in (self.whole, *alike(self.notes)) if text)
        return (
            self.name,
            f"{self.size}²",
            *map(str, (self.layers, self.free, self.coupled)),
            str(self.tied),
            "whole passes" if self.whole else "replay",
            f"{self.seconds:.1f}",
            self.sweep,
            notes,
        )


def alike(notes: Iterable[str]) -> Iterable[str]:
    """Notes on single modules as one where they say the same.

    >>> list(alike(["a: cannot be followed", "b: cannot be followed", "c: is shared"]))
    ['cannot be followed (2 modules)', 'is shared (c)']
    """
    modules: dict[str, list[str]] = {}
    for note in notes:
        module, _, text = note.rpartition(": ")
        modules.setdefault(text, []).append(module)
    for text, several in modules.items():
        yield f"{text} ({several[0] if len(several) == 1 else f'{len(several)} modules'})"


def names() -> list[str]:
    """torchvision's classification networks."""
    return list(models.list_models(module=models))


def size_of(name: str) -> int:
    """The side of the images for a network: small where it accepts that."""
    fixed = TRANSFORMERS if name.startswith(("vit", "swin")) else SMALL
    return SIZES.get(name, fixed)


def open_network(name: str) -> nn.Module:
    """A network of torchvision with the random weights of seed 0, in evaluation mode."""
    torch.manual_seed(0)
    network: nn.Module = models.get_model(
        name, weights=None, num_classes=CLASSES, **PLAIN.get(name, {})
    )
    return network.eval()


def row(name: str) -> Row:
    """The row of one network of torchvision."""
    return row_of(name, open_network(name), size_of(name))


def row_of(name: str, network: nn.Module, size: int) -> Row:
    """The row of a network that takes images of 3 × size × size."""
    images = torch.randn(IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
    data = [(image, place % CLASSES) for place, image in enumerate(images)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subject = Subject.of(network, data)
        choices = Choices(RATIOS, holdout=0)
        sweep = prepare(subject, Path(folder) / "study.lesion", choices, Full())
        seconds = time.perf_counter() - start
        anatomy = sweep.study.anatomy
        kinds = [anatomy.unit[layer.unit].kind for layer in anatomy.layers]
        with sweep.study:
            return Row(
                name=name,
                size=size,
                layers=len(kinds),
                free=kinds.count("free"),
                coupled=kinds.count("coupled"),
                tied=kinds.count("tied"),
                whole=anatomy.whole,
                seconds=seconds,
                sweep=swept(sweep),
                notes=anatomy.notes,
            )


def swept(sweep: Sweep) -> str:
    """How many of the lesions of two targets were measured, and why others were not."""
    targets = list(dict.fromkeys(lesion.target for lesion in sweep.lesions))
    two = targets[:1] + targets[1:][-1:]
    sweep.lesions = {cell: gone for cell, gone in sweep.lesions.items() if cell.target in two}
    for _ in sweep:
        pass
    complete = sum(bool(sweep.study.seen(lesion).all()) for lesion in sweep.lesions)
    reasons = set(sweep.study.failed.values())
    if not two:
        reasons = {skipped.reason for skipped in sweep.study.skipped}
    return "; ".join([f"{complete} of {len(sweep.lesions)} measured", *sorted(reasons)])


def markdown(rows: Iterable[tuple[str, ...]], header: tuple[str, ...]) -> Iterable[str]:
    """The lines of a Markdown table."""
    for cells in (header, tuple("---" for _ in header), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def summary(rows: list[Row]) -> str:
    """The table in one sentence."""
    replayed = sum(not row.whole for row in rows)
    measured = sum(row.sweep.startswith("4 of 4 measured") for row in rows)
    return (
        f"{len(rows)} networks: {replayed} replayed, {len(rows) - replayed} by whole passes; "
        f"{measured} with all four lesions measured; {sum(row.layers for row in rows)} layers, "
        f"{sum(row.free for row in rows)} free, {sum(row.coupled for row in rows)} coupled, "
        f"{sum(row.tied for row in rows)} tied; {sum(row.seconds for row in rows):.0f} seconds "
        f"to dissect and plan (torch {torch.__version__}, {torch.get_num_threads()} thread(s))."
    )


def tried(make: Callable[[str], Row], name: str) -> Row:
    """A network's row, or one that says why there is none."""
    try:
        return make(name)
    except Exception as error:  # whatever it is, the other networks have their turn
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return Row(name, 0, 0, 0, 0, 0, "", 0.0, reason, ())


def write(names: list[str], make: Callable[[str], Row], out: Path | None, title: str) -> None:
    """Prints the table as it grows, and writes it with its summary to `out`."""
    rows = []
    for name in names:
        rows.append(tried(make, name))
        print(" | ".join(rows[-1].cells()), flush=True)
    text = "\n".join(markdown((row.cells() for row in rows), HEADER))
    print(summary(rows))
    if out:
        out.write_text(f"# {title}\n\n{summary(rows)}\n\n{text}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="networks; all 80 if none is named")
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(names()):
        parser.error(f"torchvision has no classification network {', '.join(sorted(unknown))}")
    write(asked.names or names(), row, asked.out, "All classification networks of torchvision")
    return 0


if __name__ == "__main__":
    sys.exit(main())

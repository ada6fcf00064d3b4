"""Whether layers rank alike by agreement, which needs no labels, and by top-1, which does.

    python benchmarks/label_free.py --images 2000 -o label_free.md
    python benchmarks/label_free.py --networks demo:resnet20 --full demo:resnet56=resnet56.lesion

Of a full sweep of each network, the drop in top-1 and the drop in agreement with the intact
network's predictions; Spearman's rank correlation of both over the layers at each ratio, and over
all layers and ratios together. `--full` takes a full sweep that was made elsewhere: a study, or an
NPZ file with the arrays names and ratio (lesions), top1 and agreement (lesions, images) and base,
the intact network's hits (images).
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch.utils.data import TensorDataset

import lesion
from lesion.zoo import fashion_mnist
from lesion.zoo.forms import open_network

HEADER = (
    "network",
    "images",
    "ratio",
    "layers",
    "mean drop in top-1",
    "mean drop in agreement",
    "rank correlation",
)
SCORES = ["top1", "agreement"]
DIGITS = 9  # equal drops are equal, however they were summed


def drops_of(path: Path) -> tuple[int, pd.DataFrame]:
    """How many images a full sweep has, and its drops: layer, ratio, top1, agreement in points."""
    if path.suffix == ".npz":
        return of_arrays(path)
    with lesion.Study.open(path) as study:
        return of_study(study)


def of_study(study: lesion.Study) -> tuple[int, pd.DataFrame]:
    """The drops of a study. Ends with a sentence where lesions have not seen every image."""
    frames = [lesion.curves(study, score) for score in SCORES]
    frame = frames[0].assign(top1=frames[0]["drop"], agreement=frames[1]["drop"])
    frame = frame[frame["amount"].notna()].rename(columns={"amount": "ratio"})
    if not len(frame) or set(frame["interval"]) != {"fixed"}:
        raise SystemExit(f"{study.path}: expected lesions that have seen all images; sweep --full.")
    return study.images, frame[["layer", "ratio", *SCORES]].round(DIGITS)


def of_arrays(path: Path) -> tuple[int, pd.DataFrame]:
    """The drops of outcomes in an NPZ file."""
    with np.load(path) as held:
        drops = {"top1": held["base"].mean() - held["top1"].mean(1)}
        drops["agreement"] = 1 - held["agreement"].mean(1)
        frame = pd.DataFrame({"layer": held["names"], "ratio": held["ratio"]})
        points = {name: (100 * drop).round(DIGITS) for name, drop in drops.items()}
        return len(held["base"]), frame.assign(**points)


def swept(name: str, images: int) -> tuple[int, pd.DataFrame]:
    """The drops of a bundled network on the first of the bundled images."""
    print(f"{name} …", flush=True)
    network, _ = open_network(name)
    pixels, labels = (tensor[:images] for tensor in fashion_mnist.bundled())
    data = TensorDataset(fashion_mnist.normalise(pixels), labels)
    with (
        tempfile.TemporaryDirectory() as folder,
        lesion.sweep(network.eval(), data, Path(folder) / "s", full=True, holdout=0) as study,
    ):
        return of_study(study)


def rows(name: str, images: int, drops: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """The cells of a network: a row a ratio, and one for all together."""
    for ratio, part in [*drops.groupby("ratio"), ("all", drops)]:
        yield (
            name,
            str(images),
            f"{ratio}",
            str(part["layer"].nunique()),
            *(f"{round(part[score].mean(), 2) + 0.0:.2f}" for score in SCORES),
            f"{spearmanr(part['top1'], part['agreement']).statistic:.3f}",
        )


def given(text: str) -> tuple[str, Path]:
    """A network's name and the file of its full sweep."""
    name, _, path = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"expected NETWORK=FILE, got {text}")
    return name, Path(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="*", default=["demo:resnet20", "demo:resnet56"])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--full", nargs="*", type=given, default=[], metavar="NETWORK=FILE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    elsewhere = dict(asked.full)
    sweeps = [
        (name, *swept(name, asked.images)) for name in asked.networks if name not in elsewhere
    ]
    sweeps += [(name, *drops_of(path)) for name, path in elsewhere.items()]
    body = [cells for entry in sweeps for cells in rows(*entry)]
    lines = ["| " + " | ".join(r) + " |" for r in (HEADER, tuple("---" for _ in HEADER), *body)]
    text = "Drops in points.\n\n" + "\n".join(lines) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()

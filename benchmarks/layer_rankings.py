"""Which layers hurt, one-shot and after recoveries: do the rankings agree, and what does it cost?

    python benchmarks/layer_rankings.py --train FOLDER -o layer_rankings.md --figure resnet20.png

Full sweeps of the same lesions on the same images, one after the other in one study, the first
without a recovery.  The tables: seconds of each sweep and how many times the first one's, and
Spearman's rank correlation of the layers' drops, means over the ratios, for every two of them.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from subjects import add_arguments, named, table, trainable

import lesion
from lesion import zoo
from lesion.reports.plots.style import FONT
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.prepare import prepare

MARKED = 3  # the ranks that are written into the picture


def drops(study: lesion.Study, recovery: str) -> pd.Series:
    """The mean drop of each layer over the ratios, in points, in order of execution."""
    rows = lesion.curves(study)
    rows = rows[(rows["recovery"] == recovery) & rows["drop"].notna()]
    return rows.groupby("layer", sort=False)["drop"].mean()


def swept(
    subject: Subject, asked: argparse.Namespace, path: Path
) -> tuple[dict[str, pd.Series], dict[str, float]]:
    """By recovery the layers' drops, and the seconds that it took."""
    by_recovery, seconds = {}, {}
    for recovery in ("", *asked.recoveries):
        choices = Choices(recovery=recovery, ratios=asked.ratios)
        start = time.monotonic()
        given = subject if recovery else replace(subject, train=None)
        ready = prepare(given, path, choices, Full(), images=asked.images)
        for _ in ready:
            pass
        seconds[recovery] = time.monotonic() - start
        by_recovery[recovery] = drops(ready.study, recovery)
        ready.study.close()
        print(recovery or "one-shot", f"{seconds[recovery]:.1f} s", flush=True)
    return by_recovery, seconds


def picture(by_recovery: dict[str, pd.Series]) -> Figure:
    """A row a recovery, a column a layer, coloured by the layer's rank; the worst are numbered."""
    ranks = pd.DataFrame(by_recovery).rank(ascending=False).T
    rows, columns = ranks.shape
    figure, ax = plt.subplots(
        figsize=(1.9 + 0.24 * columns, 1.5 + 0.3 * rows), layout="constrained"
    )
    ax.pcolormesh(ranks.to_numpy(), cmap="cividis", edgecolors="white", linewidth=0.8)
    for row, values in enumerate(ranks.to_numpy()):
        for column in np.flatnonzero(values <= MARKED):
            ax.text(column + 0.5, row + 0.5, f"{values[column]:g}", color="white",
                    ha="center", va="center", fontsize=FONT)  # fmt: skip
    largest = [f"{values.max():.1f}" for values in by_recovery.values()]
    names = [recovery or "one-shot" for recovery in by_recovery]
    labels = [f"{name}  (≤ {most})" for name, most in zip(names, largest, strict=True)]
    ax.set_yticks(np.arange(rows) + 0.5, labels, fontsize=FONT)
    ax.set_xticks(np.arange(columns) + 0.5, ranks.columns, fontsize=FONT, rotation=90)
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("rank of the mean drop: dark is most sensitive\n(≤ the largest drop, in points)",
                 fontsize=FONT, loc="left")  # fmt: skip
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument(
        "--recoveries", nargs="+", default=["bn", "reconstruct", "reconstruct,bn", "finetune:20"]
    )
    parser.add_argument("--figure", type=Path, help="an image file for the ranks")
    asked = parser.parse_args()
    subject = zoo.open_subject(asked.network, asked.weights, "demo:fashion-mnist")
    subject = replace(subject, train=trainable(asked.train))
    with tempfile.TemporaryDirectory() as folder:
        by_recovery, seconds = swept(subject, asked, Path(folder) / "ranks.lesion")
    frame = pd.DataFrame(by_recovery)
    agreement = frame.corr("spearman")
    names = {recovery: recovery or "one-shot" for recovery in by_recovery}
    rows = [
        (
            named(asked),
            name,
            f"{seconds[recovery]:.0f}",
            f"{seconds[recovery] / seconds['']:.2f}",
            f"{frame[recovery].max():.1f}",
            *(f"{agreement.loc[recovery, other]:+.2f}" for other in names),
        )
        for recovery, name in names.items()
    ]
    header = ("network", "lesions", "seconds", "times one-shot", "largest drop", *names.values())
    table(header, rows, asked.out)
    if asked.figure:
        picture(by_recovery).savefig(asked.figure, dpi=200)


if __name__ == "__main__":
    main()

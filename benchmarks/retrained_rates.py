"""Rates after retraining: lesion's, one rate for all, and global rankings, at the same MACs.

    python benchmarks/retrained_rates.py --network demo:resnet20 --train FOLDER --parts FOLDER

For each split the rates are refined after `reconstruct,bn` on the study's images, without any
retraining, and the global rankings that have most right there after the same are taken.  Every set
of rates is then a physically smaller network, mended or not, that is finetuned in several orders
of the training images: SGD, batches of 128, as `finetune:STEPS` does.
Differences are of retrainings with the same split and order, their intervals Student's over all of
them, so that what one retraining differs from another by is in them.
"""

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student
from subjects import add_arguments, named, opened, table
from torch import nn
from torch.nn import functional as F

import lesion
from lesion.engine.retrain import Finetune
from lesion.errors import LesionError
from lesion.joint.baselines import lamp, ranked, relative
from lesion.joint.bench import Bench
from lesion.joint.level import one_rate
from lesion.joint.recover import recover
from lesion.joint.refine import refined
from lesion.lesions.criteria import criterion as known
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.results.reading import Reading
from lesion.subject.subject import Subject
from lesion.subject.training_images import Epochs, Training
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.prepare import prepare

DATA_FREE = ("weights", "group")
MEND = "reconstruct,bn"
MENDED = {"no": (False,), "yes": (True,), "both": (False, True)}
RANKINGS = {
    "global l1": ("l1", relative),
    "global group norm": ("group_norm", relative),
    "global taylor": ("taylor", relative),
    "lamp": ("l2", lambda scores: lamp(scores**2)),
    "slimming": ("bn_scale", np.abs),
}


@dataclass(frozen=True)
class Cell:
    """One network after one retraining: top-1 in per cent of the images kept back."""

    left: float
    way: str
    mended: bool
    order: int
    macs: float
    before: float
    after: float


def cells(asked: argparse.Namespace, seed: int, folder: Path) -> Iterator[Cell]:
    """All retrainings of one split."""
    subject, study = opened(asked, seed, folder)
    rankings = scored(subject, study.path, seed)
    training, example = Training.of(subject, "finetuning"), subject.images.batch([0, 1])
    with study:
        bench = Bench.of(study, subject, MEND)
        kept = study.header.holdout[: asked.judged]
        for left in asked.left:
            for way, rates in ways(study, bench, rankings, Budget(macs=left), asked).items():
                for mended in MENDED[asked.mended]:
                    whole = recover(bench, rates)[0] if mended else subject.network
                    small = lesion.apply(rates, whole, example)
                    before = top1(small, subject, kept)
                    for order in range(asked.orders):
                        tuned = retrained(small, training, asked.steps, order)
                        macs = 100 * rates.pruned.macs / rates.intact.macs
                        after = top1(tuned, subject, kept)
                        yield Cell(left, way, mended, order, macs, before, after)


def scored(subject: Subject, path: Path, seed: int) -> list[str]:
    """The rankings whose criteria fit the network; a study that plans lesions holds scores."""
    fit = []
    for way, (criterion, _) in RANKINGS.items():
        needs = known(criterion).needs
        given = replace(subject, train=None) if needs in DATA_FREE else subject
        choices = Choices([0.5], criterion, seed=seed, holdout=0.5)
        try:
            prepare(given, path, choices, Full(), images=1).study.close()
            fit.append(way)
        except LesionError as error:
            print(way, error, file=sys.stderr)
    return fit


def ways(
    study: lesion.Study,
    bench: Bench,
    rankings: list[str],
    budget: Budget,
    asked: argparse.Namespace,
) -> dict[str, Allocation]:
    """The sets of rates; the rankings take no more MACs than lesion's."""
    reading = Reading.of(study)
    images = study.header.order[: asked.tried]
    example = bench.subject.images.batch([0, 1])
    even = one_rate(reading, budget)
    rates = refined(reading, bench, even, budget, asked.tried)
    others = {
        way: ranked(replace(reading, criterion=RANKINGS[way][0]), rates, RANKINGS[way][1])
        for way in rankings
    }
    right = {
        way: top1(lesion.apply(each, recover(bench, each)[0], example), bench.subject, images)
        for way, each in others.items()
    }
    print(budget.macs, right, file=sys.stderr, flush=True)
    best = sorted(right, key=lambda way: -right[way])[: asked.rankings]
    return {"lesion": rates, "uniform": even, **{way: others[way] for way in best}}


def retrained(small: nn.Module, training: Training, steps: int, order: int) -> nn.Module:
    """A copy after a finetune in one order of the training images."""
    network, how = copy.deepcopy(small).train(), Finetune(steps)
    sgd = torch.optim.SGD(network.parameters(), how.rate, how.momentum, weight_decay=how.decay)
    for batch in islice(chain.from_iterable(repeat(Epochs(training, order))), steps):
        loss = F.cross_entropy(training.outputs(network, batch), training.targets(batch))
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return network.eval()


@torch.no_grad()
def top1(network: nn.Module, subject: Subject, images: Sequence[int]) -> float:
    """In per cent, on some images."""
    right = 0
    for start in range(0, len(images), 500):
        x, labels = subject.images.batch(images[start : start + 500])
        right += int((network.eval()(x).argmax(1) == labels).sum())
    return 100 * right / len(images)


def kept(asked: argparse.Namespace, seed: int, folder: Path) -> list[Cell]:
    """What `cells` gives; what an earlier run has written is read."""
    path = asked.parts / f"{named(asked)}-{seed}.json"
    if not path.exists():
        made = [vars(cell) for cell in told(seed, cells(asked, seed, folder))]
        path.write_text(json.dumps(made))
    return [Cell(**values) for values in json.loads(path.read_text())]


def told(seed: int, made: Iterator[Cell]) -> Iterator[Cell]:
    """The cells, each said to standard error."""
    for cell in made:
        print(seed, *vars(cell).values(), sep=", ", file=sys.stderr, flush=True)
        yield cell


def gain(first: pd.Series, second: pd.Series) -> str:
    """The mean difference of paired retrainings with Student's 95 % interval, in points."""
    differences = first - second
    half = student.ppf(0.975, len(differences) - 1) * differences.std(ddof=1)
    half /= np.sqrt(len(differences))
    mean = differences.mean()
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def rows(network: str, splits: list[list[Cell]]) -> Iterator[tuple[str, ...]]:
    """A row a budget, without and with mending first; of the rankings each split's best."""
    frame = pd.DataFrame([{**vars(c), "split": s} for s, part in enumerate(splits) for c in part])
    for (left, mended), part in frame.groupby(["left", "mended"]):
        after = part.pivot(index=["split", "order"], columns="way", values="after")
        means = after.drop(columns=["lesion", "uniform"]).groupby("split").mean()
        which = means.idxmax(axis=1)
        best = pd.Series({each: after.loc[each, which[each[0]]] for each in after.index})
        yield (
            network,
            f"{100 * left:.0f} %",
            MEND if mended else "none",
            *(f"{each.mean():.2f}" for each in (after["lesion"], after["uniform"], best)),
            ", ".join(dict.fromkeys(which)),
            gain(after["lesion"], after["uniform"]),
            gain(after["lesion"], best),
            f"{part[part['way'] == 'uniform']['macs'].mean():.1f} %",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--left", type=float, nargs="+", default=[0.3, 0.5, 0.7])
    parser.add_argument("--tried", type=int, default=1000, help="images that rates are refined on")
    parser.add_argument("--judged", type=int, default=5000, help="images kept back to measure on")
    parser.add_argument("--rankings", type=int, default=2, help="global ones to retrain, the best")
    parser.add_argument("--mended", choices=MENDED, default="both", help="before the finetune")
    parser.add_argument("--steps", type=int, default=50, help="of a finetune")
    parser.add_argument("--orders", type=int, default=3, help="finetunes of each set of rates")
    parser.add_argument("--parts", type=Path, required=True, help="a folder for each split's cells")
    asked = parser.parse_args()
    asked.parts.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        splits = [kept(asked, seed, Path(folder)) for seed in asked.seeds]
    header = ("network", "MACs left", "mended first", "lesion", "uniform", "best ranking", "which",
              "lesion − uniform", "lesion − best ranking", "uniform's MACs")  # fmt: skip
    table(header, list(rows(named(asked), splits)), asked.out)


if __name__ == "__main__":
    main()

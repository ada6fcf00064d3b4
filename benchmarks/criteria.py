"""Which criterion ranks filters as their removal does, and which leaves most when many fall.

    python benchmarks/criteria.py --train FOLDER --folder RESULTS -o criteria.md

First every criterion beside the oracle, the loss measured without each filter of training images.
Then all free units cut at one rate, the smallest that meets a share of the multiply-accumulates, so
that only the choice of filters differs: top-1 as it is and after recoveries, on images that nothing
else has seen.  What is measured is kept in RESULTS/NAME.json, and a second run goes on there.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from subjects import named, table

from lesion import zoo
from lesion.joint.baselines import common_ratios
from lesion.joint.bench import Bench
from lesion.lesions.agreement import Agreement, Scored, spearman
from lesion.lesions.criteria import names
from lesion.lesions.lesion import Joint, Target
from lesion.lesions.ratios import falling
from lesion.network.anatomy import Anatomy
from lesion.network.cost import cost
from lesion.subject.images import Images
from lesion.subject.outcomes import Intact
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.workers import Opening
from lesion.sweeps.yardstick import Yardstick
from lesion.zoo import fashion_mnist


class Known:
    """What a run has measured, on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def __call__(self, key: str, measure: Any) -> Any:
        """The value of a key, measured where it is not known."""
        if key not in self.values:
            start = time.monotonic()
            self.values[key] = measure()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.values))
            print(f"{key}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
        return self.values[key]


class Cuts:
    """All free units cut at one rate, by one criterion after the other, on images kept back."""

    def __init__(self, subject: Subject, yardstick: Yardstick, asked: argparse.Namespace) -> None:
        mixed = np.random.default_rng(asked.seed).permutation(len(subject.images))
        self.subject, self.held = subject, mixed[: asked.judged].tolist()  # as in recoveries.py
        self.anatomy: Anatomy = yardstick.dissection.anatomy

        self.benches: dict[str, Bench] = {}

    @cached_property
    def intact(self) -> Intact:
        """What the intact network makes of the images."""
        return self.bench("").intact(self.held)

    def bench(self, recovery: str) -> Bench:
        """Where cut networks are measured, after a recovery."""
        if recovery not in self.benches:
            opening = Opening(self.subject if recovery else replace(self.subject, train=None))
            if recovery:
                opening = replace(opening, recovery=recovery, avoid=self.intact.digest)
            self.benches[recovery] = Bench(opening(), opening)
        return self.benches[recovery]

    def right(self, scores: dict[str, np.ndarray], left: float, recovery: str) -> list[float]:
        """Top-1 in per cent, and seconds."""
        start = time.monotonic()
        joint = {Joint(tuple(self.units(scores))): self.dropped(scores, left)}
        (outcomes,) = self.bench(recovery).outcomes(joint, self.held, self.intact).values()
        return [100 * float(outcomes["top1"].mean()), time.monotonic() - start]

    def units(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The scores of the free units, by name."""
        keyed = {f"free/{unit.name}": unit.name for unit in self.anatomy.units}
        return {keyed[key]: values for key, values in scores.items() if key in keyed}

    def dropped(self, scores: dict[str, np.ndarray], left: float) -> np.ndarray:
        """The labels that fall at the smallest common rate that leaves a share of the MACs."""
        most, units = left * cost(self.anatomy).macs, self.units(scores)
        for ratio in common_ratios(units):
            gone = np.zeros(self.anatomy.channels, bool)
            for name, values in units.items():
                unit = self.anatomy.unit[name]
                fallen = falling(self.anatomy, Target(name, "free"), values, ratio, "floor-kept")
                gone[np.array(unit.labels)[fallen]] = True
            if cost(self.anatomy, gone).macs <= most:
                return gone
        raise SystemExit(f"no rate of all free units leaves {100 * left:g} % of the MACs")


def opened(asked: argparse.Namespace) -> Subject:
    """The subject with its training images."""
    subject = zoo.open_subject(asked.network, asked.weights, "demo:fashion-mnist")
    images, labels = fashion_mnist.read("train", asked.train)
    data = torch.utils.data.TensorDataset(fashion_mnist.normalise(images), labels)
    return replace(subject, train=Images.of(data))


def as_scored(values: dict[str, Any]) -> Scored:
    """What a criterion said, from disk."""
    halves = [arrays(half) for half in values["halves"]]
    return Scored(**{**values, "scores": arrays(values["scores"]), "halves": halves})


def measured(yardstick: Yardstick, name: str) -> dict[str, Any]:
    """The same for the disk."""
    scored = yardstick.scored(name)
    halves = [{key: each.tolist() for key, each in half.items()} for half in scored.halves]
    scores = {key: each.tolist() for key, each in scored.scores.items()}
    plain = {**asdict(replace(scored, scores={}, halves=())), "reasons": dict(scored.reasons)}
    return {**plain, "scores": scores, "halves": halves}


def arrays(values: dict[str, list[float]]) -> dict[str, np.ndarray]:
    return {key: np.array(each) for key, each in values.items()}


def number(value: float) -> str:
    """Two digits; a dash where there is none."""
    return "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def agreement_rows(name: str, agreement: Agreement) -> list[tuple[str, ...]]:
    """A row a criterion, the best first."""
    frame = agreement.criteria.sort_values("spearman", ascending=False, na_position="first")
    return [
        (
            name,
            row.criterion,
            row.needs,
            str(row.images or "–"),
            str(row.layers),
            number(row.spearman),
            "–" if np.isnan(row.low) else f"{number(row.low)} … {number(row.high)}",
            number(row.raw),
            number(row.scaled),
            number(row.halves),
            f"{row.seconds:.1f}",
        )
        for row in frame.itertuples()
    ]


def norm_rows(name: str, agreement: Agreement) -> list[tuple[str, ...]]:
    """A row a layer: FPGM's two conditions beside what norms are worth there."""
    cells = agreement.layers.set_index(["criterion", "layer"])["spearman"]
    return [
        (
            name,
            row.layer,
            str(row.filters),
            number(row.spread),
            number(row.smallest),
            row.verdict,
            *(number(cells.get((each, row.layer), np.nan)) for each in ("l1", "l2", "fpgm")),
        )
        for row in agreement.norms.itertuples()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="demo:resnet20")
    parser.add_argument("--weights")
    parser.add_argument("--name", help="of the network in the tables")
    parser.add_argument("--train", type=Path, required=True, help="folder of training images")
    parser.add_argument("--criteria", nargs="+", help="those, by default all that there are")
    parser.add_argument("--images", type=int, default=2048, help="that the oracle is measured on")
    parser.add_argument("--judged", type=int, default=2000, help="images kept back to measure on")
    parser.add_argument("--left", type=float, nargs="+", default=[0.5, 0.3])
    parser.add_argument("--recoveries", nargs="+", default=["reconstruct"])
    parser.add_argument("--seed", type=int, default=0, help="of all orders of images")
    parser.add_argument("--folder", type=Path, required=True, help="where measurements are kept")
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file to add the tables to")
    asked = parser.parse_args()
    name, subject = named(asked), opened(asked)
    known = Known(asked.folder / f"{name}.json")
    yardstick = Yardstick.of(subject, Choices(seed=asked.seed))
    oracle = f"oracle:images={asked.images}"
    criteria = asked.criteria or [each for each in names() if each != "oracle"]
    every = [
        as_scored(known(f"scores by {each}", partial(measured, yardstick, each)))
        for each in dict.fromkeys((oracle, *criteria))
    ]
    agreement = yardstick.agreement(every)
    show_agreement(name, agreement, asked.out)
    free = {target.key for target in yardstick.targets if target.kind == "free"}
    fitting = [scored for scored in every if scored.scores.keys() >= free]
    cuts = Cuts(subject, yardstick, asked)
    whole = known("intact", lambda: 100 * float(cuts.intact.outcomes["top1"].mean()))
    ways = [(left, recovery) for left in asked.left for recovery in ("", *asked.recoveries)]
    rows = [(scored, top1(scored, cuts, ways, known)) for scored in fitting]
    show_top1(name, whole, ways, rows, asked.out)
    means = agreement.criteria.set_index("criterion")["spearman"]
    for place, (left, recovery) in enumerate(ways):
        pairs = [(means[each.name], rights[place]) for each, rights in rows if each is not every[0]]
        both = number(spearman(*np.array(pairs).T))
        print(f"Over {len(pairs)} criteria, Spearman of the agreement with the oracle and top-1 at "
              f"{100 * left:.0f} %, {recovery or 'one-shot'}: {both}")  # fmt: skip


def top1(scored: Scored, cuts: Cuts, ways: list[tuple[float, str]], known: Known) -> list[float]:
    """What is right by a criterion each way, in per cent."""
    rights = []
    for left, recovery in ways:
        key = f"top-1 by {scored.name}, {left:g} left, {recovery or 'one-shot'}"
        measure = partial(cuts.right, scored.scores, left, recovery)
        rights.append(known(key, measure)[0])
    return rights


def show_agreement(name: str, agreement: Agreement, out: Path | None) -> None:
    """The criteria beside the oracle, and the layers' norms."""
    header = (
        "network", "criterion", "needs", "images", "layers", "Spearman", "95 %", "all, raw",
        "all, scaled", "halves", "seconds",
    )  # fmt: skip
    table(header, agreement_rows(name, agreement), out)
    header = (
        "network", "layer", "filters", "spread", "smallest", "norms may be trusted", "l1", "l2",
        "fpgm",
    )  # fmt: skip
    table(header, norm_rows(name, agreement), out)


def show_top1(
    name: str,
    whole: float,
    ways: list[tuple[float, str]],
    rows: list[tuple[Scored, list[float]]],
    out: Path | None,
) -> None:
    """The criteria by what is right at the least MACs, after the last recovery."""
    titles = (f"{100 * left:.0f} %, {recovery or 'one-shot'}" for left, recovery in ways)
    cells = [
        (name, scored.name, f"{whole:.2f}", *(f"{right:.2f}" for right in rights),
         f"{scored.seconds:.1f}")
        for scored, rights in sorted(rows, key=lambda row: -row[1][-1])
    ]  # fmt: skip
    table(("network", "criterion", "baseline", *titles, "seconds"), cells, out)


if __name__ == "__main__":
    main()

"""What papers say of damages, on networks at hand: the order of blocks, grains, scales and resets.

    python benchmarks/literature.py --network demo:resnet20 --images 1000 -o literature.md

One study measures every lesion on the same images, one layer or block at a time:

- Veit et al. 2016: which residual blocks hurt when they are deleted, the down-sampling ones most?
- Mao et al. 2017: at equal sparsity, do fine grains hurt less than coarse ones?
- steps for each filter beside one step for the layer, at equal bits
- Zhang et al. 2019: does a layer whose weights are drawn anew destroy the network?
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from subjects import named, of_damages, table

from lesion.lesions.lesion import Lesion
from lesion.results.drops import paired
from lesion.study.study import Study

SPARSITIES = (0.5, 0.8)
GRAINS = (
    "sparsity",
    *(f"sparsity:grain={grain}" for grain in ("vector", "kernel", "column", "input_channel")),
    "filters",
)  # from fine to coarse
BITS = (8, 6, 4, 3, 2)
DAMAGES: dict[str, tuple[float, ...]] = {
    "delete_block": (1,),
    **dict.fromkeys(GRAINS, SPARSITIES),
    "quantise": BITS,
    "quantise:per=tensor": BITS,
    "rerandomise": (1.0,),
}
HEADER = ("network", "what", "damage", "layers", "mean drop", "largest", "where", "note")


def rows(asked: argparse.Namespace, study: Study) -> Iterator[tuple[str, ...]]:
    """The rows of a network."""
    name = named(asked)
    for amount in SPARSITIES if fitting(study, GRAINS) else ():  # 1×1 kernels have one grain
        for damage in GRAINS:
            whole = means(study, GRAINS, damage, amount)
            yield name, f"{100 * amount:g} % zero", damage, *whole, ""
    for bits in BITS:
        pair = ["quantise", "quantise:per=tensor"]
        for damage in pair:
            gap = points(*(mean(study, each, bits, fitting(study, pair)) for each in pair))
            note = f"per tensor loses {gap} more" if damage == "quantise" else ""
            yield name, f"{bits} bits", damage, *means(study, pair, damage, bits), note
    base = study.intact().outcomes["top1"].mean()
    drawn = [each for each in study.lesions if each.damage == "rerandomise"]
    lost = sum(study.outcomes(each)["top1"].mean() < base / 2 for each in drawn)
    whole = means(study, ["rerandomise"], "rerandomise", 1.0)
    yield name, "drawn anew", "rerandomise", *whole, f"{lost} layers lose more than half"
    yield from blocks(name, study)


def fitting(study: Study, damages: Sequence[str]) -> set[str]:
    """The layers that all of some damages fit."""
    each = [{one.target for one in study.lesions if one.damage == damage} for damage in damages]
    return set.intersection(*each)


def lesions(study: Study, damage: str, amount: float, layers: set[str]) -> list[Lesion]:
    """Those of a damage and amount, of some layers."""
    return [
        each
        for each in study.lesions
        if (each.damage, each.amount) == (damage, amount) and each.target in layers
    ]


def mean(study: Study, damage: str, amount: float, layers: set[str]) -> np.ndarray:
    """Each image's score, on the mean over a damage's layers."""
    made = [study.outcomes(each)["top1"] for each in lesions(study, damage, amount, layers)]
    return np.mean(made, axis=0)


def points(first: np.ndarray, second: np.ndarray) -> str:
    """By how many points more the second loses, with its interval."""
    drop, low, high = 100 * np.array(paired(first.astype(float), second.astype(float), 0.95))
    return f"{drop:+.2f} [{low:+.2f}, {high:+.2f}]"


def means(study: Study, damages: Sequence[str], damage: str, amount: float) -> tuple[str, ...]:
    """Over the layers that all damages fit: how many, their mean drop, the largest and its
    layer."""
    layers = fitting(study, damages)
    base = study.intact().outcomes["top1"]
    drops = {
        each.target: 100 * float(base.mean() - study.outcomes(each)["top1"].mean())
        for each in lesions(study, damage, amount, layers)
    }
    worst = max(drops, key=lambda layer: drops[layer])
    whole = points(base, mean(study, damage, amount, layers))
    return str(len(drops)), whole, f"{drops[worst]:.1f}", worst


def blocks(name: str, study: Study) -> Iterator[tuple[str, ...]]:
    """The deleted blocks, the one that hurts most first."""
    base = study.intact().outcomes["top1"]
    drops = {
        each.target: study.outcomes(each)["top1"]
        for each in study.lesions
        if each.damage == "delete_block"
    }
    order = sorted(drops, key=lambda block: drops[block].mean())
    for place, block in enumerate(order, 1):
        layers = (layer for layer in study.anatomy.layers if layer.block == block)
        kind = ", ".join(next(layers).position)
        loss = f"{100 * float(base.mean() - drops[block].mean()):.1f}"
        note = f"{place} of {len(order)}"
        yield name, "block deleted", kind, "1", points(base, drops[block]), loss, block, note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="demo:resnet20")
    parser.add_argument("--weights")
    parser.add_argument("--name", help="of the network in the table")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--study", type=Path, help="a file of the study, to go on with")
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file to add the table to")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.study or Path(folder) / "literature.lesion"
        with of_damages(path, asked, DAMAGES) as study:
            table(HEADER, list(rows(asked, study)), asked.out)


if __name__ == "__main__":
    main()

"""A planted study in which the same layers lose filters and bits, at equal amounts among others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import planted

from lesion.lesions.amounts import Amounts
from lesion.lesions.lesion import Lesion
from lesion.study.study import Study

BITS = Amounts(
    (8, 6, 4, 2),
    "bit width",
    "bits of the weights",
    "bits",
    of=" of its weights",
    rising=False,
    high=33,
    spared="in 32 bits",
)
NOISE = Amounts((0.3, 0.6), "noise level", "noise, of the weights' deviation", "σ", low=0.0)
SAFE = {8: 0.0, 6: 0.2, 4: 0.8, 2: 30.0}  # points
LAYERS = ("layer1.0.conv1", "layer2.0.conv1", "layer2.1.conv1")


def points(layer: str, damage: str, amount: float) -> float:
    """What is lost: of bits the fewer the more, most where the network down-samples."""
    if damage == "filters":
        return 0.5 if amount < 0.5 else 12.0
    if damage == "noise":
        return 5.0
    return SAFE[int(amount)] + (10.0 if layer == "layer2.0.conv1" and amount < 8 else 0.0)


def lesions(damage: str, amounts: Sequence[float], layers: Sequence[str] = LAYERS) -> list[Lesion]:
    """A lesion of each layer at each amount; only filters fall."""
    found, _ = planted.lesions(planted.anatomy(), amounts)
    chosen = [lesion for lesion in found if lesion.target in layers]
    if damage == "filters":
        return chosen
    return [replace(lesion, damage=damage, pruned=0) for lesion in chosen]


def study(
    path: str | Path,
    plan: dict[str, Sequence[float]] | None = None,
    lost: Callable[[str, str, float], float] = points,
    images: int = 2000,
    recoveries: Sequence[str] = ("",),
) -> Study:
    """A study whose lesions have seen every image, open."""
    made = Study.create(path, planted.header(images=images))
    for name, amounts in {"quantise": BITS, "noise": NOISE}.items():
        made.set_damage(name, amounts)
    base, whole = planted.intact(images), {}
    plan = plan or {"filters": (0.3, 0.6), "quantise": (8, 6, 4, 2), "noise": (0.3, 0.6)}
    for damage, amounts in plan.items():
        for way in recoveries:
            for lesion in lesions(damage, amounts):
                lesion = replace(lesion, recovery=way)
                broken = round(images * lost(lesion.target, damage, lesion.amount) / 100)
                whole[lesion] = planted.lesioned(base, broken // (2 if way else 1), 0, len(whole))
    made.add(whole)
    for lesion in whole:
        if made.scores(lesion.target, lesion.kind, lesion.criterion) is None:
            made.set_scores(
                lesion.target, lesion.kind, lesion.criterion, 0, [1.0] * lesion.channels
            )
    planted.record(made, base, whole, images)
    return made

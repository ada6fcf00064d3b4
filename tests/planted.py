"""Studies with planted answers: the anatomy of a CIFAR ResNet and outcomes of known counts.

Nothing here needs torch. A lesion breaks and repairs exactly as many images as it is told to, so
that its drop is 100 · (broken − repaired) / images points.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from lesion.lesions.amounts import RATIOS
from lesion.lesions.damage.filters import damage as filters
from lesion.lesions.lesion import Lesion, Skipped
from lesion.lesions.ratios import kept
from lesion.network.anatomy import CONSTANT, Anatomy, Layer, Parameter, Unit
from lesion.study.header import Header
from lesion.study.study import Study
from lesion.subject.outcomes import Intact, Outcomes
from lesion.sweeps.goals import Goal

CLASSES, PART = 10, 128
COLUMNS = ("top1", "top5", "agreement", "loss", "margin")
Counts = Callable[[Layer, float], tuple[int, int]]
Seen = Callable[[Layer, float], int | None]


def anatomy(depth: int = 20) -> Anatomy:
    """ResNet-20 or -56 with option-A shortcuts: stem, blocks of two convolutions, classifier."""
    blocks = (depth - 2) // 6
    layers = [_layer("conv1", 1, 3, 16, 32, "conv1", "", stage=0)]
    made: dict[str, tuple[int, ...]] = {"conv1": tuple(range(16))}
    units, free, reads = [], 64, tuple(range(16))
    parameters = []
    parameters.append(_parameter("conv1", made["conv1"], (CONSTANT,) * 3))
    for stage, width in enumerate((16, 32, 64), start=1):
        stream = tuple(range(width))
        for index in range(blocks):
            block, size = f"layer{stage}.{index}", 32 >> (stage - 1)
            position = _position(stage, index, blocks)
            place = {"stage": stage, "block": block, "position": position}
            first, second = f"{block}.conv1", f"{block}.conv2"
            number = len(layers) + 1
            inner = tuple(range(free, free + width))
            layers += [
                _layer(first, number, len(reads), width, size, first, "made by one unit", **place),
                _layer(second, number + 1, width, width, size, "conv1", "", **place),
            ]
            parameters += [_parameter(first, inner, reads), _parameter(second, stream, inner)]
            made[second] = stream
            units.append(_unit(first, "free", free, width, (first,)))
            reads, free = stream, free + width
    makers = tuple(layer.name for layer in layers if layer.name in made)
    units.insert(0, _unit("conv1", "coupled", 0, 64, makers))
    layers.append(
        Layer("fc", len(layers) + 1, "linear", 64, CLASSES, 1, (), (), 1, 64 * CLASSES,
              "fc.weight", "fc.bias", "fc", "its outputs are the network's")
    )  # fmt: skip
    outputs = tuple(range(free, free + CLASSES))
    parameters += [
        _parameter("fc", outputs, reads, 0),
        Parameter("fc.bias", (CLASSES,), {0: outputs}, True),
    ]
    units.append(_unit("fc", "tied", free, CLASSES, ("fc",), "its outputs are the network's"))
    return Anatomy(tuple(layers), tuple(units), tuple(parameters))


def _position(stage: int, index: int, blocks: int) -> tuple[str, ...]:
    flags = {
        "first of stage": index == 0,
        "last of stage": index == blocks - 1,
        "down-sampling": index == 0 and stage > 1,
    }
    return tuple(name for name, holds in flags.items() if holds)


def _layer(
    name: str, number: int, inputs: int, outputs: int, size: int, unit: str, branch: str, **place
) -> Layer:
    return Layer(
        name, number, "conv", inputs, outputs, 1, (3, 3), (size, size), size**2,
        size**2 * inputs * outputs * 9, f"{name}.weight", None, unit, branch, **place,
    )  # fmt: skip


def _parameter(name: str, outputs, inputs, kernel: int = 2) -> Parameter:
    shape = (len(outputs), len(inputs), *(3,) * kernel)
    return Parameter(f"{name}.weight", shape, {0: outputs, 1: inputs}, True)


def _unit(name, kind, first, channels, layers, reason="") -> Unit:
    return Unit(
        name, kind, first, channels, layers, (tuple(range(first, first + channels)),), reason
    )


def header(depth: int = 20, images: int = 2000, **changes) -> Header:
    """The header of a study of `images` scored images; a fifth as many are kept back."""
    order = np.random.default_rng(0).permutation(images + images // 5).tolist()
    values = {
        "subject": {"network": f"resnet{depth}", "weights": "w" * 64, "order": "seed 0",
                    "preprocessing": "none", "images": str(len(order)), "score": "top-1"},
        "environment": {"torch": "2.9", "device": "cpu"},
        "anatomy": anatomy(depth), "order": tuple(order[:images]),
        "holdout": tuple(order[images:]), "columns": COLUMNS, "classes": CLASSES,
        "settings": {"name": f"resnet{depth}", "score": "top1", "order": "margin",
                     "estimand": "set"},
    }  # fmt: skip
    return Header(**{**values, **changes})


def lesions(
    body: Anatomy, ratios: Sequence[float] = RATIOS, criterion: str = "l1"
) -> tuple[list[Lesion], list[Skipped]]:
    """The default plan: free units, the stem as a branch, and a reason for everything else."""
    found, skipped = [], []
    for layer in body.layers:
        unit = body.unit[layer.unit]
        kind = "branch" if unit.kind == "coupled" else unit.kind
        if kind == "branch" and layer.name != "conv1":
            skipped.append(Skipped(layer.name, kind, "coupled by additions; `--units all` has it"))
        elif kind == "tied":
            skipped.append(Skipped(layer.name, kind, unit.reason))
        else:
            found += [
                Lesion(
                    layer.name,
                    kind,
                    criterion,
                    ratio,
                    layer.channels - kept(layer.channels, ratio),
                    layer.channels,
                )
                for ratio in ratios
            ]
    return found, skipped


def counts(layer: Layer, ratio: float, images: int = 2000) -> tuple[int, int]:
    """Broken and repaired images of a plausible network: firsts of stages are sensitive.

    The drop is 6 · s · ratio³ − 0.1 points; s is 0.2 to 2 by number, and 5 times as much where
    the network down-samples.
    """
    sensitivity = 0.2 + 0.3 * ((layer.number or 0) * 7 % 13) / 2
    if "down-sampling" in layer.position:
        sensitivity = 8.0
    points = 6 * sensitivity * ratio**3 - 0.1
    repaired = round(images * 0.002)
    return max(0, round(images * points / 100) + repaired), repaired


def intact(images: int, accuracy: float = 0.93, seed: int = 0) -> Intact:
    """A network that is right on a share of the images, with margins that say so."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, images)
    right = rng.permutation(images) < round(accuracy * images)
    margin = np.where(right, 1, -1) * (rng.gamma(2, 2, images) + 0.01)
    columns = {
        "top1": right, "top5": right | (rng.random(images) < 0.9),
        "agreement": np.ones(images, bool), "loss": np.full(images, 0.25, np.float16),
        "margin": margin.astype(np.float16),
    }  # fmt: skip
    prediction = np.where(right, label, (label + 1) % CLASSES)
    digest = rng.integers(0, 2**64, images, np.uint64)
    outcomes = Outcomes(np.arange(images), columns)
    return Intact(outcomes, label, prediction, margin.astype(np.float32), digest)


def lesioned(base: Intact, broken: int, repaired: int, seed: int = 0) -> Outcomes:
    """The intact network's outcomes with so many images broken and so many repaired, at random."""
    rng = np.random.default_rng(seed)
    right = base.outcomes["top1"]
    gone = rng.permutation(np.flatnonzero(right))[:broken]
    gained = rng.permutation(np.flatnonzero(~right))[:repaired]
    assert len(gone) + len(gained) == broken + repaired, "more images to flip than there are"
    return flipped(base, np.concatenate([gone, gained]))


def flipped(base: Intact, rows: np.ndarray) -> Outcomes:
    """The intact network's outcomes with these broken or repaired; their margins change sign,
    the loss of a broken one rises by 2."""
    right = base.outcomes["top1"]
    flip = np.zeros(len(base), bool)
    flip[rows] = True
    top1 = right ^ flip
    loss = base.outcomes["loss"] + 2 * (flip & right).astype(np.float16)
    margin = np.where(flip, -1, 1).astype(np.float16) * base.outcomes["margin"]
    columns = {"top1": top1, "top5": top1 | base.outcomes["top5"], "agreement": ~flip,
               "loss": loss, "margin": margin}  # fmt: skip
    return Outcomes(base.outcomes.images, columns)


def study(
    path: str | Path, depth: int = 20, images: int = 2000, counts: Counts | None = None,
    ratios: Sequence[float] = RATIOS, criteria: Sequence[str] = ("l1",),
    measured: int | None = None, seen: Seen | None = None,
) -> Study:  # fmt: skip
    """A study with planted outcomes, open; `counts(layer, ratio)` gives (broken, repaired).

    The counts hold on all `images`; only the first `measured` of the order are recorded, and of a
    lesion only the first `seen(layer, ratio)` of these, where that is not None.
    """
    head = header(depth, images)
    made = Study.create(path, head)
    planned = [lesions(head.anatomy, ratios, criterion) for criterion in criteria]
    for found, skipped in planned:
        made.add(found, skipped)
    base = intact(images)
    plant = counts or (lambda layer, ratio: globals()["counts"](layer, ratio, images))
    whole = {}
    for index, lesion in enumerate(made.lesions):
        layer, ratio = head.anatomy.layer[lesion.target], lesion.amount
        outcomes = lesioned(base, *plant(layer, ratio), seed=index)
        whole[lesion] = outcomes.take(slice(seen(layer, ratio) if seen else None))
    rng = np.random.default_rng(1)
    for lesion in made.lesions:
        if made.scores(lesion.target, lesion.kind, lesion.criterion) is None:
            drawn = rng.gamma(4, 1, lesion.channels)
            made.set_scores(lesion.target, lesion.kind, lesion.criterion, 0, drawn)
    for layer in head.anatomy.layers:
        made.set_norms(layer.name, rng.gamma(4, 1, layer.channels))
    record(made, base, whole, measured or images)
    return made


def record(made: Study, base: Intact, whole: dict[Lesion, Outcomes], images: int) -> None:
    """Write the first images of planted outcomes, part by part."""
    for start in range(0, images, PART):
        now = np.arange(start, min(start + PART, images))
        parts = {
            one: outcomes.take(np.isin(outcomes.images, now)) for one, outcomes in whole.items()
        }
        made.record(parts, base.take(now))


def sweep(
    made: Study, goal: Goal, base: Intact, whole: dict[Lesion, Outcomes], most: int | None = None
) -> None:
    """Write of planted outcomes what a goal asks for, as a sweep would, `most` works at most."""
    record(made, base, {}, len(base))
    gains = {lesion: filters.saving(made.anatomy, lesion) for lesion in whole}
    works = (work for round in goal.rounds(made, gains, len(base)) for work in round.works)
    for work in islice(works, most):
        made.record({one: whole[one].take(own) for one, own in work.lesions.items()})

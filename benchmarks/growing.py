"""How often a study that grows, is asked again or is joined ever calls a lesion safe that is not.

    python benchmarks/growing.py --studies 1000 -o growing.md

Every lesion loses one image more than the largest tolerance that is asked, so that every SAFE is
wrong; the images that it breaks have low margins, high ones, or any. A lesion is measured until its
verdict, or on 0.9 of the images. Everything that a study says is read by
`lesion.recommend`, after each addition, and a study counts once whatever it got wrong.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.stats import beta, norm

from lesion.errors import EvidenceError
from lesion.lesions.damage import damage as registered
from lesion.lesions.lesion import Lesion
from lesion.network.anatomy import Anatomy, Layer, Unit
from lesion.rates.recommend import recommend
from lesion.results.evidence import SAFE
from lesion.results.reading import DAMAGE
from lesion.study import decisions as deciding
from lesion.study import error_shares
from lesion.study.aim import Aim
from lesion.study.decisions import Decisions
from lesion.study.header import Header
from lesion.study.merge import merge
from lesion.study.study import Study
from lesion.subject.outcomes import Intact, Outcomes

RIGHT, SPREAD = 3.6, 2.3  # mean and deviation of the margins: 94 % right
CHANNELS = 64
DAMAGES = {"filters": (0.25, 0.5), "quantise": (8, 4), "sparsity": (0.5, 0.75), "low_rank": (0.5,)}
TOLERANCES = 1.0, 0.9, 0.7, 0.5
SHARE = 0.9  # of the images a lesion is measured on at most: with all of them the drop is known


@dataclass
class Simulated:
    """A study of `layers` layers whose lesions all lose `lost` images net, and what was read of it.

    wrong: whether it ever called one of them safe
    """

    study: Study
    rng: np.random.Generator
    intact: Intact
    lost: int
    scores: dict[Lesion, np.ndarray] = field(default_factory=dict)
    wrong: bool = False

    def sweep(self, lesions: list[Lesion], max_drop: float = 1.0) -> None:
        """Plans and measures lesions, each until its verdict, as `lesion sweep` does."""
        aim = Aim(max_drop)
        error_shares.planned(self.study, lesions, aim, len(self.intact))
        new = [cell for cell in lesions if cell not in self.scores]
        self.study.add(lesions)
        self.scores |= {cell: self._broken() for cell in new}
        self.study.aim(aim)
        decisions = Decisions(self.study, aim, lesions)
        self.study.record({lesion: self._looked(decisions, lesion) for lesion in lesions})

    def _looked(self, decisions: Decisions, lesion: Lesion) -> Outcomes:
        """The images that a lesion's process looks at before its verdict, and what it answers."""
        (place,), seen = decisions.places([lesion]), np.zeros(len(self.intact), bool)
        scores, alpha = self.scores[lesion], decisions.alpha[place]
        process = decisions.process
        while process.log_e[place].max() < -np.log(alpha):
            (positions,) = process.choose([place])
            if seen.sum() + len(positions) > SHARE * len(seen):
                break
            process.update([place], [scores[positions]])
            seen[positions] = True
        (where,) = np.nonzero(seen)
        return Outcomes(where, {"top1": scores[where].astype(bool)})

    def _broken(self) -> np.ndarray:
        """Scores that lose `lost` images more than come back, where the margin is low or high, or
        anywhere."""
        right, far = self.intact.outcomes["top1"], np.abs(self.intact.margin)
        places = norm.cdf(-far / 0.7), far > np.median(far), np.ones(len(far))
        back = int(self.rng.integers(0, self.lost // 2 + 1))
        likely = np.maximum(places[self.rng.integers(3)], 1e-12)
        scores = right.astype(float)
        scores[self._drawn(likely * right, self.lost + back)] = 0
        scores[self._drawn(np.maximum(places[0], 1e-12) * ~right, back)] = 1
        return scores

    def _drawn(self, likely: np.ndarray, count: int) -> np.ndarray:
        """So many images, drawn without replacement in proportion to `likely`."""
        keys = self.rng.standard_exponential(len(likely)) / np.maximum(likely, 1e-300)
        return np.argsort(keys)[:count]

    def read(self, max_drop: float | None = None) -> None:
        """Asks for advice, and notes whether it calls anything safe."""
        self.wrong |= claims(self.study, max_drop)


def claims(study: Study, max_drop: float | None = None) -> bool:
    """Whether a study's advice on any of its damages calls any lesion safe."""
    for damage in {lesion.damage for lesion in study.lesions}:
        with suppress(EvidenceError):
            advice = recommend(study, max_drop, damage=damage)
            if any(entry.status == SAFE for entry in advice.layers):
                return True
    return False


def anatomy(layers: int) -> Anatomy:
    """Layers in a row, each free."""
    made = [
        Layer(
            name=f"l{n}",
            number=n + 1,
            kind="conv",
            channels_in=CHANNELS,
            channels=CHANNELS,
            groups=1,
            kernel=(3, 3),
            size=(8, 8),
            positions=64,
            macs=1000 + n,
            weight=f"l{n}.weight",
            bias=None,
            unit=f"l{n}",
            branch="",
            stage=1,
            block=f"l{n}",
            makes=tuple(range(n * CHANNELS, (n + 1) * CHANNELS)),
        )
        for n in range(layers)
    ]
    units = [
        Unit(layer.name, "free", layer.makes[0], CHANNELS, (layer.name,), (layer.makes,))
        for layer in made
    ]
    return Anatomy(tuple(made), tuple(units), ())


def lesion(layer: int, ratio: float) -> Lesion:
    """One of them."""
    return Lesion(f"l{layer}", "free", "l1", ratio, round(ratio * CHANNELS), CHANNELS)


def damaged(layer: int, damage: str, amount: float) -> Lesion:
    """One of them of another damage: of weights, of which no channel falls."""
    if damage == DAMAGE:
        return lesion(layer, amount)
    return replace(lesion(layer, 0.0), damage=damage, amount=amount, criterion="")


def simulated(path: Path, rng: np.random.Generator, images: int, layers: int) -> Simulated:
    """A new study of which the intact network is measured."""
    margin = rng.normal(RIGHT, SPREAD, images)
    subject = {"weights": "simulated", "order": f"seed {rng.integers(2**31)}"}
    settings = {"order": "margin", "estimand": "set", "score": "top1"}
    order = tuple(range(images))
    head = Header(subject, {}, anatomy(layers), order, (), ("top1",), 2, settings)
    outcomes = Outcomes(np.arange(images), {"top1": margin > 0})
    label = np.zeros(images, int)
    digest = np.zeros(images, np.uint64)
    intact = Intact(outcomes, label, (margin <= 0).astype(int), margin.astype(np.float32), digest)
    study = Study.create(path, head)
    for name in DAMAGES:
        study.set_damage(name, registered(name).amounts)
    study.record({}, intact)
    return Simulated(study, rng, intact, images // 100 + 1)


def by_layers(folder: Path, rng: np.random.Generator, images: int, count: int) -> bool:
    """Layer after layer, each read before the next is planned."""
    case = simulated(folder / "s", rng, images, count)
    for layer in range(count):
        case.sweep([lesion(layer, 0.5)])
        case.read()
    return case.wrong


def by_ratios(folder: Path, rng: np.random.Generator, images: int, count: int) -> bool:
    """One layer, ratio after ratio."""
    case = simulated(folder / "s", rng, images, 1)
    for ratio in np.linspace(0.9, 0.1, count).round(2).tolist():
        case.sweep([lesion(0, ratio)])
        case.read()
    return case.wrong


def by_tolerances(folder: Path, rng: np.random.Generator, images: int, count: int) -> bool:
    """Layers that are asked at one tolerance after the other."""
    case = simulated(folder / "s", rng, images, count)
    for max_drop in TOLERANCES:
        case.sweep([lesion(layer, 0.5) for layer in range(count)], max_drop)
        case.read()
        case.read(TOLERANCES[0])
    return case.wrong


def by_merging(folder: Path, rng: np.random.Generator, images: int, count: int) -> bool:
    """A study a layer, of one subject, joined one after the other; the joined ones are read."""
    case = simulated(folder / "0", rng, images, count)
    paths, wrong = [], False
    for layer in range(count):
        path = folder / str(layer)
        if layer:
            case.study.close()
            case.study = Study.create(path, case.study.header)
            case.study.record({}, case.intact)
        case.sweep([lesion(layer, 0.5)])
        paths.append(path)
        if layer:
            merge(paths, folder / f"to {layer}")
            with Study.open(folder / f"to {layer}") as joined:
                wrong |= claims(joined)
    return wrong


def by_damages(folder: Path, rng: np.random.Generator, images: int, count: int) -> bool:
    """Damage after damage, each of all layers, and all of them read before the next is planned."""
    case = simulated(folder / "s", rng, images, count)
    for damage, amounts in DAMAGES.items():
        case.sweep([damaged(layer, damage, each) for layer in range(count) for each in amounts])
        case.read()
    return case.wrong


def all_damages(folder: Path, rng: np.random.Generator, images: int, count: int) -> bool:
    """All damages of all layers planned at once."""
    case = simulated(folder / "s", rng, images, count)
    amounts = [(damage, each) for damage, grid in DAMAGES.items() for each in grid]
    case.sweep([damaged(layer, *each) for layer in range(count) for each in amounts])
    case.read()
    return case.wrong


def planned(folder: Path, rng: np.random.Generator, images: int, count: int) -> bool:
    """All layers planned at once."""
    case = simulated(folder / "s", rng, images, count)
    case.sweep([lesion(layer, 0.5) for layer in range(count)])
    case.read()
    return case.wrong


Way = Callable[[Path, np.random.Generator, int, int], bool]
WAYS: dict[str, Way] = {
    "planned at once": planned,
    "layer by layer": by_layers,
    "ratio by ratio": by_ratios,
    "tolerance by tolerance": by_tolerances,
    "joined one by one": by_merging,
    "damage by damage": by_damages,
    "all damages at once": all_damages,
}


def held_now(study: Study, aim: Aim, lesions: list[Lesion], images: int) -> np.ndarray:
    """α over the lesions that the study holds by then: the rule that grows with the study."""
    return np.full(len(lesions), (1 - aim.confidence / 100) / len(study.lesions))


def wrong(name: str, images: int, count: int, seed: int, number: int) -> bool:
    """Whether the simulated study of that number ever says what is wrong."""
    rng = np.random.default_rng([seed, number, list(WAYS).index(name)])
    with TemporaryDirectory() as folder:
        return WAYS[name](Path(folder), rng, images, count)


def rows(asked: argparse.Namespace) -> Iterator[str]:
    """A line of the table for each way to grow."""
    with Pool(asked.workers) as pool:
        for name in asked.ways:
            task = partial(wrong, name, asked.images, asked.layers, asked.seed)
            count = sum(pool.imap_unordered(task, range(asked.studies), 10))
            low = beta.ppf(0.025, count, asked.studies - count + 1) if count else 0.0
            high = beta.ppf(0.975, count + 1, asked.studies - count)
            yield (
                f"| {name} | {asked.layers} | {asked.studies} | {count} | "
                f"{100 * count / asked.studies:.2f} % | {100 * low:.2f}–{100 * high:.2f} % |"
            )


def main() -> int:
    """Read the command line, simulate, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=5, help="or ratios")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--held-now", action="store_true", help="share α among the lesions held")
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file to add the table to")
    asked = parser.parse_args()
    if asked.held_now:
        deciding.shares = held_now
    lines = ["| grown | lesions | studies | with a wrong SAFE | share | 95 % |", "|---" * 6 + "|"]
    for row in rows(asked):
        print(row, flush=True)
        lines.append(row)
    if asked.out:
        with asked.out.open("a") as out:
            out.write("\n" + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

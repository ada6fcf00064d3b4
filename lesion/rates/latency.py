"""How long a network takes at narrower widths: a table of times on one device.

The table holds each layer's law (`lesion.rates.layer_times`), and how a whole network's time comes
of these (`lesion.rates.whole_times`): start + scale · (the sum of the layers' laws) + each · (the
numbers that the layers make) + border · (the numbers read in channels that make no whole fours).  A
layer that runs alone, over and over, finds its input in the cache; what lies between layers
(normalisation, activation, additions) goes by the numbers that they make; and a runtime that keeps
channels in blocks lays out anew what a layer reads that has no whole ones.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lesion.boundary.files import write
from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy, keeps
from lesion.rates.candidates import Candidates
from lesion.rates.costs import Account, Product, Terms, axis_terms

FORMAT = 2
FOUR, EIGHT = 4, 8  # channels that fast kernels read at once, and below which any number is as good


@dataclass(frozen=True)
class LayerTime:
    """The law of one layer alone, milliseconds a batch: a + b·reads + c·makes + d·reads·makes.

    law: a, b, c, d; spread: root mean square by which medians miss it
    blocks: to whole multiples of which the channels read and made count up
    ragged: by which share channels read count more (below 0: less) that are no whole fours, from 9
        on
    """

    layer: str
    law: tuple[float, float, float, float]
    spread: float
    blocks: tuple[int, int] = (1, 1)
    ragged: float = 0.0

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "LayerTime":
        """The law that an entry of a file holds."""
        return cls(**{**entry, "law": tuple(entry["law"]), "blocks": tuple(entry["blocks"])})

    def at(self, reads: int, makes: int) -> float:
        """Milliseconds at a width.

        >>> LayerTime("conv", (1.0, 0.0, 0.0, 0.01), 0.1, (1, 16)).at(10, 17)
        4.2
        """
        a, b, c, d = self.law
        wide, deep = counted(reads, self.blocks[0], self.ragged), counted(makes, self.blocks[1])
        return float(a + b * wide + c * deep + d * wide * deep)


@dataclass(frozen=True)
class Times:
    """The times of a network on a device, for batches of `batch` images; milliseconds.

    whole: what the intact network takes
    layers: the laws of its layers
    start, scale, each, border: what makes a whole network's time of them, as above
    miss: the relative error of predicted times, one deviation
    networks: how many smaller ones of this network were timed; each was predicted by a fit to the
        others for `miss`, which without any is the laws' own
    """

    device: str
    threads: int
    batch: int
    whole: float
    layers: tuple[LayerTime, ...]
    start: float = 0.0
    scale: float = 1.0
    each: float = 0.0
    border: float = 0.0
    miss: float = 0.0
    networks: int = 0

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Times":
        """The table in a JSON file. Raises LesionError where it holds none, or one that another
        version of lesion wrote."""
        try:
            content: dict[str, Any] = json.loads(Path(path).read_text())
            layers = tuple(LayerTime.of(entry) for entry in content.pop("layers"))
            if content.pop("format", 1) == FORMAT:
                return cls(layers=layers, **content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LesionError(
                f"Expected a table of times as `lesion time` writes it in {path}, but it cannot be "
                f"read: {error}."
            ) from error
        raise LesionError(
            f"Expected a table of times of format {FORMAT} in {path}, but another version of "
            "lesion wrote it: measure the times again with `lesion time`."
        )

    @property
    def known(self) -> str:
        """How well times are predicted, in words."""
        if not self.networks:
            return "no smaller network was timed, so that a pruned one's time is known poorly"
        return (
            f"the times of {self.networks} smaller networks are predicted to within "
            f"{100 * self.miss:.1f} % (root mean square, each by a fit to the others)"
        )

    def account(self, anatomy: Anatomy, candidates: Candidates) -> Account:
        """The whole network's milliseconds as a sum of products, for the solver."""
        if missing := {timed.layer for timed in self.layers} ^ set(anatomy.layer):
            raise LesionError(
                f"Expected a table of times of this network, but it differs in "
                f"{', '.join(sorted(missing)[:3])}: measure its times."
            )
        terms = axis_terms(anatomy, candidates)
        products = [Product(self.start, 1, 1, {}, {})]
        for timed in self.layers:
            layer = anatomy.layer[timed.layer]
            a, b, c, d = (self.scale * part for part in timed.law)
            block, other = timed.blocks
            into, out, pixels = len(layer.reads), len(layer.makes), layer.positions
            given, left = terms(layer.reads), terms(layer.makes)
            wide, reads = _counted(into, given, partial(counted, block=block, more=timed.ragged))
            tall, makes = _counted(out, left, partial(counted, block=other))
            loose, uneven = _counted(into, given, ragged)
            products += [
                Product(a, 1, 1, {}, {}),
                Product(b, 1, wide, {}, reads),
                Product(c, 1, tall, {}, makes),
                Product(d, tall, wide, makes, reads),
                Product(self.each * pixels, 1, out, {}, left),
                Product(self.border * pixels, 1, loose, {}, uneven),
            ]
        return Account(tuple(products))


def parts(
    anatomy: Anatomy, layers: Sequence[LayerTime], dropped: np.ndarray
) -> tuple[float, float, float, float]:
    """What start, scale, each and border are multiplied by where labels fall."""
    alone, made, uneven = 0.0, 0, 0
    for timed in layers:
        layer = anatomy.layer[timed.layer]
        reads, makes = (int(keeps(axis, dropped).sum()) for axis in (layer.reads, layer.makes))
        alone += timed.at(reads, makes)
        made += layer.positions * makes
        uneven += layer.positions * ragged(reads)
    return 1.0, alone, float(made), float(uneven)


def ragged(channels: int) -> int:
    """The channels, where they are no whole fours and more than eight; else none.

    >>> [ragged(channels) for channels in (7, 48, 49)]
    [0, 0, 49]
    """
    return channels if channels > EIGHT and channels % FOUR else 0


def counted(channels: int, block: int, more: float = 0.0) -> float:
    """What a number of channels counts as: whole blocks, and by a share more where it is ragged.

    >>> [counted(channels, 16, 0.5) for channels in (7, 48, 49)]
    [16.0, 48.0, 96.0]
    """
    whole = -(-channels // block) * block
    return whole * (1 + more) if ragged(channels) else float(whole)


def _counted(size: int, terms: Terms, count: Callable[[int], float]) -> tuple[float, Terms]:
    """What an axis counts as, and by how much less it does for each choice of a unit.

    Where several units shorten it, it is not known what is left together: then it goes in
    proportion.
    """
    whole = float(count(size))
    if len(terms) != 1:
        return whole, {unit: falls * (whole / size) for unit, falls in terms.items()}
    ((unit, falls),) = terms.items()
    return whole, {unit: whole - np.array([count(size - fall) for fall in falls.tolist()])}

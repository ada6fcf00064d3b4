"""How criteria agree with the oracle: rank correlations, layer by layer and over all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesion.words import grouped

RESAMPLES = 10_000  # of the layers, for the interval of their mean
LAYERS = ["criterion", "layer", "kind", "channels", "spearman", "halves", "reason"]
CRITERIA = [
    "criterion",
    "needs",
    "images",
    "layers",
    "spearman",
    "low",
    "high",
    "raw",
    "scaled",
    "halves",
    "seconds",
    "reason",
]
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Scored:
    """What a criterion says of targets, by their keys.

    images: how many it saw; scores: one number a channel; halves: the same by each half of the
        images alone, none where it sees none
    reasons: of the targets that it does not fit; seconds: what the scores took, the halves apart
    """

    name: str
    needs: str
    images: int
    scores: Mapping[str, np.ndarray]
    halves: Sequence[Mapping[str, np.ndarray]]
    reasons: Mapping[str, str]
    seconds: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """How criteria agree with the oracle on a network, see `lesion.criteria`.

    criteria: a row a criterion, the oracle first
    layers: a row a criterion and layer; norms: a row a layer, see `lesion.lesions.norm_conditions`
    oracle: its name; images: how many it was measured on; confidence: of the intervals, in per cent
    """

    criteria: pd.DataFrame
    layers: pd.DataFrame
    norms: pd.DataFrame
    oracle: str
    images: int
    confidence: float

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by their names."""
        return {"criteria": self.criteria, "layers": self.layers, "norms": self.norms}

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        rows = {name: frame.to_dict("records") for name, frame in self.tables.items()}
        known = {"oracle": self.oracle, "images": self.images, "confidence": self.confidence}
        return known | rows

    @property
    def ranked(self) -> str:
        """Which channels were removed, in words."""
        layers = self.layers.drop_duplicates(["layer", "kind"])
        channels = grouped(int(layers["channels"].sum()))
        return f"{channels} channels of {len(layers)} layers, each removed alone"

    def text(self) -> str:
        """What the numbers are, in a sentence."""
        return (
            f"Spearman's rank correlation with the loss of {self.ranked}, on "
            f"{grouped(self.images)} training images: the mean of the layers with its "
            f"{self.confidence:g} % interval, and over all layers, raw and scaled layer by layer."
        )


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation, equal values having their mean rank; NaN where all of a side are
    equal, or there are fewer than two.

    >>> round(spearman(np.array([1.0, 2.0, 2.0, 5.0]), np.array([1.0, 3.0, 2.0, 4.0])), 4)
    0.9487
    """
    if len(first) < 2 or (first == first[0]).all() or (second == second[0]).all():
        return NAN
    from scipy.stats import spearmanr  # here, because importing it takes a second

    return float(spearmanr(first, second).statistic)


def interval(values: np.ndarray, confidence: float, seed: int = 0) -> tuple[float, float]:
    """The interval of the mean of layers: percentiles of the means of `RESAMPLES` sets of as many
    layers, drawn with replacement (the bootstrap); NaN of fewer than two.

    It says what another choice of such layers might give.  It does not say how certain a layer's
    own correlation is: see the halves.
    """
    if len(values) < 2:
        return NAN, NAN
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    tail = (100 - confidence) / 2
    low, high = np.percentile(values[drawn].mean(1), [tail, 100 - tail])
    return float(low), float(high)


def scaled(scores: np.ndarray) -> np.ndarray:
    """A layer's scores divided by their Euclidean norm (Molchanov et al. 2017).

    >>> scaled(np.array([3.0, 4.0])).tolist()
    [0.6, 0.8]
    """
    norm = float(np.linalg.norm(scores))
    return scores / norm if norm else scores


def by_layer(
    every: Iterable[Scored], oracle: Scored, names: Mapping[str, tuple[str, str]]
) -> pd.DataFrame:
    """One row a criterion and layer: criterion, layer, kind, channels; spearman, with the oracle;
    halves, of the scores by both halves of its images; reason, why there is no number.

    names: layer and kind of the targets, by their keys; the oracle's own row has no `spearman`
    """
    rows = [
        (scored.name, *names[key], len(values), *_correlations(scored, oracle, key, values))
        for scored in every
        for key, values in oracle.scores.items()
    ]
    return pd.DataFrame(rows, columns=LAYERS)


def _correlations(
    scored: Scored, oracle: Scored, key: str, values: np.ndarray
) -> tuple[float, float, str]:
    """Of one layer's scores: with the oracle's, of both halves, and why there is none."""
    if key not in scored.scores:
        return NAN, NAN, scored.reasons.get(key, "")
    halves = [half[key] for half in scored.halves if key in half]
    between = spearman(halves[0], halves[1]) if len(halves) == 2 else NAN
    if scored is oracle:
        return NAN, between, ""
    known = spearman(scored.scores[key], values)
    if not np.isnan(known):
        return known, between, ""
    name = oracle.name if (values == values[0]).all() else scored.name
    return NAN, between, f"by {name} its channels are all worth the same"


def by_criterion(
    every: Iterable[Scored], oracle: Scored, layers: pd.DataFrame, confidence: float
) -> pd.DataFrame:
    """One row a criterion.

    needs, images: what it sees, and of how many images
    layers: on how many it has a correlation (the oracle: scores); spearman, low, high: their mean,
        see `interval`
    raw: over the channels of all layers, as scores and oracle are; scaled: the same with the
        criterion's scores divided layer by layer by their norm, the oracle's as measured
    halves: the mean over layers of the correlation between both halves of the images
    seconds: what the scores took; reason: why it has none on some layers
    """
    rows = []
    for scored in every:
        part = layers[layers["criterion"] == scored.name]
        known = part["spearman"].dropna().to_numpy()
        rows.append(
            (
                scored.name,
                scored.needs,
                scored.images,
                len(scored.scores) if scored is oracle else len(known),
                known.mean() if len(known) else NAN,
                *interval(known, confidence),
                *((NAN, NAN) if scored is oracle else _over_layers(scored, oracle)),
                part["halves"].mean(),
                scored.seconds,
                _reason(part),
            )
        )
    return pd.DataFrame(rows, columns=CRITERIA)


def _over_layers(scored: Scored, oracle: Scored) -> tuple[float, float]:
    """The correlation over the channels of all layers that have scores, raw and scaled."""
    fitting = [key for key in oracle.scores if key in scored.scores]
    if not fitting:
        return NAN, NAN
    measured = np.concatenate([oracle.scores[key] for key in fitting])
    parts = [scored.scores[key] for key in fitting]
    raw, alike = np.concatenate(parts), np.concatenate([scaled(part) for part in parts])
    return spearman(raw, measured), spearman(alike, measured)


def _reason(part: pd.DataFrame) -> str:
    """Why layers have no number, the first reason; "" where all have one."""
    without = part[part["reason"] != ""]
    if without.empty:
        return ""
    return f"{len(without)} of {len(part)} layers: {without['reason'].iloc[0]}"

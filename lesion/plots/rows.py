"""Which rows of a study's curves a picture shows: one criterion, one row a layer and ratio."""

import textwrap
from collections.abc import Iterable

import pandas as pd

from lesion.advice import Advice
from lesion.errors import EvidenceError, LesionError
from lesion.harmless import figure
from lesion.harmless import name as short

STEM = "stem"  # what the anatomy calls stage 0
NO_STAGE = "no stage"
SCORES = {
    "top1": "top-1 accuracy", "top5": "top-5 accuracy",
    "agreement": "agreement with the intact network",
    "tv": "1 − total variation from the intact network", "score": "score",
    "evaluation": "evaluation",
}  # fmt: skip


def score_name(advice: Advice | None) -> str:
    """What is judged, in words; top-1 accuracy unless the advice says otherwise."""
    return SCORES["top1"] if advice is None else SCORES[advice.column]


def not_measured(found: Iterable[tuple[str, str]], width: int) -> str:
    """One wrapped text on layers without any number, given as (layer, reason); "" for none.

    >>> not_measured([("a", "gated"), ("fc", "its outputs are the network's"), ("b", "gated")], 99)
    "not measured: 2 layers (gated); fc (its outputs are the network's)"
    """
    layers: dict[str, list[str]] = {}
    for layer, reason in found:
        layers.setdefault(figure(reason) or "no reason given", []).append(layer)
    parts = [
        f"{names[0] if len(names) == 1 else f'{len(names)} layers'} ({reason})"
        for reason, names in layers.items()
    ]
    return textwrap.fill("not measured: " + "; ".join(parts), width) if parts else ""


def label(layer: str, number: object = None, kind: str = "free") -> str:
    """How a layer is called in every picture: Li's number if it has one, its name, its kind.

    >>> label("layer2.0.conv1", 20), label("conv1", 1, "branch"), label("stream1", None, "coupled")
    ('20 layer2.0.conv1', '1 conv1 (branch)', 'stream1 (coupled)')
    """
    layer = figure(short(layer))
    text = layer if number is None or pd.isna(number) else f"{number} {layer}"  # type: ignore[call-overload]
    return f"{text} ({kind})" if kind in ("branch", "coupled") else text


def stage_name(stage: object) -> str:
    """What a stage's panel, rows or bars are called; layers without a stage share one name.

    >>> stage_name(0), stage_name(2), stage_name(None)
    ('stem', 'stage 2', 'no stage')
    """
    if stage is None or pd.isna(stage):  # type: ignore[call-overload]
        return NO_STAGE
    return f"stage {stage}" if stage else STEM


def in_order(names: Iterable[str]) -> list[str]:
    """Each stage's name once: the stem, the stages by number, what has no stage.

    >>> in_order(["no stage", "stage 10", "stage 2", "stem", "stage 2"])
    ['stem', 'stage 2', 'stage 10', 'no stage']
    """
    return sorted(set(names), key=lambda name: (name == NO_STAGE, name != STEM, len(name), name))


def of_recovery(curves: pd.DataFrame, recovery: str) -> pd.DataFrame:
    """The rows of lesions that recovered in that way ("" for one-shot), and those without lesions.

    Raises EvidenceError where none of them has numbers.
    """
    rows = curves[(curves["recovery"] == recovery) | curves["ratio"].isna()]
    if rows["drop"].notna().any():
        return rows
    found = ", ".join(dict.fromkeys(way or "one-shot" for way in _ways(curves))) or "none"
    raise EvidenceError(
        f"Expected curves of lesions with recovery by {recovery or 'nothing (one-shot)'}, got "
        f"others ({found}): sweep with that first."
    )


def _ways(curves: pd.DataFrame) -> list[str]:
    return list(curves["recovery"][curves["drop"].notna()].unique())


def one_criterion(curves: pd.DataFrame, criterion: str | None = None) -> pd.DataFrame:
    """The rows of one criterion, with `label` and `panel`, in the curves' order.

    criterion: None takes "l1" where it was measured, else the first that was; of several roundings
    the first is taken, and of recoveries none, or where all recovered the first. Seeds are merged:
    mean accuracy and drop, and an interval that spans theirs. Rows without numbers stay, whatever
    their criterion.
    Raises EvidenceError without a measured row, LesionError for a criterion that is not there.
    """
    measured = curves[curves["drop"].notna()]
    if measured.empty:
        raise EvidenceError(
            "Expected curves with at least one measured lesion, got none; run the sweep first, or "
            "see in their column reason why nothing can be measured."
        )
    ways = _ways(curves)
    curves = of_recovery(curves, "" if "" in ways else ways[0])
    measured = curves[curves["drop"].notna()]
    found = list(dict.fromkeys(measured["criterion"]))
    if criterion is not None and criterion not in found:
        raise LesionError(
            f"Expected one of the measured criteria ({', '.join(found)}), got {criterion!r}; "
            "choose one of these or sweep with that criterion."
        )
    chosen = measured[measured["criterion"] == (criterion or ("l1" if "l1" in found else found[0]))]
    chosen = chosen[chosen["rounding"] == chosen["rounding"].iloc[0]]
    return _merge_seeds(pd.concat([chosen, _unmeasured(curves, chosen)]), curves)


def _unmeasured(curves: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Rows that only give a reason, one a layer and ratio, unless another seed has numbers."""
    keys = ["layer", "kind", "ratio"]
    rows = curves[curves["drop"].isna()].drop_duplicates(keys)
    known = pd.MultiIndex.from_frame(measured[keys])
    return rows[~pd.MultiIndex.from_frame(rows[keys]).isin(known)]


def _merge_seeds(rows: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    numbers = {"accuracy": "mean", "baseline": "mean", "drop": "mean", "low": "min", "high": "max"}
    others = ("number", "stage", "pruned", "channels", "images", "interval", "reason")
    texts = dict.fromkeys(others, "first")
    keys = ["layer", "kind", "ratio"]
    merged = rows.groupby(keys, sort=False, dropna=False).agg({**numbers, **texts}).reset_index()
    place = {pair: i for i, pair in enumerate(zip(curves["layer"], curves["kind"], strict=True))}
    first = [place[pair] for pair in zip(merged["layer"], merged["kind"], strict=True)]
    merged = merged.assign(place=first).sort_values(["place", "ratio"]).drop(columns="place")
    names = zip(merged["layer"], merged["number"], merged["kind"], strict=True)
    merged["label"] = [label(*name) for name in names]
    merged["panel"] = [stage_name(stage) for stage in merged["stage"]]
    return merged.reset_index(drop=True)

"""Which rows of a study's curves a picture shows: of one criterion and damage, one each amount."""

import textwrap
from collections.abc import Iterable

import pandas as pd

from lesion.errors import EvidenceError, LesionError
from lesion.harmless import figure
from lesion.harmless import name as short
from lesion.lesions.amounts import FILTERS, Amounts
from lesion.results.advice import Advice
from lesion.results.held import default
from lesion.results.reading import CRITERION, DAMAGE

STEM = "stem"  # what the anatomy calls stage 0
NO_STAGE = "no stage"
SCORES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "agreement": "agreement with the intact network",
    "tv": "1 − total variation from the intact network",
    "score": "score",
    "evaluation": "evaluation",
}


def score_name(advice: Advice | None) -> str:
    """What is judged, in words; top-1 accuracy unless the advice says otherwise."""
    return SCORES["top1"] if advice is None else SCORES[advice.column]


def not_measured(reasons: Iterable[tuple[str, str]], width: int) -> str:
    """One wrapped text on layers without any number, given as (layer, reason); "" for none.

    >>> not_measured([("a", "gated"), ("fc", "its outputs are the network's"), ("b", "gated")], 99)
    "not measured: 2 layers (gated); fc (its outputs are the network's)"
    """
    layers: dict[str, list[str]] = {}
    for layer, reason in reasons:
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


def panel(stage: object, kind: str) -> str:
    """Of which panel a row is: its stage's, but one without a name for stages and the network.

    >>> panel(2, "block"), panel(2, "stage")
    ('stage 2', '')
    """
    return "" if kind in ("stage", "network") else stage_name(stage)


def in_order(names: Iterable[str]) -> list[str]:
    """Each stage's name once: the stem, the stages by number, what has no stage.

    >>> in_order(["no stage", "stage 10", "stage 2", "stem", "stage 2"])
    ['stem', 'stage 2', 'stage 10', 'no stage']
    """
    return sorted(set(names), key=lambda name: (name == NO_STAGE, name != STEM, len(name), name))


def amounts_of(curves: pd.DataFrame, damage: str) -> Amounts:
    """How the amounts of a kind of damage read, as the curves know it.

    Raises LesionError where a table that was made elsewhere does not say.
    """
    if damage == DAMAGE:
        return FILTERS
    known = curves.attrs.get("damages", {})
    if damage not in known:
        raise LesionError(
            f"Expected curves that say how amounts of {damage} read, got a table without; give "
            "what lesion.curves(study) gave, whose attrs keep it."
        )
    return Amounts.from_json(known[damage])


def damage_of(curves: pd.DataFrame, damage: str | None, advice: Advice | None = None) -> str:
    """What a picture is of: what is named, what the advice is of, filters, or the first measured.

    Raises EvidenceError without a measured row, LesionError for damage that is not there.
    """
    measured = _measured(curves)
    held = list(dict.fromkeys(measured["damage"]))
    if advice is not None and damage not in (None, advice.damage):
        raise LesionError(
            f"Expected advice on {damage}, got one on {advice.damage}; give that, or none."
        )
    asked = damage or (advice.damage if advice is not None else None)
    if asked is not None and asked not in held:
        raise LesionError(
            f"Expected one of the measured kinds of damage ({', '.join(held)}), got {asked!r}; "
            "choose one of these or sweep with that damage."
        )
    return asked or default(held, DAMAGE)


def of_damage(curves: pd.DataFrame, damage: str) -> pd.DataFrame:
    """The rows of lesions with that damage, and of layers that have none by it."""
    its = curves["damage"] == damage
    without = curves["amount"].isna() & (curves["damage"] == "")
    return curves[its | (without & ~curves["layer"].isin(curves["layer"][its]))]


def of_recovery(curves: pd.DataFrame, recovery: str) -> pd.DataFrame:
    """The rows of lesions that recovered in that way ("" for one-shot), and those without lesions.

    Raises EvidenceError where none of them has numbers.
    """
    rows = curves[(curves["recovery"] == recovery) | curves["amount"].isna()]
    if rows["drop"].notna().any():
        return rows
    held = ", ".join(dict.fromkeys(way or "one-shot" for way in _ways(curves))) or "none"
    raise EvidenceError(
        f"Expected curves of lesions with recovery by {recovery or 'nothing (one-shot)'}, got "
        f"others ({held}): sweep with that first."
    )


def _ways(curves: pd.DataFrame) -> list[str]:
    return list(curves["recovery"][curves["drop"].notna()].unique())


def _measured(curves: pd.DataFrame) -> pd.DataFrame:
    measured = curves[curves["drop"].notna()]
    if measured.empty:
        raise EvidenceError(
            "Expected curves with at least one measured lesion, got none; run the sweep first, or "
            "see in their column reason why nothing can be measured."
        )
    return measured


def one_criterion(
    curves: pd.DataFrame, criterion: str | None = None, damage: str | None = None
) -> pd.DataFrame:
    """The rows of one criterion and damage, with `label` and `panel`, in the curves' order.

    criterion: None takes "l1" where it was measured, else the first that was; damage the same with
    "filters"; of several roundings the first is taken, and of recoveries none, or where all
    recovered the first. Seeds are merged: mean accuracy and drop, and an interval that spans
    theirs. Rows without numbers stay, whatever their criterion.
    Raises EvidenceError without a measured row, LesionError for a criterion or damage that is not
    there.
    """
    damage = damage_of(curves, damage)
    amounts, curves = amounts_of(curves, damage), of_damage(curves, damage)
    ways = _ways(curves)
    curves = of_recovery(curves, "" if "" in ways else ways[0])
    measured = _measured(curves)
    held = list(dict.fromkeys(measured["criterion"]))
    if criterion is not None and criterion not in held:
        raise LesionError(
            f"Expected one of the measured criteria ({', '.join(held)}), got {criterion!r}; "
            "choose one of these or sweep with that criterion."
        )
    chosen = measured[measured["criterion"] == (criterion or default(held, CRITERION))]
    chosen = chosen[chosen["rounding"] == chosen["rounding"].iloc[0]]
    return _merge_seeds(pd.concat([chosen, _unmeasured(curves, chosen)]), curves, amounts)


def _unmeasured(curves: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Rows that only give a reason, one a layer and ratio, unless another seed has numbers."""
    keys = ["layer", "kind", "amount"]
    rows = curves[curves["drop"].isna()].drop_duplicates(keys)
    known = pd.MultiIndex.from_frame(measured[keys])
    return rows[~pd.MultiIndex.from_frame(rows[keys]).isin(known)]


def _targets(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["layer"], rows["kind"], strict=True))


def _merge_seeds(rows: pd.DataFrame, curves: pd.DataFrame, amounts: Amounts) -> pd.DataFrame:
    numbers = {"accuracy": "mean", "baseline": "mean", "drop": "mean", "low": "min", "high": "max"}
    others = ("number", "stage", "pruned", "channels", "images", "interval", "reason")
    texts = dict.fromkeys(others, "first")
    keys = ["layer", "kind", "amount"]
    merged = rows.groupby(keys, sort=False, dropna=False).agg({**numbers, **texts}).reset_index()
    first = {name: at for at, name in enumerate(_targets(curves))}
    merged = merged.assign(
        place=[first[name] for name in _targets(merged)],
        harm=merged["amount"].map(amounts.severity),
    )
    merged = merged.sort_values(["place", "harm"]).drop(columns=["place", "harm"])
    names = zip(merged["layer"], merged["number"], merged["kind"], strict=True)
    merged["label"] = [label(*name) for name in names]
    places = zip(merged["stage"], merged["kind"], strict=True)
    merged["panel"] = [panel(*place) for place in places]
    return merged.reset_index(drop=True)

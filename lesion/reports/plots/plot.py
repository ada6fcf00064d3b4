"""A study's pictures by their names, as `lesion plot` calls its files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lesion.errors import EvidenceError, LesionError
from lesion.network.anatomy import Anatomy
from lesion.reports.plots.heatmap import plot_heatmap
from lesion.reports.plots.norms import plot_norms
from lesion.reports.plots.rates import plot_rates
from lesion.reports.plots.rows import damage_of
from lesion.reports.plots.sensitivity import plot_sensitivity
from lesion.results.advice import Advice
from lesion.results.advise import advise
from lesion.results.curves import curves as curves_of
from lesion.results.reading import DAMAGE, Reading
from lesion.study.study import Study

Draw = Callable[[Axes | None], Axes | list[Axes]]


@dataclass(frozen=True, eq=False)
class Drawn:
    """What pictures of one kind of damage show; norms are of filters alone, of measured layers."""

    curves: pd.DataFrame
    advice: Advice | None
    norms: Mapping[str, np.ndarray] | None
    anatomy: Anatomy | None
    criterion: str | None
    damage: str

    @property
    def pictures(self) -> dict[str, Draw]:
        """What draws each picture that there is, by name: "rates" needs advice."""
        curves, advice, how = self.curves, self.advice, self.criterion
        draw: dict[str, Draw] = {
            "sensitivity": lambda ax: plot_sensitivity(
                curves, advice, "accuracy", how, ax, self.damage
            ),
            "drop": lambda ax: plot_sensitivity(curves, advice, "drop", how, ax, self.damage),
            "heatmap": lambda ax: plot_heatmap(curves, advice, how, ax, self.damage),
        }
        if self.norms and self.damage == DAMAGE:
            skip = advice.skip if advice is not None else ()
            measured = set(curves["layer"][curves["drop"].notna()])
            shown = {name: self.norms[name] for name in self.norms if name in measured}
            norms = shown or self.norms
            draw["norms"] = lambda ax: plot_norms(norms, self.anatomy, skip, ax)
        if advice is not None:
            draw["rates"] = lambda ax: plot_rates(advice, ax)
        return draw


def plot(
    study: Study,
    picture: str = "sensitivity",
    max_drop: float | None = None,
    confidence: float = 95,
    criterion: str | None = None,
    damage: str | None = None,
    ax: Axes | None = None,
) -> list[Axes]:
    """Draw one picture of a study, those of `lesion plot`: "sensitivity" or "drop" (curves, a panel
    a stage), "heatmap", "norms" of filters, or "rates"; with the advice where the study has one.

    max_drop: tolerated, in points, None for what was asked last; confidence: of the intervals
    criterion, damage: None for l1 and filters where they were measured, else the first
    ax: to draw into, None for axes in a new figure
    Raises LesionError for another picture, and EvidenceError where the study holds too little.
    """
    frame, advice = curves_of(study, confidence=confidence), None
    try:
        advice = advise(Reading.of(study, criterion, damage=damage).asking(max_drop, None))
    except EvidenceError:
        if picture == "rates":
            raise
    of = damage_of(frame, damage, advice)
    pictures = Drawn(frame, advice, study.norms, study.anatomy, criterion, of).pictures
    if picture not in pictures:
        raise LesionError(f"Expected a picture ({', '.join(pictures)}), got '{picture}'.")
    axes = pictures[picture](ax)
    return axes if isinstance(axes, list) else [axes]

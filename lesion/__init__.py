"""Sensitivity analysis and lesion studies of convolutional networks.

layers = lesion.find_layers(network, images)      # what can be cut
study = lesion.sweep(network, dataset, "study.lesion")
lesion.curves(study)                              # a tidy table, a row a layer and ratio
advice = lesion.recommend(study, max_drop=1)      # skip list and rates, with reasons
lesion.plot_sensitivity(lesion.curves(study), advice)

What needs torch or matplotlib is imported when it is first used, so that reading a study is quick
and works where torch is missing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lesion.advice import Advice
from lesion.anatomy import Anatomy
from lesion.classes import class_drops
from lesion.comparison import Comparison, compare
from lesion.cost import Cost, cost, cost_at
from lesion.curves import curves
from lesion.errors import EvidenceError, LesionError, StudyError, SubjectError
from lesion.judging import recommend
from lesion.merging import merge
from lesion.study import Study

if TYPE_CHECKING:
    from lesion.adapter import Adapter
    from lesion.dissect import find_layers
    from lesion.evaluation import sweep_whole
    from lesion.plots import (
        plot_heatmap,
        plot_norms,
        plot_rates,
        plot_recovery,
        plot_sensitivity,
    )
    from lesion.subject import Subject
    from lesion.sweeping import sweep

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "Advice",
    "Anatomy",
    "Comparison",
    "Cost",
    "EvidenceError",
    "LesionError",
    "Study",
    "StudyError",
    "Subject",
    "SubjectError",
    "class_drops",
    "compare",
    "cost",
    "cost_at",
    "curves",
    "find_layers",
    "merge",
    "plot_heatmap",
    "plot_norms",
    "plot_rates",
    "plot_recovery",
    "plot_sensitivity",
    "recommend",
    "sweep",
    "sweep_whole",
]

_LATER = {
    "Adapter": "adapter", "Subject": "subject", "find_layers": "dissect", "sweep": "sweeping",
    "sweep_whole": "evaluation",
    **dict.fromkeys(
        ("plot_heatmap", "plot_norms", "plot_rates", "plot_recovery", "plot_sensitivity"), "plots"
    ),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """A public name that is imported at its first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

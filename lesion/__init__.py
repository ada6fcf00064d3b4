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

from lesion import allocating, classes, comparison, judging, merging
from lesion import cost as costs
from lesion import curves as tables
from lesion.advice import Advice
from lesion.allocation import Allocation
from lesion.amounts import Amounts
from lesion.anatomy import Anatomy
from lesion.boundary import public
from lesion.budget import Budget
from lesion.comparison import Comparison
from lesion.cost import Cost
from lesion.errors import EvidenceError, LesionError, StudyError, SubjectError
from lesion.study import Study

if TYPE_CHECKING:
    from lesion.adapter import Adapter, Output
    from lesion.applying import apply, export_pruned, load_pruned, save_pruned
    from lesion.calibrating import calibrate
    from lesion.criteria import Criterion, Filters
    from lesion.damage import Damage
    from lesion.dissect import find_layers
    from lesion.edits import Channels, Weight
    from lesion.evaluation import sweep_whole
    from lesion.exports import export
    from lesion.exports.torch_prune import to_torch_prune
    from lesion.exports.torch_pruning import to_torch_pruning
    from lesion.interactions import find_interactions
    from lesion.levelling import level
    from lesion.plots import (
        plot_calibration,
        plot_channels,
        plot_heatmap,
        plot_interactions,
        plot_norms,
        plot_rates,
        plot_recovery,
        plot_sensitivity,
        plot_tradeoff,
    )
    from lesion.refining import refine
    from lesion.subject import Subject
    from lesion.sweeping import sweep
    from lesion.together import bench
    from lesion.verifying import verify

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "Advice",
    "Allocation",
    "Amounts",
    "Anatomy",
    "Budget",
    "Channels",
    "Comparison",
    "Cost",
    "Criterion",
    "Damage",
    "EvidenceError",
    "Filters",
    "LesionError",
    "Output",
    "Study",
    "StudyError",
    "Subject",
    "SubjectError",
    "Weight",
    "allocate",
    "apply",
    "bench",
    "calibrate",
    "class_drops",
    "compare",
    "cost",
    "cost_at",
    "curves",
    "export",
    "export_pruned",
    "find_interactions",
    "find_layers",
    "level",
    "load_pruned",
    "merge",
    "plot_calibration",
    "plot_channels",
    "plot_heatmap",
    "plot_interactions",
    "plot_norms",
    "plot_rates",
    "plot_recovery",
    "plot_sensitivity",
    "plot_tradeoff",
    "recommend",
    "refine",
    "save_pruned",
    "sweep",
    "sweep_whole",
    "to_torch_prune",
    "to_torch_pruning",
    "verify",
]

allocate = public(allocating.allocate)
class_drops = public(classes.class_drops)
compare = public(comparison.compare)
cost, cost_at = public(costs.cost), public(costs.cost_at)
curves = public(tables.curves)
merge = public(merging.merge)
recommend = public(judging.recommend)

_MODULES = {
    "adapter": ("Adapter", "Output"),
    "applying": ("apply", "export_pruned", "load_pruned", "save_pruned"),
    "calibrating": ("calibrate",),
    "criteria": ("Criterion", "Filters"),
    "damage": ("Damage",),
    "dissect": ("find_layers",),
    "edits": ("Channels", "Weight"),
    "evaluation": ("sweep_whole",),
    "exports": ("export",),
    "exports.torch_prune": ("to_torch_prune",),
    "exports.torch_pruning": ("to_torch_pruning",),
    "interactions": ("find_interactions",),
    "levelling": ("level",),
    "plots": (
        "plot_calibration", "plot_channels", "plot_heatmap", "plot_interactions", "plot_norms",
        "plot_rates", "plot_recovery", "plot_sensitivity", "plot_tradeoff",
    ),
    "refining": ("refine",),
    "subject": ("Subject",),
    "sweeping": ("sweep",),
    "together": ("bench",),
    "verifying": ("verify",),
}  # fmt: skip
_LATER = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name that is imported at its first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found if isinstance(found, type) else public(found)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

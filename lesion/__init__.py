"""Sensitivity analysis and lesion studies of convolutional networks.

anatomy = lesion.layers(network, images)          # what can be cut
study = lesion.sweep(network, dataset, "study.lesion")
study.curves()                                    # a tidy table, a row a layer and ratio
advice = study.recommend(1)                       # skip list and rates, with reasons
study.plot("heatmap")

What needs torch or matplotlib is imported when it is first used, so that reading a study is quick
and works where torch is missing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lesion.boundary.public import public

if TYPE_CHECKING:
    from lesion.errors import EvidenceError, LesionError, StudyError, SubjectError
    from lesion.exports.export import export
    from lesion.exports.programs import export_pruned
    from lesion.exports.pruned import apply
    from lesion.exports.pruned_files import load_pruned, save_pruned
    from lesion.exports.targets.torch_prune import to_torch_prune
    from lesion.exports.targets.torch_pruning import to_torch_pruning
    from lesion.joint.bench import bench
    from lesion.joint.calibrate import calibrate
    from lesion.joint.interactions import interactions
    from lesion.joint.recover import recover
    from lesion.joint.refine import refine
    from lesion.joint.tradeoff import tradeoff
    from lesion.joint.verify import verify
    from lesion.lesions.agreement import Agreement
    from lesion.lesions.amounts import Amounts
    from lesion.lesions.criteria import Criterion, Filters, Group, GroupCriterion
    from lesion.lesions.damage import Damage
    from lesion.lesions.edits import Channels, Weight
    from lesion.lesions.pruned_cost import cost_at
    from lesion.lesions.value_edits import Values
    from lesion.network.anatomy import Anatomy
    from lesion.network.cost import Cost, cost
    from lesion.network.layers import layers
    from lesion.rates.allocation import Allocation
    from lesion.rates.budget import Budget
    from lesion.rates.latency import Times
    from lesion.rates.recommend import recommend
    from lesion.rates.time import time
    from lesion.reports.page.report import report
    from lesion.reports.plots.calibration import plot_calibration
    from lesion.reports.plots.channels import plot_channels
    from lesion.reports.plots.criteria import plot_criteria
    from lesion.reports.plots.damages import plot_damage_map, plot_damages
    from lesion.reports.plots.heatmap import plot_heatmap
    from lesion.reports.plots.norms import plot_norms
    from lesion.reports.plots.pairs import plot_interactions
    from lesion.reports.plots.plot import plot
    from lesion.reports.plots.rates import plot_rates
    from lesion.reports.plots.recovery import plot_recovery
    from lesion.reports.plots.sensitivity import plot_sensitivity
    from lesion.reports.plots.tradeoff import plot_tradeoff
    from lesion.results.advice import Advice
    from lesion.results.compare import Comparison, compare
    from lesion.results.curves import curves
    from lesion.study.merge import merge
    from lesion.study.study import Study
    from lesion.subject.adapter import Adapter, Output
    from lesion.subject.set_score import SetScore
    from lesion.subject.subject import Subject
    from lesion.sweeps.runners.ray import OnRay
    from lesion.sweeps.sweep import sweep
    from lesion.sweeps.whole_network import evaluate
    from lesion.sweeps.yardstick import criteria

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "Advice",
    "Agreement",
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
    "Group",
    "GroupCriterion",
    "LesionError",
    "OnRay",
    "Output",
    "SetScore",
    "Study",
    "StudyError",
    "Subject",
    "SubjectError",
    "Times",
    "Values",
    "Weight",
    "apply",
    "bench",
    "calibrate",
    "compare",
    "cost",
    "cost_at",
    "criteria",
    "curves",
    "evaluate",
    "export",
    "export_pruned",
    "interactions",
    "layers",
    "load_pruned",
    "merge",
    "plot",
    "plot_calibration",
    "plot_channels",
    "plot_criteria",
    "plot_damage_map",
    "plot_damages",
    "plot_heatmap",
    "plot_interactions",
    "plot_norms",
    "plot_rates",
    "plot_recovery",
    "plot_sensitivity",
    "plot_tradeoff",
    "recommend",
    "recover",
    "refine",
    "report",
    "save_pruned",
    "sweep",
    "time",
    "to_torch_prune",
    "to_torch_pruning",
    "tradeoff",
    "verify",
]

_MODULES = {
    "errors": (
        "EvidenceError",
        "LesionError",
        "StudyError",
        "SubjectError",
    ),
    "exports.export": ("export",),
    "exports.programs": ("export_pruned",),
    "exports.pruned": ("apply",),
    "exports.pruned_files": (
        "load_pruned",
        "save_pruned",
    ),
    "exports.targets.torch_prune": ("to_torch_prune",),
    "exports.targets.torch_pruning": ("to_torch_pruning",),
    "joint.bench": ("bench",),
    "joint.calibrate": ("calibrate",),
    "joint.interactions": ("interactions",),
    "joint.recover": ("recover",),
    "joint.refine": ("refine",),
    "joint.tradeoff": ("tradeoff",),
    "joint.verify": ("verify",),
    "lesions.agreement": ("Agreement",),
    "lesions.amounts": ("Amounts",),
    "lesions.criteria": (
        "Criterion",
        "Filters",
        "Group",
        "GroupCriterion",
    ),
    "lesions.damage": ("Damage",),
    "lesions.edits": (
        "Channels",
        "Weight",
    ),
    "lesions.value_edits": ("Values",),
    "lesions.pruned_cost": ("cost_at",),
    "network.anatomy": ("Anatomy",),
    "network.cost": (
        "Cost",
        "cost",
    ),
    "network.layers": ("layers",),
    "rates.allocation": ("Allocation",),
    "rates.budget": ("Budget",),
    "rates.latency": ("Times",),
    "rates.recommend": ("recommend",),
    "rates.time": ("time",),
    "reports.page.report": ("report",),
    "reports.plots.calibration": ("plot_calibration",),
    "reports.plots.channels": ("plot_channels",),
    "reports.plots.criteria": ("plot_criteria",),
    "reports.plots.damages": ("plot_damage_map", "plot_damages"),
    "reports.plots.heatmap": ("plot_heatmap",),
    "reports.plots.norms": ("plot_norms",),
    "reports.plots.pairs": ("plot_interactions",),
    "reports.plots.plot": ("plot",),
    "reports.plots.rates": ("plot_rates",),
    "reports.plots.recovery": ("plot_recovery",),
    "reports.plots.sensitivity": ("plot_sensitivity",),
    "reports.plots.tradeoff": ("plot_tradeoff",),
    "results.advice": ("Advice",),
    "results.compare": (
        "Comparison",
        "compare",
    ),
    "results.curves": ("curves",),
    "study.merge": ("merge",),
    "study.study": ("Study",),
    "subject.adapter": (
        "Adapter",
        "Output",
    ),
    "subject.set_score": ("SetScore",),
    "subject.subject": ("Subject",),
    "sweeps.runners.ray": ("OnRay",),
    "sweeps.sweep": ("sweep",),
    "sweeps.whole_network": ("evaluate",),
    "sweeps.yardstick": ("criteria",),
}
_LATER = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name that is imported at its first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value if isinstance(value, type) else public(value)
    return globals()[name]


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]

"""Sensitivity analysis and lesion studies of convolutional networks.

layers = lesion.find_layers(network, images)      # what can be cut
study = lesion.sweep(network, dataset, "study.lesion")
lesion.curves(study)                              # a tidy table, a row a layer and ratio
advice = lesion.recommend(study, max_drop=1)      # skip list and rates, with reasons
lesion.plot_sensitivity(lesion.curves(study), advice)
"""

from lesion.adapter import Adapter
from lesion.advice import Advice
from lesion.anatomy import Anatomy
from lesion.cost import Cost, cost, cost_at
from lesion.curves import curves
from lesion.dissect import find_layers
from lesion.errors import EvidenceError, LesionError, StudyError, SubjectError
from lesion.judging import recommend
from lesion.merging import merge
from lesion.plots import plot_heatmap, plot_norms, plot_rates, plot_sensitivity
from lesion.study import Study
from lesion.subject import Subject
from lesion.sweeping import sweep

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "Advice",
    "Anatomy",
    "Cost",
    "EvidenceError",
    "LesionError",
    "Study",
    "StudyError",
    "Subject",
    "SubjectError",
    "cost",
    "cost_at",
    "curves",
    "find_layers",
    "merge",
    "plot_heatmap",
    "plot_norms",
    "plot_rates",
    "plot_sensitivity",
    "recommend",
    "sweep",
]

"""The pictures of a study: each a table function and a drawing function.

Every drawing function takes `ax=None` and gives the Axes back; none touches matplotlib's settings
or shows a window. Colours are Okabe and Ito's, and each difference that colour shows is shown by
line, marker or hatch as well, so that the figures survive a black-and-white printer.
"""

from lesion.plots.calibration import calibration_table, plot_calibration
from lesion.plots.channels import channels_table, plot_channels
from lesion.plots.heatmap import heatmap_table, plot_heatmap
from lesion.plots.norms import norms_table, plot_norms
from lesion.plots.pairs import interactions_table, plot_interactions
from lesion.plots.rates import plot_rates, rates_table
from lesion.plots.recovery import plot_recovery, recovery_table
from lesion.plots.saving import (
    save_all,
    save_allocation,
    save_calibration,
    save_interactions,
    save_recovery,
    save_tradeoff,
)
from lesion.plots.sensitivity import plot_sensitivity, sensitivity_table
from lesion.plots.tradeoff import plot_tradeoff, tradeoff_table

__all__ = [
    "calibration_table",
    "channels_table",
    "heatmap_table",
    "interactions_table",
    "norms_table",
    "plot_calibration",
    "plot_channels",
    "plot_heatmap",
    "plot_interactions",
    "plot_norms",
    "plot_rates",
    "plot_recovery",
    "plot_sensitivity",
    "plot_tradeoff",
    "rates_table",
    "recovery_table",
    "save_all",
    "save_allocation",
    "save_calibration",
    "save_interactions",
    "save_recovery",
    "save_tradeoff",
    "sensitivity_table",
    "tradeoff_table",
]

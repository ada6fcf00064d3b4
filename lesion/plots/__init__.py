"""The pictures of a study: each a table function and a drawing function.

Every drawing function takes `ax=None` and gives the Axes back; none touches matplotlib's settings
or shows a window. Colours are Okabe and Ito's, and each difference that colour shows is shown by
line, marker or hatch as well, so that the figures survive a black-and-white printer.
"""

from lesion.plots.heatmap import heatmap_table, plot_heatmap
from lesion.plots.norms import norms_table, plot_norms
from lesion.plots.rates import plot_rates, rates_table
from lesion.plots.recovery import plot_recovery, recovery_table
from lesion.plots.saving import save_all, save_recovery
from lesion.plots.sensitivity import plot_sensitivity, sensitivity_table

__all__ = [
    "heatmap_table",
    "norms_table",
    "plot_heatmap",
    "plot_norms",
    "plot_rates",
    "plot_recovery",
    "plot_sensitivity",
    "rates_table",
    "recovery_table",
    "save_all",
    "save_recovery",
    "sensitivity_table",
]

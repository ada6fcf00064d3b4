"""Networks, weights and images by name, as the command line takes them."""

from lesion.zoo.forms import DATA_FORMS, NETWORK_FORMS, open_data, open_network
from lesion.zoo.output_names import output_names
from lesion.zoo.subjects import (
    Named,
    Tried,
    open_evaluation,
    open_recovery,
    open_runtime,
    open_subject,
    try_network,
)

__all__ = [
    "DATA_FORMS",
    "NETWORK_FORMS",
    "Named",
    "Tried",
    "open_data",
    "open_evaluation",
    "open_network",
    "open_recovery",
    "open_runtime",
    "open_subject",
    "output_names",
    "try_network",
]

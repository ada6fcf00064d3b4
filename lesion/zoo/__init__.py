"""Networks, weights and images by name, as the command line takes them."""

from lesion.zoo.opening import (
    DATA_FORMS,
    NETWORK_FORMS,
    open_data,
    open_evaluation,
    open_network,
    open_recovery,
    open_subject,
)

__all__ = [
    "DATA_FORMS",
    "NETWORK_FORMS",
    "open_data",
    "open_evaluation",
    "open_network",
    "open_recovery",
    "open_subject",
]

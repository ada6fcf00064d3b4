"""Networks, weights and images by name, as the command line takes them."""

from lesion.zoo.opening import open_data, open_network, open_subject

__all__ = ["open_data", "open_network", "open_subject"]

"""Networks, weights and images by name, as the command line takes them.

Each is imported when it is first used: what the classes of a study are called needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesion.zoo.forms import DATA_FORMS, NETWORK_FORMS, open_data, open_network
    from lesion.zoo.named_outputs import output_names
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

_FORMS = "DATA_FORMS", "NETWORK_FORMS", "open_data", "open_network"
_MODULES = (
    dict.fromkeys(__all__, "subjects")
    | dict.fromkeys(_FORMS, "forms")
    | {"output_names": "named_outputs"}
)


def __getattr__(name: str) -> Any:
    """A public name that is imported at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return globals()[name]

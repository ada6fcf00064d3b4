"""Plain JSON: everything that is known of the rates, to be read back by `Allocation.load`."""

from lesion.boundary.json_text import as_json
from lesion.exports.targets import Handover

SUFFIX = ".json"


def content(given: Handover) -> str:
    """The rates as JSON: names, numbers, which channels and filters stay, reasons, guarantee."""
    return as_json(given.allocation.to_dict()) + "\n"

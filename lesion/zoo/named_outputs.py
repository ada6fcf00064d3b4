"""What the classes of a study are called, as its network or a class map says."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lesion.zoo import class_names

WORDNET = re.compile(r"n\d{8}")
MODULES = ("hf",)  # forms whose names only the network itself knows


def output_names(
    options: Mapping[str, Any], outputs: int, class_map: str | Path | None = None
) -> dict[int, str]:
    """The name of each output that has one.

    options: how the network was named, as `lesion sweep` takes it; class_map: a file, see
        `lesion.zoo.class_names.FORMS`
    Raises SubjectError for a class map that is none.
    """
    class_map = class_map or options.get("class_map")
    if class_map is not None and Path(class_map).is_file():
        names = class_names.read(Path(class_map))
    else:
        network = str(options.get("network", ""))
        if network.partition(":")[0] in MODULES:
            return {}
        known = class_names.own(network, options.get("weights"), None, outputs)
        if known is None:
            return {}
        names = known
    every: dict[int, list[str]] = {}
    for name, places in sorted(names.exact.items(), key=lambda pair: _vague(*pair)):
        for place in places:
            every.setdefault(place, []).append(name)
    return {place: several[0] for place, several in every.items()}


def _vague(name: str, places: tuple[int, ...]) -> tuple[int, bool]:
    """Rises with how little a name says: of several outputs, or a number of WordNet."""
    return len(places), WORDNET.fullmatch(name) is not None

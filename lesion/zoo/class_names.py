"""Which outputs of a network bear which names: by a file, or as the network says."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesion.errors import SubjectError, first_line

Pairs = list[tuple[str, int]]  # names and outputs, several of either for one of the other
FORMS = (
    'a .json of {"folder": output} or of names by output, a .csv of folder,output, '
    "or a .txt with the class of each output in a line"
)
FASHION_MNIST = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@dataclass(frozen=True)
class Names:
    """Names of a network's outputs, as they are written and however they are written.

    where: what says so, for errors

    >>> names = Names.of([("English springer", 217), ("crane", 134), ("crane", 517)], "the network")
    >>> names.outputs("english_springer"), names.outputs("crane"), names.outputs("cat")
    ((217,), (134, 517), ())
    """

    exact: Mapping[str, tuple[int, ...]]
    loose: Mapping[str, tuple[int, ...]]
    where: str

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, int]], where: str) -> "Names":
        """The names in pairs of a name and an output."""
        pairs = list(pairs)
        return cls(_grouped(pairs), _grouped((_loose(name), place) for name, place in pairs), where)

    def outputs(self, name: str) -> tuple[int, ...]:
        """The outputs of that name, several where it is not one output's alone."""
        return self.exact.get(name) or self.loose.get(_loose(name), ())


def _grouped(pairs: Iterable[tuple[str, int]]) -> dict[str, tuple[int, ...]]:
    places = defaultdict[str, set[int]](set)
    for name, place in pairs:
        places[name].add(place)
    return {name: tuple(sorted(several)) for name, several in places.items()}


def _loose(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def own(network: str, weights: str | None, module: Any, outputs: int) -> Names | None:
    """What a named network calls its outputs, with the synonyms between commas; None if unknown."""
    form, _, name = network.partition(":")
    classes: Sequence[str] = ()
    if form == "demo" and weights in (None, "default"):
        classes = FASHION_MNIST
    if form == "torchvision":
        from lesion.zoo import torchvision_networks

        classes = torchvision_networks.categories(name, weights)
    if form == "timm":
        from lesion.zoo import timm_networks

        return imagenet(outputs) if timm_networks.comes_trained(weights) else None
    if form == "hf":
        from lesion.zoo import transformers_networks

        classes = transformers_networks.classes(module)
    pairs = [(part, place) for place, text in enumerate(classes) for part in _synonyms(text)]
    return Names.of(pairs, "the network's classes") if pairs else None


def imagenet(outputs: int) -> Names | None:
    """The WordNet numbers and names of ImageNet's classes, if timm knows so many of them."""
    from lesion.zoo import timm_networks

    known = timm_networks.imagenet(outputs)
    pairs = [
        (alias, place)
        for place, (number, text) in enumerate(known)
        for alias in (number, *_synonyms(text))
    ]
    return Names.of(pairs, "ImageNet's classes") if pairs else None


def _synonyms(text: str) -> list[str]:
    """A class's whole name, and the names between its commas."""
    parts = [part.strip() for part in text.split(",")]
    return [text, *parts] if len(parts) > 1 else [text]


def read(path: Path) -> Names:
    """The names in a class map, see FORMS. Raises SubjectError where it is none."""
    readers = {".json": _from_json, ".csv": _from_csv, ".txt": _from_lines}
    if path.suffix.lower() not in readers:
        raise SubjectError(f"Expected a class map as {FORMS}, got {path}; rename or convert it.")
    if not path.is_file():
        raise SubjectError(f"Expected a class map at {path}, found no file; check the path.")
    try:
        pairs = readers[path.suffix.lower()](path.read_text("utf-8-sig"))
    except (ValueError, OSError, RecursionError, csv.Error) as error:  # UnicodeError is one too
        raise SubjectError(
            f"Expected a class map as {FORMS}, but {path} cannot be read as one "
            f"({first_line(error)}); mend it."
        ) from error
    return Names.of(pairs, str(path))


def _from_json(text: str) -> Pairs:
    content = json.loads(text)
    if isinstance(content, list):
        content = {str(place): names for place, names in enumerate(content)}
    if not isinstance(content, dict) or not content:
        raise ValueError("it holds no names")
    if all(type(value) is int for value in content.values()):
        return list(content.items())
    pairs: Pairs = []
    for key, names in content.items():
        several = [names] if isinstance(names, str) else names
        texts = isinstance(several, list) and all(isinstance(name, str) for name in several)
        if not (key.isdecimal() and texts):
            shown = json.dumps({key: names}, ensure_ascii=False)[:60]
            raise ValueError(f"{shown} is neither a name's output nor an output's names")
        pairs += [(name, int(key)) for name in several]
    return pairs


def _from_csv(text: str) -> Pairs:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and len(rows[0]) == 2 and not _is_number(rows[0][1]):
        rows = rows[1:]  # the columns' titles
    for row in rows:
        if len(row) != 2 or not _is_number(row[1]):
            raise ValueError(f"'{','.join(row)[:60]}' is no folder,output")
    if not rows:
        raise ValueError("it holds no names")
    return [(name.strip(), int(place)) for name, place in rows]


def _is_number(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def _from_lines(text: str) -> Pairs:
    """The whole line is a class's name, and its first word, as in lists of WordNet's numbers."""
    lines = [line.strip() for line in text.splitlines()]
    if not any(lines):
        raise ValueError("it holds no names")
    return [
        (name, place)
        for place, line in enumerate(lines) if line
        for name in dict.fromkeys((line, line.split()[0]))
    ]  # fmt: skip

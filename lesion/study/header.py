"""What a study is of: the subject's fingerprint, its anatomy, and the fixed order of its images."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from lesion.network.anatomy import Anatomy, Block, Layer, Parameter, Unit
from lesion.subject.outcomes import TYPES

MISSING = "nothing"
LARGEST = 2**30  # bytes of JSON that a header may be: millions of images
UNSAID = {"score": "top1", "order": "margin", "estimand": "set"}  # what settings mean by silence
SEEDS, MOST = 2**63, 2**31  # beyond what a seed, and a size or number of classes, may be
WHOLE = ("classes", "resize", "crop")  # the options that are whole numbers
FREE = {"name", "seed", "holdout", "source"}  # what else settings tell is in the subject


@dataclass(frozen=True)
class Header:
    """What is fixed when a study is created.

    subject: what must be the same for outcomes to be comparable (weights, order, preprocessing …),
        each a text; environment: versions, device, threads, which only warn when they differ
    order: indices of the scored images in the study's random order; holdout: those kept back
    columns: the scores kept of every image; classes: how many there are, 0 without logits
    settings: what else the sweep wants to remember, as JSON values; those in `UNSAID` have to be
        the same for a study to be gone on with, see `conflicts`
    """

    subject: Mapping[str, str]
    environment: Mapping[str, str]
    anatomy: Anatomy
    order: tuple[int, ...]
    holdout: tuple[int, ...]
    columns: tuple[str, ...]
    classes: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def setting(self, name: str) -> str:
        """What the sweep was told of "score", "order" or "estimand", or what silence means."""
        return str(self.settings.get(name, UNSAID[name]))

    def to_bytes(self) -> bytes:
        """Itself as compressed JSON."""
        return zlib.compress(json.dumps(self, default=_plain).encode())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Header":
        """The header that `to_bytes` wrote."""
        packed = zlib.decompressobj()
        values = json.loads(packed.decompress(data, LARGEST))
        values["anatomy"] = _to_anatomy(values["anatomy"])
        for name in ("order", "holdout", "columns"):
            values[name] = tuple(values[name])
        images = values["order"] + values["holdout"]
        if len(set(images)) < len(images) or not set(values["columns"]) <= TYPES.keys():
            raise ValueError("it counts images twice, or has scores that are not known")
        _check_settings(values["settings"])
        return cls(**values)


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for settings that no sweep remembers: a study may come from anybody."""
    texts = all(isinstance(settings.get(name, ""), str) for name in (*UNSAID, "name"))
    seed, share = settings.get("seed", 0), settings.get("holdout", 0)
    numbers = type(seed) is int and 0 <= seed < SEEDS and type(share) in (int, float)
    if not (texts and numbers and 0 <= share < 1 and _is_source(settings.get("source", {}))):
        raise ValueError("its settings are none")


def _is_source(source: Any) -> bool:
    """Whether it says how a subject was named: options and digests, or a text of several."""
    if isinstance(source, str):
        return True
    parts = [source.get(name, {}) for name in ("options", "code")]
    numbers = [parts[0].get(name, 1) for name in WHOLE]
    texts = [text for part in parts for name, text in part.items() if name not in WHOLE]
    whole = all(type(number) is int and 0 < number <= MOST for number in numbers)
    return whole and all(isinstance(text, str) for text in texts)


def named_in(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options by which a study's subject was named, see `lesion sweep`; none where it was made
    in Python, or of several studies."""
    source = settings.get("source")
    options = source.get("options") if isinstance(source, Mapping) else None
    return dict(options) if isinstance(options, Mapping) else {}


def conflicts(known: Header, given: Header) -> list[str]:
    """One phrase for each difference that outcomes or claims depend on: of all but environments.

    Of anatomies those that lesions depend on count: which channels there are, and fall together.
    """
    phrases = differences(known.subject, given.subject)
    phrases += differences(_claimed(known.settings), _claimed(given.settings))
    apart = ("subject", "settings", "anatomy", "environment")
    names = [field.name for field in fields(Header) if field.name not in apart]
    plain = [name for name in names if getattr(known, name) != getattr(given, name)]
    if _removable(known.anatomy) != _removable(given.anatomy):
        plain.append("anatomy (which channels fall together, or what they compute)")
    blocks = {anatomy.blocks for anatomy in (known.anatomy, given.anatomy) if anatomy.blocks}
    if len(blocks) > 1:  # a study of before holds none
        plain.append("anatomy (which blocks a stream passes)")
    return phrases or plain


def _claimed(settings: Mapping[str, Any]) -> dict[str, str]:
    said = {name: value for name, value in settings.items() if name not in FREE}
    return {name: str(value) for name, value in {**UNSAID, **said}.items()}


def _removable(anatomy: Anatomy) -> tuple[Any, ...]:
    layers = [
        (layer.name, layer.kind, layer.channels, layer.macs, layer.unit) for layer in anatomy.layers
    ]
    units = [(unit.name, unit.kind, unit.channels, unit.layers) for unit in anatomy.units]
    return layers, units


def differences(known: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """One phrase for each entry that differs, values shortened, in order of name.

    >>> differences({"weights": "a1", "order": "5"}, {"weights": "b2", "order": "5"})
    ['weights (a1 there, b2 here)']
    """
    return [
        f"{name} ({_entry(known, name)} there, {_entry(given, name)} here)"
        for name in sorted(known.keys() | given.keys())
        if known.get(name) != given.get(name)
    ]


def _entry(entries: Mapping[str, str], name: str, width: int = 40) -> str:
    """The text under a name, shortened."""
    text = entries.get(name, MISSING)
    return text if len(text) <= width else text[: width - 1] + "…"


def _plain(value: Any) -> Any:
    """Records, mappings, numpy numbers and arrays as JSON knows them."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return dict(value) if isinstance(value, Mapping) else value.tolist()


def _to_anatomy(values: dict[str, Any]) -> Anatomy:
    values = _tuples(values)
    values["layers"] = tuple(Layer(**layer) for layer in values["layers"])
    values["units"] = tuple(Unit(**unit) for unit in values["units"])
    values["blocks"] = tuple(Block(**block) for block in values.get("blocks", ()))
    values["parameters"] = tuple(_to_parameter(parameter) for parameter in values["parameters"])
    return Anatomy(**values)


def _to_parameter(values: dict[str, Any]) -> Parameter:
    axes = {int(axis): labels for axis, labels in values["axes"].items()}
    return Parameter(**{**values, "axes": axes})


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, at every depth."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value

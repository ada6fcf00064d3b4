"""From coupled labels to units: what falls together gets one label, what cannot fall a reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lesion.network.anatomy import CONSTANT, Unit
from lesion.network.labels import Coupling, Making
from lesion.network.sums import added, components

Place = tuple[int, int]  # which group of an operation holds a channel, and how often
NOWHERE = (-1, 0)
HELD = "its forward divides its channels into parts that cannot lose equally many"


@dataclass(frozen=True)
class Joined:
    """The units, and for every label of the trace the final one (CONSTANT where no layer's)."""

    units: tuple[Unit, ...]
    final: np.ndarray

    def labels(self, raw: np.ndarray) -> np.ndarray:
        """The final labels of raw ones, of the same shape."""
        return np.where(raw < 0, CONSTANT, self.final[np.maximum(raw, 0)])


def join(coupling: Coupling, names: dict[str, str]) -> Joined:
    """Units in order of execution; `names` gives the layer's name for each weight.

    What a forward divides by numbers of its own loses equal parts; it is held where it cannot.
    """
    plain = _joined(coupling, names)
    crossed = [rows for rows in coupling.crossed if _divisible(plain, rows)]
    joined = _divided(plain, coupling, names, crossed)
    able = {layer for unit in plain.units if unit.kind != "tied" for layer in unit.layers}
    lost = (unit.layers for unit in joined.units if unit.held or unit.kind == "tied")
    held = able.intersection(name for layers in lost for name in layers)
    if not crossed or not held:
        return joined
    # what cannot fall in columns stays as it is, so that it can be lesioned still
    apart = [rows for rows in crossed if held.isdisjoint(_layers(plain, rows))]
    joined = _divided(plain, coupling, names, apart)
    units = (
        unit if held.isdisjoint(unit.layers) else replace(unit, held=HELD) for unit in joined.units
    )
    return replace(joined, units=tuple(units))


def _divided(
    plain: Joined, coupling: Coupling, names: dict[str, str], crossed: Sequence[np.ndarray]
) -> Joined:
    """The units whose channels fall in columns of some rows, and whose parts lose equally many."""
    pairs = [(np.broadcast_to(rows[:1], rows[1:].shape), rows[1:]) for rows in crossed]
    united = [(first.reshape(-1), rest.reshape(-1), "same") for first, rest in pairs]
    joined = plain
    if united:
        joined = _joined(replace(coupling, united=coupling.united + united), names)
    cells = [joined.labels(raw) for raw in coupling.cells]
    parts = [rows for raw in coupling.parts if not _whole(rows := joined.labels(raw))]
    return replace(joined, units=tuple(_with_parts(unit, cells + parts) for unit in joined.units))


def _with_parts(unit: Unit, grouped: Sequence[np.ndarray]) -> Unit:
    """The unit with the cells that parts of it ask for as well; held where they cannot be met."""
    if unit.kind == "tied":
        return unit
    divided = _with_cells(unit, grouped)
    return replace(unit, held=HELD) if divided.kind == "tied" else divided


def _layers(joined: Joined, rows: np.ndarray) -> set[str]:
    """The layers that make the channels in some rows."""
    labels = set(joined.labels(rows).reshape(-1).tolist())
    units = (unit for unit in joined.units if labels.intersection(unit.labels))
    return {layer for unit in units for layer in unit.layers}


def _joined(coupling: Coupling, names: dict[str, str]) -> Joined:
    """The units with the cells of grouped operations."""
    component = components(coupling.count, [(a, b) for a, b, _ in coupling.united])
    makings = list(coupling.makings.values())
    reasons = _reasons(coupling, component)
    several = np.unique(component[added(coupling)])
    number = np.full(component.max(initial=0) + 1, CONSTANT)
    units, first = [], 0
    for group in _shared(component, makings):
        number[group] = first + np.arange(len(group))
        layers = tuple(names[m.weight] for m in makings if np.isin(component[m.makes], group).any())
        reason = next((reasons[channel] for channel in group if channel in reasons), "")
        units.append(_unit(layers, first, len(group), reason, bool(np.isin(several, group).any())))
        first += len(group)
    joined = Joined(tuple(units), number[component])
    cells = [joined.labels(raw) for raw in coupling.cells]
    return replace(joined, units=tuple(_with_cells(unit, cells) for unit in units))


def _divisible(joined: Joined, rows: np.ndarray) -> bool:
    """Whether rows of channels are exchanged with what they hold, and none of these is tied."""
    labels = joined.labels(rows)
    inside = (labels[labels >= 0] if (labels >= 0).all() else labels[:0]).tolist()
    kinds = {unit.kind for unit in joined.units if set(inside).intersection(unit.labels)}
    return bool(inside) and not _whole(labels) and "tied" not in kinds


def _whole(rows: np.ndarray) -> bool:
    """Whether every row is one channel, so that it falls as a whole."""
    return bool((rows == rows[:, :1]).all())


def _shared(component: np.ndarray, makings: Sequence[Making]) -> list[list[int]]:
    """Components by unit: those that share a layer.  A depthwise layer follows, and joins none."""
    made = np.concatenate([np.zeros(0, int), *(m.makes for m in makings if not m.depthwise)])
    known = set(component[made].tolist())
    makers = [
        component[m.makes]
        for m in makings
        if not m.depthwise or not known.intersection(component[m.makes].tolist())
    ]
    links = [(channels, np.full(len(channels), channels[0])) for channels in makers]
    unit = components(int(component.max(initial=0)) + 1, links)
    groups: dict[int, dict[int, None]] = {}
    for channels in makers:
        groups.setdefault(unit[channels[0]], {}).update(dict.fromkeys(channels.tolist()))
    return [list(group) for group in groups.values()]


def _reasons(coupling: Coupling, component: np.ndarray) -> dict[int, str]:
    """Why a component's channels cannot be removed."""
    reasons: dict[int, str] = {}
    for labels, reason in coupling.tied:
        for channel in np.unique(component[labels]).tolist():
            reasons.setdefault(channel, reason)
    return reasons


def _unit(layers: tuple[str, ...], first: int, channels: int, reason: str, several: bool) -> Unit:
    if not reason and channels == 1:
        reason = "has a single channel"
    kind = "tied" if reason else "coupled" if several else "free"
    return Unit(layers[0], kind, first, channels, layers, (), reason)


def _with_cells(unit: Unit, grouped: Sequence[np.ndarray]) -> Unit:
    """The unit with the cells that grouped operations ask for; tied where they cannot be met."""
    keys: dict[int, tuple[Place, ...]] = {label: () for label in unit.labels}
    operations = []
    for rows in grouped:
        inside = (rows >= unit.labels.start) & (rows < unit.labels.stop)
        if not inside.any():
            continue
        # groups that hold the same of its channels lose the same
        rows = np.unique(np.sort(np.where(inside, rows, CONSTANT), axis=1), axis=0)
        if len(rows) == 1:
            continue
        places = _places(rows)
        if places is None:
            return _tied(unit, "a grouped operation reads one of its channels more than once")
        operations.append(rows)
        for label in keys:
            keys[label] += (places.get(label, NOWHERE),)
    cells: dict[tuple[Place, ...], list[int]] = {}
    for label, key in keys.items():
        cells.setdefault(key, []).append(label)
    if any(_uneven(rows, list(cells.values())) for rows in operations):
        return _tied(unit, "its groups are of different sizes and cannot lose equally many")
    partition = tuple(map(tuple, cells.values()))
    if unit.kind != "tied" and max(map(len, partition)) == 1:
        return _tied(unit, "each of its groups has a single channel")
    return replace(unit, cells=partition)


def _places(rows: np.ndarray) -> dict[int, Place] | None:
    """For each channel the group that holds it, and how often; None where two groups do."""
    places: dict[int, Place] = {}
    for row, labels in enumerate(rows.tolist()):
        for label, often in Counter(labels).items():
            if label >= 0 and places.setdefault(label, (row, often)) != (row, often):
                return None
    return places


def _uneven(rows: np.ndarray, cells: Sequence[Sequence[int]]) -> bool:
    """Whether the rows of a grouped operation hold cells of different sizes, or some hold none."""
    cell = {label: number for number, labels in enumerate(cells) for label in labels}
    held = [Counter(cell[label] for label in row if label in cell) for row in rows.tolist()]
    sizes = [[(len(cells[number]), often) for number, often in row.items()] for row in held]
    return len({tuple(sorted(several)) for several in sizes}) > 1


def _tied(unit: Unit, reason: str) -> Unit:
    cells = (tuple(unit.labels),)
    return replace(unit, kind="tied", cells=cells, reason=unit.reason or reason)

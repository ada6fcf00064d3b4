"""What a network is made of: its layers, the units that fall together, and the tensors they shape.

These records hold names, numbers and tuples only; `lesion.layers` makes them from a network.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lesion.methods import Bound
from lesion.words import grouped

CONSTANT = -1  # the label of a position that belongs to no channel, so that nothing removes it


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer.

    number: Li's number (order of execution, projection shortcuts not counted); None for those
    stage, block: see `lesion.network.stages`; None where the layer belongs to none
    position: any of "first of stage", "last of stage", "down-sampling"
    size: its output's feature map, without batch and channels, and size_in: its input's, () where
        that is not known; positions: how many pixels or tokens of one image it computes, all calls
        together
    weight, bias: the names of its parameters; macs: multiply-accumulates for one image
    unit: the unit its output channels belong to; branch: why it cannot be cut as a branch, or ""
    reads, makes: the labels of its input channels, and of its output channels, filter by filter
    """

    name: str
    number: int | None
    kind: str
    channels_in: int
    channels: int
    groups: int
    kernel: tuple[int, ...]
    size: tuple[int, ...]
    positions: int
    macs: int
    weight: str
    bias: str | None
    unit: str
    branch: str
    stage: int | None = None
    block: str | None = None
    position: tuple[str, ...] = ()
    reads: tuple[int, ...] = ()
    makes: tuple[int, ...] = ()
    size_in: tuple[int, ...] = ()

    @property
    def depthwise(self) -> bool:
        """Whether every filter reads one channel, so that its output channels follow its input."""
        return self.groups > 1 and self.groups == self.channels_in


@dataclass(frozen=True)
class Unit:
    """Channels that fall together.

    kind: "free" (one layer makes them; depthwise layers and gates may follow), "coupled" (several
        layers add into them) or "tied" (cannot be removed, `reason` says why)
    first: its channels carry the labels first, first + 1, … first + channels - 1
    layers: the layers whose filters make the channels, in order of execution
    cells: labels that must lose equally many, one tuple a cell (grouped convolutions, group norm,
        equal parts into which a forward divides its channels)
    held: why it can be lesioned but not be made smaller: its forward holds numbers of channels
    """

    name: str
    kind: str
    first: int
    channels: int
    layers: tuple[str, ...]
    cells: tuple[tuple[int, ...], ...]
    reason: str = ""
    held: str = ""

    @property
    def labels(self) -> range:
        return range(self.first, self.first + self.channels)


@dataclass(frozen=True)
class Block:
    """A residual block, y = x + f(x), or a dense one, y = [x, f(x)]: the branch f that x passes.

    name: that of the module which holds its layers
    layers: those that run in the branch alone, in order of execution; shared: those that run
        elsewhere as well; macs: multiply-accumulates of the branch for one image
    stage, position: as of its last layer
    unit: of a dense block the unit whose channels it appends, "" of one that is added
    """

    name: str
    layers: tuple[str, ...]
    shared: tuple[str, ...] = ()
    macs: int = 0
    stage: int | None = None
    position: tuple[str, ...] = ()
    unit: str = ""

    @property
    def members(self) -> tuple[str, ...]:
        """All layers that run in the branch."""
        return self.layers + self.shared


@dataclass(frozen=True)
class Parameter:
    """A parameter or buffer: its shape, and for each axis that follows channels their labels.

    A grouped layer's weight has on its axis 1 the labels of the first group; the others lose as
    many.
    """

    name: str
    shape: tuple[int, ...]
    axes: Mapping[int, tuple[int, ...]]
    trained: bool

    def kept(self, dropped: np.ndarray) -> tuple[int, ...]:
        """Its shape once the labels in the boolean array `dropped` are gone."""
        shape = list(self.shape)
        for axis, labels in self.axes.items():
            shape[axis] = int(keeps(labels, dropped).sum())
        return tuple(shape)


def keeps(labels: tuple[int, ...] | np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Which positions survive, as booleans: those whose label is not dropped, and constants."""
    ids = np.asarray(labels)
    stay: np.ndarray = (ids == CONSTANT) | ~dropped[np.maximum(ids, 0)]
    return stay


@dataclass(frozen=True)
class Anatomy:
    """Layers in order of execution, units, the parameters that they shape, and blocks.

    blocks: those that a network does without, since a stream passes them; in order of execution
    notes: what could not be followed, one sentence each
    whole: why the network is measured by whole forward passes; "" where it is replayed
    """

    layers: tuple[Layer, ...]
    units: tuple[Unit, ...]
    parameters: tuple[Parameter, ...]
    notes: tuple[str, ...] = ()
    whole: str = ""
    blocks: tuple[Block, ...] = ()

    _repr_html_ = Bound("anatomy_html", "lesion.reports.notebook")

    def __repr__(self) -> str:
        kinds = [unit.kind for unit in self.units]
        count = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("free", "coupled", "tied"))
        macs = grouped(sum(layer.macs for layer in self.layers))
        return f"<Anatomy: {len(self.layers)} layers in {len(kinds)} units ({count}), {macs} MACs>"

    @cached_property
    def layer(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def unit(self) -> dict[str, Unit]:
        return {unit.name: unit for unit in self.units}

    @cached_property
    def block(self) -> dict[str, Block]:
        """The blocks by name; of a study that was made before blocks were kept, as layers name
        theirs."""
        members: dict[str, list[Layer]] = {}
        for layer in self.layers if not self.blocks else ():
            if layer.block is not None:
                members.setdefault(layer.block, []).append(layer)
        named = [
            Block(
                name,
                tuple(layer.name for layer in layers),
                stage=layers[-1].stage,
                position=layers[-1].position,
            )
            for name, layers in members.items()
        ]
        return {block.name: block for block in (*self.blocks, *named)}

    @cached_property
    def stages(self) -> dict[str, tuple[Layer, ...]]:
        """The layers of each stage, by the name of a target; "stem" before the first."""
        members: dict[int, list[Layer]] = {}
        for layer in self.layers:
            if layer.stage is not None:
                members.setdefault(layer.stage, []).append(layer)
        return {
            f"stage {number}" if number else "stem": tuple(layers)
            for number, layers in members.items()
        }

    @cached_property
    def parameter(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @cached_property
    def _along(self) -> tuple[np.ndarray, np.ndarray]:
        """Every label along an axis of a layer's weight, and the layer's place beside it."""
        axes = [
            (place, labels)
            for place, layer in enumerate(self.layers)
            for labels in self.parameter[layer.weight].axes.values()
        ]
        labels = np.array([label for _, labels in axes for label in labels], int)
        places = np.repeat([place for place, _ in axes], [len(labels) for _, labels in axes])
        channels = labels != CONSTANT
        return labels[channels], places[channels].astype(int)

    def shrinking(self, dropped: np.ndarray) -> list[str]:
        """The layers whose weights are smaller without the labels in the boolean array."""
        labels, places = self._along
        return [self.layers[place].name for place in np.unique(places[dropped[labels]])]

    @cached_property
    def places(self) -> dict[str, int]:
        """Where in the order of execution layers are; units and blocks by their first layer."""
        layers = {name: place for place, name in enumerate(self.layer)}
        firsts = {unit.name: unit.layers[0] for unit in self.units if unit.layers}
        firsts |= {name: block.members[0] for name, block in self.block.items()}
        return {name: layers[first] for name, first in firsts.items()} | layers

    def place(self, target: str, kind: str) -> int:
        """Where a target of a kind is: a stage where its first layer is; what is of the whole
        network behind all layers, in order of the number in its name."""
        if kind == "network":
            return len(self.layers) + int("0" + "".join(filter(str.isdecimal, target)))
        return self.places[self.stages[target][0].name if kind == "stage" else target]

    @property
    def channels(self) -> int:
        """How many labels there are."""
        return max((unit.first + unit.channels for unit in self.units), default=0)

    def made_by(self, layer: str) -> tuple[int, ...]:
        """The labels of a layer's output channels, filter by filter."""
        record = self.layer[layer]
        if record.makes:
            return record.makes
        weight = self.parameter[record.weight]  # left to it by a record made by hand
        return weight.axes[1 if record.kind.startswith("transposed") else 0]

    def _rows(self) -> Iterator[dict[str, object]]:
        for layer in self.layers:
            unit = self.unit[layer.unit]
            yield {
                "layer": layer.name,
                "number": layer.number,
                "stage": layer.stage,
                "block": layer.block,
                "position": ", ".join(layer.position),
                "kind": layer.kind,
                "channels": layer.channels,
                "unit": unit.name,
                "status": unit.kind,
                "macs": layer.macs,
                "params": self._numbers(layer),
                "reason": unit.reason or unit.held,
            }

    def _numbers(self, layer: Layer) -> int:
        """How many numbers a layer's weight and bias hold."""
        names = (name for name in (layer.weight, layer.bias) if name)
        return sum(int(np.prod(self.parameter[name].shape)) for name in names)

    def table(self) -> pd.DataFrame:
        """One row a layer: name, number, stage, block, position, kind, channels, unit, costs."""
        return pd.DataFrame(list(self._rows())).astype({"number": "Int64", "stage": "Int64"})

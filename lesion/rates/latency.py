"""How long a network takes at narrower widths: a table of each layer's time on this device.

Every layer runs alone at several widths of what it reads and what it makes, and a bilinear law
a + b·reads + c·makes + d·reads·makes is fitted to the medians.  Kernels work on whole blocks of
channels, so that 49 may take as long as 64: both widths count up to blocks, of the sizes that fit
best.  What the whole network takes beyond its layers (normalisation, activation, additions) goes by
the numbers that the layers make.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from lesion.boundary.files import write
from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy, Layer
from lesion.network.dissection import Dissection
from lesion.network.program import Run, Step, compile_program, layout
from lesion.network.rules.layers import CONVOLUTIONS
from lesion.rates.candidates import Candidates
from lesion.rates.costs import Account, Product, Terms, axis_terms
from lesion.rates.runtimes import BRIEF, KINDS, Runtime, measured, milliseconds, module_of
from lesion.subject.batch import moved
from lesion.subject.network import device_of

WIDTHS = (0.2, 0.42, 0.55, 0.68, 0.8, 1.0)  # that tell blocks apart, whatever the channels
BLOCKS = (1, 4, 8, 16, 32)
WORSE = 1.05  # by so much larger blocks have to fit better than smaller ones


@dataclass(frozen=True)
class LayerTime:
    """The law of one layer, milliseconds a batch.

    law: a, b, c, d as above; spread: root mean square by which medians miss it
    blocks: to whole multiples of which the channels read and made count up
    """

    layer: str
    law: tuple[float, float, float, float]
    spread: float
    blocks: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "LayerTime":
        """The law that an entry of a file holds."""
        return cls(entry["layer"], tuple(entry["law"]), entry["spread"], tuple(entry["blocks"]))

    def at(self, reads: int, makes: int) -> float:
        """Milliseconds at a width.

        >>> LayerTime("conv", (1.0, 0.0, 0.0, 0.01), 0.1, (1, 16)).at(10, 17)
        4.2
        """
        a, b, c, d = self.law
        wide, deep = (_up(n, block) for n, block in zip((reads, makes), self.blocks, strict=True))
        return float(a + b * wide + c * deep + d * wide * deep)


@dataclass(frozen=True)
class Times:
    """The layers' times on a device, for batches of `batch` images; milliseconds.

    whole: what the intact network takes; rest: of it what the layers' own times do not explain
    """

    device: str
    threads: int
    batch: int
    whole: float
    rest: float
    layers: tuple[LayerTime, ...]

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Times":
        """The table in a JSON file. Raises LesionError where it holds none."""
        try:
            content: dict[str, Any] = json.loads(Path(path).read_text())
            layers = tuple(LayerTime.of(entry) for entry in content.pop("layers"))
            return cls(layers=layers, **content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LesionError(
                f"Expected a table of times as `lesion time` writes it in {path}, but it cannot be "
                f"read: {error}."
            ) from error

    def account(self, anatomy: Anatomy, candidates: Candidates) -> Account:
        """The whole network's milliseconds as a sum of products, for the solver."""
        if missing := {timed.layer for timed in self.layers} ^ set(anatomy.layer):
            raise LesionError(
                f"Expected a table of times of this network, but it differs in "
                f"{', '.join(sorted(missing)[:3])}: measure its times."
            )
        terms = axis_terms(anatomy, candidates)
        numbers = sum(layer.positions * layer.channels for layer in anatomy.layers)
        products = []
        for timed in self.layers:
            layer = anatomy.layer[timed.layer]
            rest = self.rest * layer.positions / numbers
            a, b, c, d = timed.law
            deep, made = len(layer.makes), terms(layer.makes)
            (wide, reads), (tall, makes) = (
                _in_blocks(len(labels), terms(labels), block)
                for labels, block in zip((layer.reads, layer.makes), timed.blocks, strict=True)
            )
            products += [
                Product(a, 1, 1, {}, {}),
                Product(b, 1, wide, {}, reads),
                Product(c, 1, tall, {}, makes),
                Product(d, tall, wide, makes, reads),
                Product(rest, 1, deep, {}, made),
            ]
        return Account(tuple(products))

    @property
    def spread(self) -> float:
        """How far a sum of the layers' laws may be off by their own misfit, one deviation."""
        return float(np.sqrt(sum(timed.spread**2 for timed in self.layers)))


@torch.no_grad()
def time_layers(
    dissection: Dissection, example: Any, batch: int = 32, runtime: Runtime | None = None
) -> Times:
    """The table for a network as it runs now: its device, its number of threads.

    example: a batch of images, repeated or cut to `batch`. Batch norm is not folded, as in a
    network that is run as it is.
    runtime: where layers and network run, by default in torch; see `lesion.rates.runtimes`
    """
    call = dissection.call
    device = device_of(call.network)
    tensors = [_repeated(t, batch) for t in call.tensors(moved(example, device))]
    program = compile_program(dissection.graph, fold=False, lay_out=False)
    layer_at = _layers_at(dissection)
    run, times = Run(program, tensors), []
    known: dict[tuple[object, ...], LayerTime] = {}  # equal layers are timed once
    for place, step in enumerate(program.steps):
        run.forward(place)
        if step.index in layer_at:
            layer, x = dissection.anatomy.layer[layer_at[step.index]], step_inputs(step, run)
            key = (step.name, x.shape, step.args[1].shape, repr((step.args[3:], step.kwargs)))
            if key not in known:
                known[key] = _timed(layer, step, x, runtime)
            times.append(replace(known[key], layer=layer.name))
    if runtime is None:
        whole = milliseconds(lambda: call(*tensors), 20 * BRIEF)
    else:
        whole = measured(runtime, call, tensors[0])
    merged = tuple(_merged(times))
    full = 0.0
    for timed in merged:
        layer = dissection.anatomy.layer[timed.layer]
        full += timed.at(len(layer.reads), len(layer.makes))
    return Times(str(device), torch.get_num_threads(), batch, whole, max(whole - full, 0.0), merged)


def _repeated(tensor: Tensor, batch: int) -> Tensor:
    if not tensor.dim():
        return tensor
    times = -(-batch // len(tensor))
    return tensor.repeat(times, *[1] * (tensor.dim() - 1))[:batch]


def _layers_at(dissection: Dissection) -> dict[int, str]:
    """The layer that each operation of the graph is."""
    graph = dissection.graph
    names = {layer.weight: layer.name for layer in dissection.anatomy.layers}
    parameters = (n for n in graph.nodes if n.kind == "parameter" and n.name in names)
    weights = {n.index: names[n.name] for n in parameters}
    layer_at = {}
    for node in graph.nodes:
        if node.kind == "call" and len(node.args) > 1:
            index = getattr(node.args[1], "index", None)
            if index in weights:
                layer_at[node.index] = weights[index]
    return layer_at


def step_inputs(step: Step, run: Run) -> Tensor:
    """What a layer reads."""
    value: Tensor = run.values[step.inputs[0]]
    return value


def _timed(layer: Layer, step: Step, x: Tensor, runtime: Runtime | None) -> LayerTime:
    """A layer's law from its times at several widths; in proportion to them where it has groups."""

    def took(x: Tensor, weight: Tensor, *rest: Any) -> float:
        if runtime is None or step.name not in KINDS:
            return milliseconds(lambda: step.op(x, weight, *rest, **step.kwargs))
        return measured(runtime, module_of(step, weight, rest[0] if rest else None), x)

    weight = step.args[1]
    wide, deep = len(layer.reads), len(layer.makes)
    plain = layer.groups == 1 and step.name in CONVOLUTIONS | {"linear"}
    if not plain:
        time = took(x, *step.args[1:])
        each = (time / deep, 0.0) if layer.depthwise else (0.0, time / wide / deep)
        return LayerTime(layer.name, (0.0, 0.0, *each), 0.1 * time)
    axis = x.dim() - 1 if step.name == "linear" else 1
    widths, times = [], []
    for part in WIDTHS:
        for share in WIDTHS:
            reads, makes = max(1, round(part * wide)), max(1, round(share * deep))
            inputs = x.narrow(axis, 0, reads).contiguous(memory_format=layout(x))
            kernel = weight[:makes, :reads].contiguous(memory_format=layout(weight))
            bias = step.args[2] if len(step.args) > 2 else None
            rest = (None if bias is None else bias[:makes].contiguous(), *step.args[3:])
            times.append(took(inputs, kernel, *rest))
            widths.append((reads, makes))
    return fitted(layer.name, widths, times)


def fitted(layer: str, widths: Sequence[tuple[int, int]], times: Sequence[float]) -> LayerTime:
    """The law and the blocks that miss a layer's times by least, relative to them.

    widths: (channels read, channels made), each with its milliseconds in `times`
    Laws have no negative part. Of blocks that fit almost as well the smallest are taken, and none
    larger than the layer.
    """
    measured, laws, axes = np.array(times), [], np.array(widths).T
    reads, makes = ([block for block in BLOCKS if block <= axis.max()] for axis in axes)
    for blocks in sorted(product(reads, makes), key=prod):
        wide, deep = (_up(axis, block) for axis, block in zip(axes, blocks, strict=True))
        table = np.column_stack([np.ones(len(wide)), wide, deep, wide * deep])
        scale = table.max(0)
        coefficients, missed = nnls(table / scale / measured[:, None], np.ones(len(measured)))
        residual = float(np.sqrt(np.mean((table @ (coefficients / scale) - measured) ** 2)))
        law = LayerTime(layer, tuple((coefficients / scale).tolist()), residual, blocks)
        laws.append((missed, law))
    least = min(missed for missed, _ in laws)
    return next(law for missed, law in laws if missed <= WORSE * least + 1e-9)


def _merged(times: Sequence[LayerTime]) -> Iterator[LayerTime]:
    """A layer that runs several times takes the sum, in the blocks of its first run."""
    by_name: dict[str, list[LayerTime]] = {}
    for timed in times:
        by_name.setdefault(timed.layer, []).append(timed)
    for name, runs in by_name.items():
        law = np.sum([timed.law for timed in runs], axis=0)
        spread = float(np.sqrt(sum(timed.spread**2 for timed in runs)))
        yield LayerTime(name, tuple(law.tolist()), spread, runs[0].blocks)


def _up(width: Any, block: int) -> Any:
    """The next multiple of a block."""
    return -(-width // block) * block


def _in_blocks(size: int, terms: Terms, block: int) -> tuple[int, Terms]:
    """An axis in whole blocks and by how many channels of them units shorten it.

    Where several units shorten it, what each takes cannot be told in blocks, and so stays as it is.
    """
    if len(terms) != 1:
        return _up(size, block), terms
    ((unit, falls),) = terms.items()
    return _up(size, block), {unit: _up(size, block) - _up(size - falls, block)}

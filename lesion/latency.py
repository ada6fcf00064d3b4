"""How long a network takes at narrower widths: a table of each layer's time on this device.

Every layer runs alone at several widths of what it reads and what it makes, and a bilinear law
a + b·reads + c·makes + d·reads·makes is fitted to the medians.  What the whole network takes beyond
its layers (normalisation, activation, additions) goes by the numbers that the layers make.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.utils.benchmark import Timer

from lesion.accounting import Account, Product, axis_terms
from lesion.adapter import moved
from lesion.anatomy import Anatomy, Layer
from lesion.candidates import Candidates
from lesion.coupling import CONVOLUTIONS
from lesion.dissect import Dissection
from lesion.errors import LesionError
from lesion.replay import Run, Step, compile_program, layout
from lesion.subject import device_of

WIDTHS = (0.25, 0.5, 0.75, 1.0)
BRIEF = 0.02  # seconds for each width of each layer


@dataclass(frozen=True)
class LayerTime:
    """The law of one layer, milliseconds a batch.

    law: a, b, c, d as above; spread: root mean square by which medians miss it
    """

    layer: str
    law: tuple[float, float, float, float]
    spread: float


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
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Times":
        """The table in a JSON file. Raises LesionError where it holds none."""
        try:
            own: dict[str, Any] = json.loads(Path(path).read_text())
            layers = (LayerTime(one["layer"], tuple(one["law"]), one["spread"])
                      for one in own.pop("layers"))  # fmt: skip
            return cls(layers=tuple(layers), **own)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LesionError(
                f"Expected a table of times as `lesion time` writes it in {path}, but it cannot be "
                f"read: {error}."
            ) from error

    def account(self, anatomy: Anatomy, candidates: Candidates) -> Account:
        """The whole network's milliseconds as a sum of products, for the solver."""
        if missing := {one.layer for one in self.layers} ^ set(anatomy.layer):
            raise LesionError(
                f"Expected a table of times of this network, but it differs in "
                f"{', '.join(sorted(missing)[:3])}: measure its times."
            )
        terms = axis_terms(anatomy, candidates)
        numbers = sum(layer.positions * layer.channels for layer in anatomy.layers)
        found = []
        for one in self.layers:
            layer = anatomy.layer[one.layer]
            reads, makes = terms(layer.reads), terms(layer.makes)
            rest = self.rest * layer.positions / numbers
            a, b, c, d = one.law
            wide, deep = len(layer.reads), len(layer.makes)
            found += [
                Product(a, 1, 1, {}, {}),
                Product(b, 1, wide, {}, reads),
                Product(c + rest, 1, deep, {}, makes),
                Product(d, deep, wide, makes, reads),
            ]
        return Account(tuple(found))

    @property
    def spread(self) -> float:
        """How far a sum of the layers' laws may be off by their own misfit, one deviation."""
        return float(np.sqrt(sum(one.spread**2 for one in self.layers)))


@torch.no_grad()
def time_layers(dissection: Dissection, example: Any, batch: int = 32) -> Times:
    """The table for a network as it runs now: its device, its number of threads.

    example: a batch of images, repeated or cut to `batch`. Batch norm is not folded, as in a
    network that is run as it is.
    """
    call = dissection.call
    device = device_of(call.network)
    tensors = [_repeated(t, batch) for t in call.tensors(moved(example, device))]
    program = compile_program(dissection.graph, fold=False, lay_out=False)
    layer_at = _layers_at(dissection)
    run, found = Run(program, tensors), []
    for place, step in enumerate(program.steps):
        run.forward(place)
        if step.index in layer_at:
            layer = dissection.anatomy.layer[layer_at[step.index]]
            found.append(_timed(layer, step, step_inputs(step, run)))
    whole = _milliseconds(lambda: call(*tensors), 20 * BRIEF)
    merged = tuple(_merged(found))
    full = sum(
        _at(one.law, len(dissection.anatomy.layer[one.layer].reads),
            len(dissection.anatomy.layer[one.layer].makes))
        for one in merged
    )  # fmt: skip
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
    weights = {n.index: names[n.name] for n in graph.nodes
               if n.kind == "parameter" and n.name in names}  # fmt: skip
    found = {}
    for node in graph.nodes:
        if node.kind == "call" and len(node.args) > 1:
            index = getattr(node.args[1], "index", None)
            if index in weights:
                found[node.index] = weights[index]
    return found


def step_inputs(step: Step, run: Run) -> Tensor:
    """What a layer reads."""
    value: Tensor = run.values[step.inputs[0]]
    return value


def _timed(layer: Layer, step: Step, x: Tensor) -> LayerTime:
    """A layer's law from its times at several widths; in proportion to them where it has groups."""
    weight = step.args[1]
    wide, deep = len(layer.reads), len(layer.makes)
    plain = layer.groups == 1 and step.name in CONVOLUTIONS | {"linear"}
    if not plain:
        own = _milliseconds(lambda: step.op(x, *step.args[1:], **step.kwargs), BRIEF)
        law = (0.0, 0.0, own / deep, 0.0) if layer.depthwise else (0.0, 0.0, 0.0, own / wide / deep)
        return LayerTime(layer.name, law, 0.1 * own)
    axis = x.dim() - 1 if step.name == "linear" else 1
    rows, values = [], []
    for part in WIDTHS:
        for share in WIDTHS:
            reads, makes = max(1, round(part * wide)), max(1, round(share * deep))
            inputs = x.narrow(axis, 0, reads).contiguous(memory_format=layout(x))
            own = weight[:makes, :reads].contiguous(memory_format=layout(weight))
            bias = step.args[2] if len(step.args) > 2 else None
            rest = (None if bias is None else bias[:makes].contiguous(), *step.args[3:])
            values.append(_milliseconds(lambda i=inputs, w=own, r=rest: step.op(i, w, *r), BRIEF))
            rows.append((1.0, reads, makes, reads * makes))
    table, times = np.array(rows), np.array(values)
    scale = table.max(0)
    found = nnls(table / scale / times[:, None], np.ones(len(times)))[0] / scale  # relative errors
    residual = float(np.sqrt(np.mean((table @ found - times) ** 2)))
    return LayerTime(layer.name, tuple(found.tolist()), residual)


def _milliseconds(call: Any, seconds: float) -> float:
    """The median time of a call; on a GPU its work is waited for."""
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return 1000 * float(timer.blocked_autorange(min_run_time=seconds).median)


def _merged(found: Sequence[LayerTime]) -> Iterator[LayerTime]:
    """A layer that runs several times takes the sum."""
    by_name: dict[str, list[LayerTime]] = {}
    for one in found:
        by_name.setdefault(one.layer, []).append(one)
    for name, own in by_name.items():
        law = np.sum([one.law for one in own], axis=0)
        spread = float(np.sqrt(sum(one.spread**2 for one in own)))
        yield LayerTime(name, tuple(law.tolist()), spread)


def _at(law: tuple[float, ...], reads: int, makes: int) -> float:
    a, b, c, d = law
    return a + b * reads + c * makes + d * reads * makes

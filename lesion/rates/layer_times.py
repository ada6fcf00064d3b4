"""How long each layer takes alone, at several widths of what it reads and what it makes.

A bilinear law a + b·reads + c·makes + d·reads·makes is fitted to the medians.  Kernels work on
whole blocks of channels, so that 49 may take as long as 64: both widths count up to blocks, of the
sizes that fit best.  Some runtimes leave their fast kernels where a layer reads channels that make
no whole fours (ONNX Runtime on the CPU, whose layouts in blocks ask for them): such widths count by
a share more, if that fits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from lesion.network.anatomy import Layer
from lesion.network.dissection import Dissection
from lesion.network.program import Run, Step, compile_program, layout
from lesion.network.rules.layers import CONVOLUTIONS
from lesion.rates.latency import EIGHT, FOUR, LayerTime, counted
from lesion.rates.runtimes import KINDS, Runtime, measured, milliseconds, module_of

SHARES = (0.2, 0.3, 0.42, 0.55, 0.68, 0.8, 0.9, 1.0)  # that tell blocks apart
BLOCKS = (1, 4, 8, 16, 32)
GROUPS = 3  # its place among what follows a convolution's bias
LEAST = -0.9  # by which share widths count less at most
WORSE = 1.05  # by so much a law has to fit better than a simpler one


@torch.no_grad()
def time_layers(
    dissection: Dissection, tensors: Sequence[Tensor], runtime: Runtime | None = None
) -> tuple[LayerTime, ...]:
    """The laws of a network's layers as they run now: its device, its number of threads.

    tensors: a batch, as the network takes it. Batch norm is not folded, as in a network that is run
    as it is.
    runtime: where layers run, by default in torch; see `lesion.rates.runtimes`
    """
    program = compile_program(dissection.graph, fold=False, lay_out=False)
    layer_at = _layers_at(dissection)
    run, times = Run(program, list(tensors)), []
    known: dict[tuple[object, ...], LayerTime] = {}  # equal layers are timed once
    for place, step in enumerate(program.steps):
        run.forward(place)
        if step.index in layer_at:
            layer, x = dissection.anatomy.layer[layer_at[step.index]], step_inputs(step, run)
            key = (step.name, x.shape, step.args[1].shape, repr((step.args[3:], step.kwargs)))
            if key not in known:
                known[key] = _timed(layer, step, x, runtime)
            times.append(replace(known[key], layer=layer.name))
    return tuple(_merged(times))


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
    """A layer's law from its times at several widths; in proportion to them where it has groups
    but is not depthwise."""
    weight, wide, deep = step.args[1], len(layer.reads), len(layer.makes)
    plain = layer.groups == 1 and step.name in CONVOLUTIONS | {"linear"}
    single = (
        layer.depthwise
        and wide == deep
        and step.name in CONVOLUTIONS
        and len(step.args) > 3 + GROUPS
    )
    if not plain and not single:
        time = _took(step, x, weight, step.args[2:], runtime)
        each = (time / deep, 0.0) if layer.depthwise else (0.0, time / wide / deep)
        return LayerTime(layer.name, (0.0, 0.0, *each), 0.1 * time)
    axis = x.dim() - 1 if step.name == "linear" else 1
    every = widths_of(wide)
    pairs = [(n, n) for n in every] if single else list(product(every, widths_of(deep)[::-2]))
    times = []
    for reads, makes in pairs:
        inputs = x.narrow(axis, 0, reads).contiguous(memory_format=layout(x))
        kernel = weight[:makes, :1] if single else weight[:makes, :reads]
        kernel = kernel.contiguous(memory_format=layout(weight))
        bias, *settings = step.args[2:] or (None,)
        if single:
            settings[GROUPS] = makes
        rest = (None if bias is None else bias[:makes].contiguous(), *settings)
        times.append(_took(step, inputs, kernel, rest, runtime))
    return fitted(layer.name, pairs, times)


def _took(
    step: Step, x: Tensor, weight: Tensor, rest: Sequence[Any], runtime: Runtime | None
) -> float:
    """Milliseconds of a step with another input, weight, and what follows these."""
    if runtime is None or step.name not in KINDS:
        return milliseconds(lambda: step.op(x, weight, *rest, **step.kwargs))
    changed = replace(step, args=(x, weight, *rest))
    return measured(runtime, module_of(changed, weight, rest[0] if rest else None), x)


def widths_of(channels: int) -> list[int]:
    """Widths to measure a layer at: by turns whole fours and such as are none, and its own.

    >>> widths_of(64)
    [12, 19, 28, 35, 44, 51, 56, 64]
    """
    widths = {channels}
    for turn, share in enumerate(SHARES[:-1]):
        width = round(share * channels)
        if channels > EIGHT:
            fours = max(FOUR, round(share * channels / FOUR) * FOUR)
            width = fours if turn % 2 == 0 else fours - 1
        widths.add(max(1, width))
    return sorted(widths)


def fitted(layer: str, widths: Sequence[tuple[int, int]], times: Sequence[float]) -> LayerTime:
    """The law, the blocks and the share that miss a layer's times by least, relative to them.

    widths: (channels read, channels made), each with its milliseconds in `times`
    Laws have no negative part. Of those that fit almost as well the one with the smallest blocks is
    taken, and one without a share for widths that are no whole fours before one with it; no block
    is larger than the layer.
    """
    axes, took = np.array(widths).T, np.array(times)
    reads, makes = ([block for block in BLOCKS if block <= axis.max()] for axis in axes)
    pairs = sorted(product(reads, makes), key=prod)
    even = [_law(axes, took, blocks, 0.0) for blocks in pairs]
    uneven = [_law(axes, took, blocks, _ragged(axes, took, blocks)) for blocks in pairs]
    least = min(missed for missed, _ in (*even, *uneven))
    near = (law for missed, law in (*even, *uneven) if missed <= WORSE * least + 1e-9)
    return replace(next(near), layer=layer)


def _law(
    axes: np.ndarray, took: np.ndarray, blocks: tuple[int, int], ragged: float
) -> tuple[float, LayerTime]:
    """By how much the best law with these blocks and this share misses, and that law."""
    table = _table(axes, blocks, ragged)
    law, missed = _solved(table, took)
    residual = float(np.sqrt(np.mean((table @ law - took) ** 2)))
    return missed, LayerTime("", tuple(law.tolist()), residual, blocks, ragged)


def _ragged(axes: np.ndarray, took: np.ndarray, blocks: tuple[int, int]) -> float:
    """By which share widths that are no whole fours count more, next to the law of all others;
    below 0 where they count less, since layouts need not be changed for them."""
    table = _table(axes, blocks, 0.0)
    ragged = _table(axes, blocks, 1.0)[:, 1] > table[:, 1]
    if ragged.all() or not ragged.any():
        return 0.0
    law, _ = _solved(table[~ragged], took[~ragged])
    reading = (table[ragged] * law)[:, [1, 3]].sum(1) / took[ragged]
    beyond = 1 - (table[ragged] @ law) / took[ragged]
    return max(LEAST, float(reading @ beyond / max(reading @ reading, 1e-12)))


def _table(axes: np.ndarray, blocks: tuple[int, int], ragged: float) -> np.ndarray:
    """What a law's four numbers are multiplied by."""
    wide = np.array([counted(width, blocks[0], ragged) for width in axes[0].tolist()])
    deep = np.array([counted(width, blocks[1]) for width in axes[1].tolist()])
    return np.column_stack([np.ones(len(wide)), wide, deep, wide * deep])


def _solved(table: np.ndarray, took: np.ndarray) -> tuple[np.ndarray, float]:
    """The numbers, none negative, that give the times with the least relative error, and that."""
    scale = np.maximum(table.max(0), 1e-12)
    law, missed = nnls(table / scale / took[:, None], np.ones(len(took)))
    return law / scale, float(missed)


def _merged(times: Sequence[LayerTime]) -> Iterator[LayerTime]:
    """A layer that runs several times takes the sum, in the blocks of its first run."""
    by_name: dict[str, list[LayerTime]] = {}
    for timed in times:
        by_name.setdefault(timed.layer, []).append(timed)
    for name, runs in by_name.items():
        law = np.sum([timed.law for timed in runs], axis=0)
        spread = float(np.sqrt(sum(timed.spread**2 for timed in runs)))
        yield replace(runs[0], layer=name, law=tuple(law.tolist()), spread=spread)

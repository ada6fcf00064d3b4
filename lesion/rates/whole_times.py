"""How long whole networks take, and what their times are made of.

Beside the intact network some smaller ones are timed, each in turns with it: with one rate for all
free units, and with rates drawn for each unit, coupled ones too.  The four numbers that make a
whole network's time of its layers' laws (`lesion.rates.latency`) are fitted to all of them, none of
them negative.  How far such a fit misses a network that it has not seen is found by leaving each
out in turn.
"""

from collections.abc import Callable, Iterator, Sequence
from statistics import median

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from lesion.network.anatomy import Unit
from lesion.network.dissection import Dissection
from lesion.network.graph import Call
from lesion.network.sliceable import Slicer
from lesion.rates.latency import EIGHT, LayerTime, Times, parts
from lesion.rates.layer_times import time_layers
from lesion.rates.runtimes import Runtime, clock
from lesion.subject.batch import moved
from lesion.subject.network import device_of

RATES = (0.25, 0.5, 0.75)  # of all free units
DRAWN = 8  # networks with rates of their own for each unit
LOWEST, HIGHEST = 0.1, 0.8  # of these rates
TURNS = 5


@torch.no_grad()
def time_network(
    dissection: Dissection, example: object, batch: int = 32, runtime: Runtime | None = None
) -> Times:
    """The table for a network as it runs now: its device, its number of threads.

    example: a batch of images, repeated or cut to `batch`
    runtime: where layers and networks run, by default in torch; see `lesion.rates.runtimes`
    """
    call = dissection.call
    device = device_of(call.network)
    tensors = [_repeated(t, batch) for t in call.tensors(moved(example, device))]
    layers = time_layers(dissection, tensors, runtime)
    intact, ours = clock(runtime, call, tensors), []
    dropped, theirs = [np.zeros(dissection.anatomy.channels, bool)], [1.0]
    for gone, small in smaller(dissection):
        turns = in_turns(intact, clock(runtime, Call(small, call.adapted, call.batch), tensors))
        ours += [turn for turn, _ in turns]
        theirs.append(median(their / our for our, their in turns))
        dropped.append(gone)
    whole = median(ours or [intact() for _ in range(TURNS)])
    table = np.array([parts(dissection.anatomy, layers, gone) for gone in dropped])
    coefficients = fitted(table, whole * np.array(theirs))
    return Times(
        str(device),
        torch.get_num_threads(),
        batch,
        whole,
        layers,
        *coefficients,
        missed(table, np.array(theirs)) if len(theirs) > 2 else _misfit(layers, table),
        len(theirs) - 1,
    )


def _repeated(tensor: Tensor, batch: int) -> Tensor:
    if not tensor.dim():
        return tensor
    times = -(-batch // len(tensor))
    return tensor.repeat(times, *[1] * (tensor.dim() - 1))[:batch]


def in_turns(one: Callable[[], float], another: Callable[[], float]) -> list[tuple[float, float]]:
    """What two clocks say, by turns."""
    return [(one(), another()) for _ in range(TURNS)]


def smaller(dissection: Dissection) -> Iterator[tuple[np.ndarray, nn.Module]]:
    """Smaller networks that run, each with the labels that it lacks."""
    units = [unit for unit in dissection.anatomy.units if unit.kind != "tied" and not unit.held]
    slicer, known = Slicer(dissection), {bytes(dissection.anatomy.channels)}
    for rates in _rates(units):
        gone = _dropped(dissection, rates)
        if gone.tobytes() not in known:
            known.add(gone.tobytes())
            small, problem = slicer.smaller(gone)
            if not problem:
                yield gone, small


def _rates(units: Sequence[Unit]) -> Iterator[list[tuple[Unit, float]]]:
    """What share of its channels each unit loses, network by network.

    Of those that are drawn every other one leaves whole eights, as rates for fast kernels do.
    """
    free = [unit for unit in units if unit.kind == "free"]
    for rate in RATES:
        yield [(unit, rate) for unit in free or units]
    numbers = np.random.default_rng(0)
    for turn in range(DRAWN):
        drawn = numbers.uniform(LOWEST, HIGHEST, len(units))
        if turn % 2 == 0:
            channels = np.array([unit.channels for unit in units])
            eights = np.maximum(np.round((1 - drawn) * channels / EIGHT), 1) * EIGHT
            drawn = np.where(channels > EIGHT, 1 - eights / np.maximum(channels, 1), drawn)
        lose = free if turn < DRAWN // 2 and free else units
        yield [(u, rate) for u, rate in zip(units, drawn.tolist(), strict=True) if u in lose]


def _dropped(dissection: Dissection, rates: Sequence[tuple[Unit, float]]) -> np.ndarray:
    """The labels that fall by these rates: the last of each cell, but never all of it."""
    gone = np.zeros(dissection.anatomy.channels, bool)
    for unit, rate in rates:
        for cell in unit.cells:
            fall = min(round(rate * len(cell)), len(cell) - 1)
            gone[list(cell[len(cell) - fall :])] = fall > 0
    return gone


def fitted(table: np.ndarray, times: np.ndarray) -> tuple[float, float, float, float]:
    """The start, scale, each and border of latency's sum by which networks' times are missed by
    least, relative to them.

    table: (networks, 4) what these are multiplied by, the intact network first; times: theirs
    The intact one, of which shares are taken, counts as much as all others together.  Alone it
    tells less: then what the layers do not explain goes by numbers that they make.
    """
    if len(times) == 1:
        (_, alone, numbers, _), whole = table[0], times[0]
        return 0.0, min(1.0, whole / alone), max(whole - alone, 0.0) / numbers, 0.0
    weight = np.ones(len(times))
    weight[0] = np.sqrt(len(times) - 1)
    size = np.maximum(table.max(0), 1e-12)
    numbers = nnls(table / size * (weight / times)[:, None], weight)[0] / size
    start, scale, each, border = numbers.tolist()
    return start, scale, each, border


def missed(table: np.ndarray, shares: np.ndarray) -> float:
    """The root mean square by which fits to all others miss a smaller network's share of the
    intact one's time, relative to it.

    table: as above; shares: of the networks, the intact one's is 1
    """
    errors = []
    for place in range(1, len(shares)):
        others = np.arange(len(shares)) != place
        predicted = table @ np.array(fitted(table[others], shares[others]))
        errors.append(predicted[place] / predicted[0] / shares[place] - 1)
    return float(np.sqrt(np.mean(np.square(errors))))


def _misfit(layers: Sequence[LayerTime], table: np.ndarray) -> float:
    """By how much the sum of layers' laws may be off by their own misfit, relative to it."""
    return float(np.sqrt(sum(timed.spread**2 for timed in layers)) / table[0, 1])

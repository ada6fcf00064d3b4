"""How many images fit at once."""

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from lesion.errors import LesionError
from lesion.network.program import Program, frees

SHARE = 0.5  # of the memory that is free, unless the user says how much
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse(text: str) -> int:
    """Bytes in a text such as "800M" or "1.5G" (powers of 1024).

    >>> parse("1.5G"), parse("64")
    (1610612736, 64)
    """
    number = text.strip().upper().removesuffix("IB").removesuffix("B")
    unit = number[-1:] if number[-1:] in UNITS else ""
    try:
        found = int(float(number.removesuffix(unit)) * UNITS[unit])
    except (ValueError, OverflowError):
        found = 0
    if found <= 0:
        raise LesionError(f"Expected an amount of memory such as 800M or 4G, got '{text}'.")
    return found


def free(device: torch.device) -> int:
    """Bytes that can still be had on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
        return int(kilobytes) * 1024
    except (OSError, ValueError):  # not Linux: what the system says is unused
        return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def that_fit(program: Program, sizes: Mapping[int, int], budget: int, most: int) -> int:
    """How many images, at most `most` and at least one, run at once within `budget` bytes."""
    return max(1, min(most, budget // max(peak(program, sizes), 1)))


def networks(network: nn.Module, room: int) -> int:
    """How many copies of a network's parameters and buffers fit in so many bytes, one at least."""
    tensors = chain(network.parameters(), network.buffers())
    return max(1, room // max(1, sum(tensor.nbytes for tensor in tensors)))


def peak(program: Program, sizes: Mapping[int, int]) -> int:
    """Bytes alive at most in one image's intact run, twice over: as much again for a replay."""
    alive = most = sum(sizes.get(index, 0) for index in program.inputs)
    for step, done in zip(program.steps, frees(program.steps, ()), strict=True):
        alive += sizes.get(step.index, 0)
        most = max(most, alive)
        alive -= sum(sizes.get(index, 0) for index in done)
    return 2 * most

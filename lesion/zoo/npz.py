"""Arrays in an npz file, read without trusting what the file claims."""

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from lesion.engine.memory import free
from lesion.errors import SubjectError, first_line

UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    AttributeError,
    TypeError,
    KeyError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def names_in(path: Path) -> list[str]:
    """What a file holds. Raises SubjectError where it is no npz file."""
    if not path.is_file():
        raise SubjectError(f"Expected an npz file at {path}, found none; check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def read(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Those arrays, and no others of the file. Raises SubjectError where they cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [_size(archive, f"{name}.npy") for name in names]
        if sum(sizes) > free(torch.device("cpu")):
            raise MemoryError(f"its arrays take {sum(sizes) / 2**30:.3g} GiB, more than is free")
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _size(archive: zipfile.ZipFile, member: str) -> int:
    """The bytes of an array. Raises ValueError where its head claims others than there are."""
    if member not in archive.namelist():
        raise ValueError(f"'{member.removesuffix('.npy')}' is no array")
    with archive.open(member) as file:
        head: Any = {1: read_array_header_1_0}.get(read_magic(file)[0], read_array_header_2_0)
        shape, _, dtype = head(file)
        claimed = math.prod(shape) * dtype.itemsize
        stored = archive.getinfo(member).file_size - file.tell()
    if claimed != stored and not dtype.hasobject:
        raise ValueError(f"'{member}' claims {claimed} bytes and holds {stored}")
    return stored


def _unreadable(path: Path, error: Exception) -> SubjectError:
    return SubjectError(
        f"Expected an npz file of plain arrays, but {path} cannot be read as one "
        f"({first_line(error)}); write it with numpy.savez(FILE, images=…, labels=…)."
    )

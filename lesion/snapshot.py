"""A network is left as it was, with all that its forward can reach, whatever ran meanwhile.

A state_dict is not all: forwards keep tensors in attributes, in lists of helpers, in their classes
and in caches of functions, and what a trace puts there is no tensor that could be computed with.
"""

import functools
import gc
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

OTHERS = {*sys.stdlib_module_names, "torch", "numpy"} - {"__main__"}
CACHE = type(functools.cache(lambda: None))
FUNCTIONS = (types.FunctionType, types.MethodType, staticmethod, classmethod, property, CACHE,
             functools.partial)  # fmt: skip
MISSING = object()


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """The network, the objects that it holds or calls, and random numbers come back as they were.

    Results that functions remember are forgotten where a trace got among them.
    """
    redraw, snapshot = _drawn(), _Snapshot(network)
    try:
        yield
    finally:
        snapshot.restore()
        redraw()


def _drawn() -> Callable[[], None]:
    """Lets torch's, Python's and numpy's random numbers go on from where they stand now."""
    own, python, numpys = torch.get_rng_state(), random.getstate(), np.random.get_state()
    devices: list[Tensor] = []
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        devices = torch.cuda.get_rng_state_all()

    def undo() -> None:
        torch.set_rng_state(own)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        random.setstate(python)
        np.random.set_state(numpys)

    return undo


class _Snapshot:
    """What can be reached from a network, each thing with how it becomes what it was."""

    def __init__(self, network: nn.Module) -> None:
        self.undo: list[Callable[[], None]] = []
        self.caches: list[Any] = []
        self.seen: dict[int, Any] = {}  # held, so that no number is given twice
        self.todo: list[Any] = [network]
        while self.todo:
            one = self.todo.pop()
            if id(one) not in self.seen:
                self.seen[id(one)] = one
                self._take(one)

    @torch.no_grad()
    def restore(self) -> None:
        for undo in self.undo:
            undo()
        for cache in self.caches:
            if _holds_fake(gc.get_referents(cache)):
                cache.cache_clear()

    def _take(self, one: Any) -> None:
        if isinstance(one, Tensor):
            self._tensor(one)
        elif isinstance(one, dict):
            self._items(one)
        elif isinstance(one, (list, deque, set)):
            self._members(one)
        elif isinstance(one, (tuple, frozenset)):
            self.todo.extend(one)
        elif isinstance(one, FUNCTIONS):
            self._function(one)
        elif isinstance(one, type):
            self._class(one)
        elif isinstance(one, np.ndarray):
            self._state(one.copy(), lambda value: np.copyto(one, value))
        elif isinstance(one, torch.Generator):
            self._state(one.get_state(), one.set_state)
        elif isinstance(one, (nn.Module, types.SimpleNamespace)) or not _foreign(type(one)):
            self._object(one)

    def _state(self, value: Any, put: Callable[[Any], Any]) -> None:
        self.undo.append(lambda: put(value))

    def _tensor(self, one: Tensor) -> None:
        try:
            value = one.detach().clone()
        except (RuntimeError, ValueError, NotImplementedError):  # without values, or lazy
            return
        wanted = one.requires_grad

        def undo() -> None:
            if one.shape != value.shape or one.dtype != value.dtype:
                one.data = value
            elif not torch.equal(one, value):
                one.data.copy_(value)
            if one.requires_grad != wanted:
                one.requires_grad_(wanted)

        self.undo.append(undo)

    def _items(self, one: dict[Any, Any]) -> None:
        before = dict(one)

        def undo() -> None:
            if list(map(id, one.values())) != list(map(id, before.values())) or [*one] != [*before]:
                one.clear()
                one.update(before)

        self.undo.append(undo)
        self.todo.extend(before.values())

    def _members(self, one: Any) -> None:
        before = list(one)

        def undo() -> None:
            if list(map(id, one)) != list(map(id, before)):
                one.clear()
                (one.update if isinstance(one, set) else one.extend)(before)

        self.undo.append(undo)
        self.todo.extend(before)

    def _object(self, one: Any) -> None:
        if isinstance(getattr(one, "__dict__", None), dict):
            self.todo.append(vars(one))
        for kind in type(one).__mro__:
            for name in _slots(kind):
                self._attribute(one, name)
        self.todo.append(type(one))

    def _class(self, one: type) -> None:
        for kind in one.__mro__:
            if not _foreign(kind):
                for name, value in vars(kind).items():
                    if not name.startswith("__") or isinstance(value, FUNCTIONS):
                        self._attribute(kind, name)

    def _attribute(self, one: Any, name: str) -> None:
        """A name of a class, of a module, or of an object with slots."""

        def held() -> Any:
            return (
                vars(one).get(name, MISSING)
                if isinstance(one, type)
                else getattr(one, name, MISSING)
            )

        before = held()

        def undo() -> None:
            if held() is not before:
                delattr(one, name) if before is MISSING else setattr(one, name, before)

        self.undo.append(undo)
        self.todo.append(before)

    def _function(self, one: Any) -> None:
        if isinstance(one, CACHE):
            self.caches.append(one)
        parts = ("__wrapped__", "__func__", "__self__", "fget", "func", "args", "keywords")
        self.todo.extend(
            getattr(one, part) for part in parts if getattr(one, part, None) is not None
        )
        if not isinstance(one, types.FunctionType) or _foreign(one):
            return
        self.todo.extend((vars(one), one.__defaults__ or (), one.__kwdefaults__ or {}))
        for cell in one.__closure__ or ():
            self._cell(cell)
        names = _names(one.__code__)
        for name in names:
            self._global(one.__globals__, name, names)

    def _cell(self, cell: types.CellType) -> None:
        try:
            before = cell.cell_contents
        except ValueError:  # empty
            return
        self._state(before, lambda value: setattr(cell, "cell_contents", value))
        self.todo.append(before)

    def _global(self, names: dict[str, Any], name: str, attributes: set[str]) -> None:
        """A global name that a function reads; of modules the attributes that it may mean."""
        before = names.get(name, MISSING)
        if isinstance(before, types.ModuleType):
            if before.__name__.partition(".")[0] not in OTHERS:
                for own in attributes & vars(before).keys():
                    self._attribute(before, own)
            return

        def undo() -> None:
            if names.get(name, MISSING) is not before:
                names.pop(name) if before is MISSING else names.update({name: before})

        self.undo.append(undo)
        self.todo.append(before)


def _foreign(one: Any) -> bool:
    """Whether a class or function is Python's, torch's or numpy's own."""
    return str(getattr(one, "__module__", "builtins")).partition(".")[0] in OTHERS


def _slots(kind: type) -> list[str]:
    if _foreign(kind):
        return []
    slots = vars(kind).get("__slots__", ())
    return [slots] if isinstance(slots, str) else [*slots]


def _names(code: types.CodeType) -> set[str]:
    """The global names and attributes that a function's code mentions."""
    inner = (part for part in code.co_consts if isinstance(part, types.CodeType))
    return {*code.co_names}.union(*map(_names, inner))


def _holds_fake(values: Any) -> bool:
    kinds = (FakeTensor, torch.SymInt, torch.SymFloat, torch.SymBool)
    return any(isinstance(leaf, kinds) for leaf in pytree.tree_leaves(values))

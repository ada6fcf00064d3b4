"""A network is left as it was, with all that its forward can reach, whatever ran meanwhile.

A state_dict is not all: forwards keep tensors in attributes, in lists of helpers, in their classes
and in caches of functions, and what a trace puts there is no tensor that could be computed with.
"""

import functools
import gc
import random
import sys
import types
from collections import OrderedDict, deque
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
FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    staticmethod,
    classmethod,
    property,
    CACHE,
    functools.partial,
)
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
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = np.random.get_state()
    devices: list[Tensor] = []
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        devices = torch.cuda.get_rng_state_all()

    def undo() -> None:
        torch.set_rng_state(torch_state)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        random.setstate(python_state)
        np.random.set_state(numpy_state)

    return undo


class _Snapshot:
    """What can be reached from a network, each thing with how it becomes what it was."""

    def __init__(self, network: nn.Module) -> None:
        self.undo: list[Callable[[], None]] = []
        self.caches: list[Any] = []
        self.seen: dict[int, Any] = {}  # held, so that no number is given twice
        self.todo: list[Any] = [network]
        while self.todo:
            reached = self.todo.pop()
            if id(reached) not in self.seen:
                self.seen[id(reached)] = reached
                self._take(reached)

    @torch.no_grad()
    def restore(self) -> None:
        for undo in self.undo:
            undo()
        for cache in self.caches:
            if _holds_fake(gc.get_referents(cache)):
                cache.cache_clear()

    def _take(self, reached: Any) -> None:
        if isinstance(reached, Tensor):
            self._tensor(reached)
        elif isinstance(reached, dict):
            self._items(reached)
        elif isinstance(reached, (list, deque, set)):
            self._members(reached)
        elif isinstance(reached, (tuple, frozenset)):
            self.todo.extend(reached)
        elif isinstance(reached, FUNCTIONS):
            self._function(reached)
        elif isinstance(reached, type):
            self._class(reached)
        elif isinstance(reached, np.ndarray):
            self._state(reached.copy(), lambda value: np.copyto(reached, value))
        elif isinstance(reached, torch.Generator):
            self._state(reached.get_state(), reached.set_state)
        elif isinstance(reached, (nn.Module, types.SimpleNamespace)) or not _foreign(type(reached)):
            self._object(reached)

    def _state(self, value: Any, put: Callable[[Any], Any]) -> None:
        self.undo.append(lambda: put(value))

    def _tensor(self, tensor: Tensor) -> None:
        if tensor.is_meta:  # without values
            return
        try:
            value = tensor.detach().clone()
        except (RuntimeError, ValueError, NotImplementedError):  # without values, or lazy
            return
        wanted = tensor.requires_grad

        def undo() -> None:
            if tensor.shape != value.shape or tensor.dtype != value.dtype:
                tensor.data = value
            elif not torch.equal(tensor, value):
                tensor.data.copy_(value)
            if tensor.requires_grad != wanted:
                tensor.requires_grad_(wanted)

        self.undo.append(undo)

    def _items(self, mapping: dict[Any, Any]) -> None:
        # a subclass may give, and take, other things than it holds
        kind: Any = OrderedDict if isinstance(mapping, OrderedDict) else dict

        def held() -> list[tuple[Any, Any]]:
            return [(key, dict.__getitem__(mapping, key)) for key in kind.__iter__(mapping)]

        before = held()

        def undo() -> None:
            now = held()
            same = [id(value) for _, value in now] == [id(value) for _, value in before]
            if not same or [key for key, _ in now] != [key for key, _ in before]:
                kind.clear(mapping)
                for key, value in before:
                    kind.__setitem__(mapping, key, value)

        self.undo.append(undo)
        self.todo.extend(value for _, value in before)

    def _members(self, collection: Any) -> None:
        kind: Any = next(kind for kind in (list, deque, set) if isinstance(collection, kind))
        before = list(kind.__iter__(collection))

        def undo() -> None:
            if list(map(id, kind.__iter__(collection))) != list(map(id, before)):
                kind.clear(collection)
                (kind.update if kind is set else kind.extend)(collection, before)

        self.undo.append(undo)
        self.todo.extend(before)

    def _object(self, instance: Any) -> None:
        if isinstance(getattr(instance, "__dict__", None), dict):
            self.todo.append(vars(instance))
        for kind in type(instance).__mro__:
            for name in _slots(kind):
                self._attribute(instance, name)
        self.todo.append(type(instance))

    def _class(self, class_: type) -> None:
        for kind in class_.__mro__:
            if not _foreign(kind):
                for name, value in vars(kind).items():
                    if not name.startswith("__") or isinstance(value, FUNCTIONS):
                        self._attribute(kind, name)

    def _attribute(self, owner: Any, name: str) -> None:
        """A name of a class, of a module, or of an object with slots."""

        def held() -> Any:
            return (
                vars(owner).get(name, MISSING)
                if isinstance(owner, type)
                else getattr(owner, name, MISSING)
            )

        before = held()

        def undo() -> None:
            if held() is not before:
                delattr(owner, name) if before is MISSING else setattr(owner, name, before)

        self.undo.append(undo)
        self.todo.append(before)

    def _function(self, function: Any) -> None:
        if isinstance(function, CACHE):
            self.caches.append(function)
        parts = ("__wrapped__", "__func__", "__self__", "fget", "func", "args", "keywords")
        self.todo.extend(
            getattr(function, part) for part in parts if getattr(function, part, None) is not None
        )
        if not isinstance(function, types.FunctionType) or _foreign(function):
            return
        defaults = (function.__defaults__ or (), function.__kwdefaults__ or {})
        self.todo.extend((vars(function), *defaults))
        for cell in function.__closure__ or ():
            self._cell(cell)
        names = _names(function.__code__)
        for name in names:
            self._global(function.__globals__, name, names)

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
                for attribute in attributes & vars(before).keys():
                    self._attribute(before, attribute)
            return

        def undo() -> None:
            if names.get(name, MISSING) is not before:
                names.pop(name) if before is MISSING else names.update({name: before})

        self.undo.append(undo)
        self.todo.append(before)


def _foreign(definition: Any) -> bool:
    """Whether a class or function is Python's, torch's or numpy's own."""
    return str(getattr(definition, "__module__", "builtins")).partition(".")[0] in OTHERS


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
    leaves = pytree.tree_leaves(values)
    return any(isinstance(x, kinds) or (isinstance(x, Tensor) and x.is_meta) for x in leaves)

"""Random small networks that also run physically smaller: a reference that knows no labels.

A program is a list of steps on feature maps.  Every map knows which of its channels are there: the
network runs with all of them, the reference without the filters that were dropped, on tensors that
lack these channels.  What has no meaning without a channel raises `Undefined`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Undefined(Exception):
    """A step has no meaning without the channels that were dropped."""


@dataclass(frozen=True)
class Map:
    """A tensor of feature maps, the numbers of its channels that are there, of so many in all."""

    x: Tensor
    there: tuple[int, ...]
    width: int

    def like(self, x: Tensor) -> "Map":
        return Map(x, self.there, self.width)

    def part(self, start: int, stop: int) -> "Map":
        """Some channels that lie side by side."""
        inside = [at for at, number in enumerate(self.there) if start <= number < stop]
        low = min(inside, default=0)
        x = self.x[:, low : low + len(inside)]
        return Map(x, tuple(self.there[at] - start for at in inside), stop - start)


Step = tuple[str, int, int, int]  # what, two earlier maps, a number


class Program(nn.Module):
    """A network that does the steps one after the other, and a classifier of its last maps."""

    def __init__(self, steps: Sequence[Step], channels: int = 4) -> None:
        super().__init__()
        self.steps, self.channels = steps, channels
        self.layers = nn.ModuleDict()
        self.dropped: Mapping[str, frozenset[int]] = {}
        self(torch.zeros(2, 3, 5, 5))

    def layer(self, name: str, given: Map, channels: int, size: int = 1, groups: int = 1) -> Map:
        """What a convolution gives, made when first asked for."""
        if name not in self.layers:
            self.layers[name] = nn.Conv2d(given.width, channels, size, padding=size // 2,
                                          groups=groups)  # fmt: skip
        layer, gone = self.layers[name], self.dropped.get(f"layers.{name}", frozenset())
        weight, bias = layer.weight, layer.bias
        if not self.dropped:
            return Map(layer(given.x), tuple(range(channels)), channels)
        kept = [filter for filter in range(channels) if filter not in gone]
        if groups > 1 and kept != list(given.there):
            raise Undefined(f"{name} is depthwise and loses other channels than it reads")
        weight = weight[kept] if groups > 1 else weight[kept][:, list(given.there)]
        groups = len(kept) if groups > 1 else 1
        if not given.there or not kept:
            raise Empty
        return Map(F.conv2d(given.x, weight, bias[kept], 1, size // 2, 1, groups), tuple(kept),
                   channels)  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.layer("stem", Map(x, (0, 1, 2), 3), self.channels, 3)]
        needed = self.needed()
        for number, (what, i, j, c) in enumerate(self.steps):
            a, b = maps[-1 - i % len(maps)], maps[-1 - j % len(maps)]
            there = number + 1 in needed
            maps.append(STEPS[what](self, f"l{number}", a, b, c) if there else a)
        last = maps[-1]
        last = Map(last.x.mean((2, 3), keepdim=True), last.there, last.width)
        return self.layer("head", last, 3).x.flatten(1)

    def needed(self) -> set[int]:
        """The maps on which the outputs depend."""
        needed = {len(self.steps)}
        for place in range(len(self.steps), 0, -1):
            what, i, j, _ = self.steps[place - 1]
            if place in needed:
                needed.update(place - 1 - one % place for one in ((i, j) if what in TWO else (i,)))
        return needed

    def without(self, dropped: Mapping[str, frozenset[int]], x: Tensor) -> Tensor:
        """The outputs of the physically smaller network."""
        self.dropped = dropped
        try:
            return self(x)
        finally:
            self.dropped = {}


class Empty(Exception):
    """Nothing is left of a map, so that there is no smaller network to compare with."""


def convolved(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
    return net.layer(name, a, 2 + c % 4, 1 + 2 * (c % 2))


def depthwise(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
    return net.layer(name, a, a.width, 3, a.width) if a.width > 1 else a


def alike(net: Program, name: str, a: Map, b: Map) -> Map:
    """b, or what a convolution makes of it, as wide as a."""
    return b if a.width == b.width else net.layer(name, b, a.width)


def met(how: Callable[[Tensor, Tensor], Tensor]):
    """A step in which two maps of one width meet channel by channel."""

    def step(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
        b = alike(net, name, a, b)
        if a.there != b.there:
            raise Undefined(f"{name} meets channels {a.there} and {b.there}")
        return a.like(how(a.x, b.x))

    return step


def spread(how: Callable[[Tensor, Tensor], Tensor], absent: bool):
    """A step in which one channel acts on all of another map; absent: whether it may be gone."""

    def step(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
        single = b.part(c % b.width, c % b.width + 1)
        if a.width == 1:  # one meets one
            return met(how)(net, name, a, single, c)
        if single.there:
            return a.like(how(a.x, single.x))
        if not absent:
            raise Undefined(f"{name} multiplies by a channel that is gone")
        return a.like(how(a.x, b.x.new_zeros(len(b.x), 1, *b.x.shape[2:])))

    return step


def alone(how: Callable[[Tensor], Tensor]):
    """A step on one map that keeps its channels."""

    def step(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
        if not a.there:
            raise Empty
        return a.like(how(a.x))

    return step


def concatenated(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
    size = torch.broadcast_shapes(a.x.shape[2:], b.x.shape[2:])
    wide = torch.cat([one.x.expand(-1, -1, *size) for one in (a, b)], 1)
    return Map(wide, (*a.there, *(a.width + one for one in b.there)), a.width + b.width)


def half(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
    middle = a.width // 2
    if not middle:
        return a
    return a.part(0, middle) if c % 2 else a.part(middle, a.width)


def halves(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
    """A gated unit of the first half and the second, a channel more or less left out."""
    middle = a.width // 2
    if not middle:
        return a
    value, gate = a.part(0, middle), a.part(middle, 2 * middle)
    if value.there != gate.there:
        raise Undefined(f"{name} gates {value.there} with {gate.there}")
    return value.like(value.x * torch.sigmoid(gate.x))


def twice(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
    there = tuple(place for one in a.there for place in (2 * one, 2 * one + 1))
    return Map(a.x.repeat_interleave(2, 1), there, 2 * a.width)


def expanded(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
    """What a convolution makes of one channel as many."""
    single = a.part(c % a.width, c % a.width + 1)
    there = (0, 1, 2) if single.there else ()
    return net.layer(name, Map(single.x.expand(-1, len(there), -1, -1), there, 3), 3)


def context(net: Program, name: str, a: Map, b: Map, c: int) -> Map:
    """Features summed over pixels with a mask that all channels of another map make."""
    if not b.there or not a.there:
        raise Empty
    if a.x.shape[2:] != b.x.shape[2:]:
        return a
    mask = b.x.flatten(2).mean(1, keepdim=True).softmax(2)
    return a.like((a.x.flatten(2) @ mask.transpose(1, 2)).unsqueeze(3))


def stacked(how: Callable[[Tensor], Tensor]):
    """A step on two maps that lie side by side on an axis of their own."""

    def both(x: Tensor, y: Tensor) -> Tensor:
        return how(torch.stack(torch.broadcast_tensors(x, y), 1))

    return met(both)


def responses(x: Tensor) -> Tensor:
    """Global response normalisation."""
    size = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
    return x + x * (size / (size.mean(1, keepdim=True) + 1e-6))


def normalised(x: Tensor) -> Tensor:
    """A layer norm by hand."""
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.pow(2).mean(1, keepdim=True) + 1e-3).sqrt()


STEPS = {
    "conv": convolved,
    "depthwise": depthwise,
    "relu": alone(F.relu),
    "sigmoid": alone(torch.sigmoid),
    "add": met(torch.add),
    "multiply": met(torch.mul),
    "larger": met(torch.maximum),
    "gate": met(lambda x, gate: x * torch.sigmoid(gate)),
    "add one": spread(torch.add, True),
    "multiply by one": spread(lambda x, one: x * torch.sigmoid(one), False),
    "choose by one": spread(lambda x, one: torch.where(one > 0, x, -x), False),
    "concatenate": concatenated,
    "half": half,
    "halves": halves,
    "twice": twice,
    "expand": expanded,
    "pool": alone(lambda x: x.mean((2, 3), keepdim=True)),
    "greatest": alone(lambda x: x.amax((2, 3), keepdim=True)),
    "spread": alone(lambda x: (x.var((2, 3), keepdim=True, correction=0) + 0.1).sqrt()),
    "size": alone(lambda x: torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)),
    "attend": alone(lambda x: x * x.flatten(2).softmax(2).reshape(x.shape)),
    "centre": alone(lambda x: x - x.mean(1, keepdim=True)),
    "largest": alone(lambda x: x * torch.sigmoid(x.amax(1, keepdim=True))),
    "unit": alone(lambda x: F.normalize(x + 0.1, dim=1)),
    "shares": alone(lambda x: x.softmax(1)),
    "responses": alone(responses),
    "layer norm": alone(normalised),
    "stack": stacked(lambda x: x.sum(1)),
    "select": stacked(lambda x: (x * x.softmax(1)).sum(1)),
    "context": context,
}
TWO = {
    "add", "multiply", "larger", "gate", "add one", "multiply by one", "choose by one",
    "concatenate", "stack", "select", "context",
}  # fmt: skip

"""Criteria: which filters go first; low scores go first.  One module each, found by its name.

A module in this folder is a criterion under its own name; other packages add theirs as entry
points:

    [project.entry-points."lesion.criteria"]
    mine = "my_package.my_criterion"

A module has `score`: a function of a layer's `Filters` that gives one number a filter; for what
depends on images a subclass of `Criterion`; for what looks at all that belongs to a channel, the
weights that read it too, a subclass of `GroupCriterion`.  In Python each can be given as it is
(`criterion=my_function`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lesion.boundary.texts import with_options
from lesion.errors import LesionError
from lesion.plugins import Plugins

plugins = Plugins(__name__, "lesion.criteria", "a criterion", "score")
Tap = Literal["output", "normalised", "activated", "rectified"]


@dataclass(frozen=True, eq=False)
class Filters:
    """A layer's filters as a criterion sees them.

    layer: its name; weight: (filters, …), whatever axis they lie on in the layer; scale: the γ of
    the batch norm that follows the layer, or None; seed: for criteria that draw
    Of a criterion that needs removals they are a target's channels: layer is the target's key, and
    there are no weights, (channels, 0).
    """

    layer: str
    weight: Tensor
    scale: Tensor | None
    seed: int


@dataclass(frozen=True, eq=False)
class Part:
    """Numbers of a network that belong to channels of a target.

    layer: the layer, or the parameter, that they are of
    weight: (rows, …); channels: (rows,) the channel that each row belongs to, -1 for none of them
    """

    layer: str
    weight: Tensor
    channels: Tensor


@dataclass(frozen=True, eq=False)
class Consumer(Part):
    """The weights with which a layer reads channels, a row each of its input channels.

    shown: (channels shown,) what `GroupCriterion.update` is shown of the layer: the target's
        channel that each is, -1 for others
    """

    shown: Tensor


@dataclass(frozen=True, eq=False)
class Group:
    """What belongs to a target's channels, as a criterion of groups sees it.

    target: its name; channels: how many it has
    filters: of the layers that make the channels, and of depthwise ones that they go through
    factors: γ of the norms that they go through; consumers: what layers read them with
    shared: whether others come through the consumers too: those of a layer's part in a sum
    seed: for criteria that draw
    """

    target: str
    channels: int
    filters: tuple[Part, ...]
    factors: tuple[Part, ...]
    consumers: tuple[Consumer, ...]
    shared: bool
    seed: int

    @property
    def falling(self) -> tuple[Part, ...]:
        """What falls with the channels: all but consumers that are shared."""
        return (*self.filters, *self.factors, *(() if self.shared else self.consumers))

    def total(self, parts: Iterable[Part], number: Callable[[Tensor], Tensor]) -> Tensor:
        """For each channel the sum of a number of each weight, such as its square, over parts.

        >>> part = Part("conv", torch.tensor([[1.0, -2.0], [5.0, 5.0]]), torch.tensor([1, -1]))
        >>> Group("conv", 2, (part,), (), (), False, 0).total([part], torch.abs)
        tensor([0., 3.], dtype=torch.float64)
        """
        total = torch.zeros(self.channels, dtype=torch.float64)
        for part in parts:
            rows = number(part.weight.double()).reshape(len(part.weight), -1).sum(1).cpu()
            inside = part.channels >= 0
            total.index_add_(0, part.channels[inside], rows[inside])
        return total


class Observing:
    """What is shown images, which are never scored nor kept back.  An object keeps what it has
    seen: it is for one network.

    name: as in keys, tables and options; what its scores depend on belongs into it
    images: how many it sees, batch: how many of them at once
    """

    name: str
    images = 1024
    batch = 64

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Takes in a layer's values on some images, (images, filters, positions), and the loss's
        gradients with respect to them, None where they are not needed.

        A layer that runs at several places of the network is shown at each of them in turn.
        Where removals are needed, the values are a target's rises of the loss, (images, channels,
        1), and `layer` is its key.
        """
        raise NotImplementedError


class Criterion(Observing):
    """A criterion that depends on images: of what a layer gives.

    needs: "activations", or "gradients" (of the summed cross-entropy, of the labels if there are
        any, else of what the intact network predicts) as well; or "removals", by how much that
        cross-entropy rises when each channel of a target alone is removed
    tap: of what: the layer's "output", that "normalised" by the batch norm behind it, "activated"
        by what follows, or "rectified" where that gives exact zeros (ReLU, ReLU6, a clamp from 0,
        a threshold to 0)
    maps: whether it sees positions as they lie, (images, filters, height, width) of a convolution
        in two dimensions, rather than on one axis
    """

    needs: Literal["activations", "gradients", "removals"] = "activations"
    tap: Tap = "output"
    maps = False

    def scores(self, filters: Filters) -> Tensor:
        """One number a filter, after all images. Raises LesionError where a layer has none."""
        raise NotImplementedError


class GroupCriterion(Observing):
    """A criterion of all that belongs to a target's channels.

    needs: "weights", or "activations" too: then `update` is shown, of each layer that reads
        channels, what each of these adds to outputs of the layer, (images, channels, outputs): its
        values times the weights that read them, summed over the kernel
    outputs: how many of the layer's outputs are drawn for each image, a position and a filter
        each; all of them where there are no more
    """

    needs: Literal["weights", "activations"] = "weights"
    outputs = 10

    def scores(self, group: Group) -> Tensor:
        """One number a channel, after all images if it needs any. Raises LesionError where a target
        has none."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Weights:
    """A criterion that sees weights alone: a function of them, under its name."""

    name: str
    score: Callable[[Filters], Tensor]
    needs: Literal["weights"] = "weights"

    def scores(self, filters: Filters) -> Tensor:
        """One number a filter."""
        return self.score(filters)


Chosen = Criterion | GroupCriterion | Weights
Given = str | Criterion | GroupCriterion | Callable[[Filters], Tensor]


def names() -> list[str]:
    """The criteria there are."""
    return plugins.names()


def criterion(given: Given) -> Chosen:
    """A criterion by its name, or as it is given; one that sees images has seen none yet.

    A name may have options behind it, such as "oracle:images=1000".
    Raises LesionError where there is none.
    """
    if isinstance(given, str):
        name, options = with_options(given)
        loaded = plugins.load(name)
        if options:
            return _with_options(loaded, given, options)
        return loaded() if isinstance(loaded, type) else Weights(given, loaded)
    if isinstance(given, (Criterion, GroupCriterion)):
        return given
    if callable(given):
        module = str(getattr(given, "__module__", "?")).partition("@")[0]
        return Weights(f"{module}:{getattr(given, '__qualname__', '?')}", given)
    raise LesionError(
        f"Expected a criterion ({', '.join(names())}), a function of a layer's filters or an "
        "object of a subclass of lesion.Criterion or lesion.GroupCriterion, got "
        f"{type(given).__name__}."
    )


def _with_options(loaded: Any, given: str, options: Mapping[str, str]) -> Criterion:
    """A criterion made with options, whole numbers of at least 1."""
    try:
        numbers = {name: int(value) for name, value in options.items()}
        if not isinstance(loaded, type) or min(numbers.values()) < 1:
            raise TypeError
        made: Criterion = loaded(**numbers)
    except (TypeError, ValueError) as error:
        raise LesionError(
            f"Expected options that the criterion takes, whole numbers of at least 1, got "
            f"'{given}'; leave them out."
        ) from error
    return made

"""A network as it runs on a batch: tried out, evaluated, told by its weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lesion.errors import LesionError, SubjectError, first_line
from lesion.subject.adapter import Adapter
from lesion.subject.batch import cloned, describe, moved
from lesion.subject.snapshot import unchanged

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Behind:
    """A function of a network and a batch, as an adapter."""

    forward: Callable[[nn.Module, Any], Any]

    def targets(self, batch: Any) -> Any:
        """Nothing."""
        return None


def try_out(network: nn.Module, adapter: Adapter, example: Any) -> Any:
    """What the network gives for the example; says what is wrong where it fails."""
    try:
        with (
            unchanged(network),
            evaluating(network),
            torch.no_grad(),
            _in_batches(network, example),
        ):
            outputs = adapter.forward(network, cloned(moved(example, device_of(network))))
    except LesionError:
        raise
    except Exception as error:  # the network is the user's: it may raise anything
        raise SubjectError(
            f"Expected data that the network takes, got batches of {describe(example)}, on which "
            f"it fails ({type(error).__name__}: {first_line(error)}); "
            f"{_remedy(network, example)}, or give an adapter."
        ) from error
    return outputs


def _remedy(network: nn.Module, example: Any) -> str:
    """What likely helps a network that fails on the example."""
    sides = (network.parameters(), pytree.tree_leaves(example))
    weights, images = ({_precision(leaf) for leaf in leaves} - {""} for leaves in sides)
    if weights and images and not weights & images:
        return (
            f"a network of {'/'.join(sorted(weights))} takes no {'/'.join(sorted(images))}: give "
            "the network in float32 (network.float())"
        )
    return "check the size and channels of the images (--resize, --crop)"


def _precision(leaf: Any) -> str:
    """The type of a tensor's floats, "" for anything else."""
    floats = isinstance(leaf, Tensor) and leaf.is_floating_point()
    return str(leaf.dtype).removeprefix("torch.") if floats else ""


@contextmanager
def _in_batches(network: nn.Module, example: Any) -> Iterator[None]:
    """Within, a convolution that takes the example for one image raises SubjectError."""
    leaves = pytree.tree_leaves(example)
    shapes = {leaf.shape for leaf in leaves if isinstance(leaf, Tensor)}

    def check(module: Any, given: tuple[Any, ...]) -> None:
        shape = getattr(given[0], "shape", ()) if given else ()
        if shape in shapes and len(shape) == len(module.kernel_size) + 1:
            raise SubjectError(
                f"Expected a batch of images, got one image {tuple(shape)}, without an axis for "
                "the images; give torch.stack([image, image])."
            )

    convolutions = [layer for layer in network.modules() if isinstance(layer, CONVOLUTIONS)]
    hooks = [layer.register_forward_pre_hook(check) for layer in convolutions]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def device_of(network: nn.Module) -> torch.device:
    """Where a network's first tensor lies; the CPU for a network without any."""
    tensors = chain(network.parameters(), network.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards every module in the mode it was in."""
    modes = {m: m.training for m in network.modules() if hasattr(m, "training")}  # frozen: none
    with suppress(NotImplementedError):  # a program of torch.export has the mode of its export
        network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training

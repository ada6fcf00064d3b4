"""An independent way to change what a layer reads or gives: a hook, and the whole network run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]


@contextmanager
def through(network: nn.Module, layer: str, change: Change, after: bool = False) -> Iterator[None]:
    """Within it a layer reads, or gives, what the function makes of it."""
    module = network.get_submodule(layer)
    if after:
        hook = module.register_forward_hook(lambda _, given, value: change(value))
    else:
        hook = module.register_forward_pre_hook(lambda _, given: (change(given[0]),))
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def read(network: nn.Module, layer: str, images: Tensor) -> Tensor:
    """All that a layer reads on some images."""
    seen: list[Tensor] = []
    with through(network, layer, lambda x: seen.append(x.clone()) or x):
        network(images)
    return torch.cat([x.flatten() for x in seen])


def fake_quantised(x: Tensor, bits: int, low: float, high: float) -> Tensor:
    """By torch's own operator, with the zero rounded by torch."""
    scale = (high - low) / (2**bits - 1)
    zero = int(torch.round(torch.tensor(-low / scale, dtype=torch.float64)))
    whole = torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, 0, 2**bits - 1)
    return whole.to(x)

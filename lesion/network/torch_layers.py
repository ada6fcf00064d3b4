"""Torch's own layers, and modules that are of their kinds."""

from typing import Any

from torch import nn

CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d
TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
LAYERS = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)


def kind_of(module: nn.Module) -> type[nn.Module]:
    """The one of torch's layers that a module is, whatever it does besides."""
    return next(kind for kind in LAYERS if isinstance(module, kind))


def as_layer(module: nn.Module) -> Any:
    """One of torch's own layers, set as a module that is of its kind, without weights."""
    plain: Any = kind_of(module)(1, 1, 1, device="meta")
    for name in vars(plain).keys() - vars(nn.Module()).keys():
        setattr(plain, name, getattr(module, name))
    plain.weight = plain.bias = None
    plain.training = module.training
    return plain


def put_in_place(network: nn.Module, module: nn.Module, other: nn.Module) -> None:
    """Puts another module in the place of one, wherever that stands."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child is module:
                setattr(parent, name, other)

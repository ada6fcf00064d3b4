"""Whether a network can be taken apart at all, and something of it be measured."""

from collections.abc import Collection, Sequence

from torch import nn
from torch.jit import ScriptModule
from torch.nn.parameter import UninitializedParameter

from lesion.errors import SubjectError
from lesion.plan import Lesion, Skipped


def check_network(network: nn.Module) -> None:
    """Raises SubjectError for a network without weights yet, or with quantised ones."""
    for name, module in network.named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(isinstance(one, UninitializedParameter) for one in own):
            raise SubjectError(
                f"Expected weights, but {name or 'the network'} is a lazy module that has seen no "
                "batch yet; run the network once on a batch first."
            )
        if ".quantized" in type(module).__module__ and "torch" in type(module).__module__:
            raise SubjectError(
                f"Expected weights in floating point, but {name or 'the network'} is quantised "
                f"({type(module).__name__}); give the network as it was before its conversion."
            )


def check_eager(network: nn.Module, problem: str) -> None:
    """Raises SubjectError where a network that cannot be traced holds TorchScript, into which hooks
    do not reach."""
    for name, module in network.named_modules():
        if isinstance(module, ScriptModule):
            raise SubjectError(
                f"Expected a network in Python, but {name or 'the network'} is TorchScript that "
                f"cannot be taken apart ({problem}); give the nn.Module that it was made from."
            )


def check_lesions(lesions: Collection[Lesion], skipped: Sequence[Skipped]) -> None:
    """Raises SubjectError where nothing of what was chosen can be measured, with a reason."""
    if lesions:
        return
    if not skipped:
        raise SubjectError(
            "Expected a convolution or linear layer, but none runs in this network; give another."
        )
    first, more = skipped[0], len(skipped) - 1
    rest = f" (and {more} more, see `lesion curves`)" if more else ""
    raise SubjectError(
        f"Expected a layer that can be cut, got none: {first.target}: {first.reason}{rest}; choose "
        "other layers, units or ratios."
    )

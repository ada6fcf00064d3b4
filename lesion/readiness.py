"""Whether a network can be taken apart at all: what torch has made of it on the way."""

from torch import nn
from torch.jit import ScriptModule
from torch.nn.parameter import UninitializedParameter

from lesion.errors import SubjectError


def check_network(network: nn.Module) -> None:
    """Raises SubjectError for a network without weights yet, or with quantised ones."""
    for name, module in network.named_modules():
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(isinstance(tensor, UninitializedParameter) for tensor in tensors):
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

"""Networks that torch has made something else of, into which hooks do not reach."""

from torch import nn
from torch.jit import ScriptModule

from lesion.errors import SubjectError


def check_eager(network: nn.Module, problem: str) -> None:
    """Raises SubjectError where a network that cannot be traced holds TorchScript, into which hooks
    do not reach."""
    for name, module in network.named_modules():
        if isinstance(module, ScriptModule):
            raise SubjectError(
                f"Expected a network in Python, but {name or 'the network'} is TorchScript that "
                f"cannot be taken apart ({problem}); give the nn.Module that it was made from."
            )

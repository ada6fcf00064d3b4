"""Networks whose tensors have sizes and no values: they run fast, and fail as others do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lesion.network.copy import copied
from lesion.network.graph import Call, CallOfAll, state_of


@dataclass(frozen=True)
class Weightless:
    """Makes copies of the network of a call, and runs them on the batch of that call."""

    call: Call

    def copied(self, shapes: Mapping[str, Sequence[int]]) -> nn.Module:
        """A copy; shapes: of the parameters and buffers that have others than in the network."""
        network = self.call.network
        kept = (value for module in network.modules() for value in vars(module).values())
        made = {id(value): _empty(value) for value in kept if isinstance(value, Tensor)}
        for name, value in state_of(network):
            if name in shapes or id(value) not in made:  # another name may have made it
                made[id(value)] = _empty(value, shapes.get(name))
        return copied(network, made)

    def outputs(self, network: nn.Module) -> list[torch.Size]:
        """The shapes of what a copy gives; what it changes beside itself stays so."""
        call = CallOfAll(network, self.call.adapted, self.call.batch)
        batch = pytree.tree_map_only(Tensor, _empty, self.call.batch)
        with torch.no_grad():
            return [output.shape for output in call(*call.tensors(batch))]


def _empty(value: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """A tensor of the same kind, of another shape if one is given."""
    empty = torch.empty(tuple(shape or value.shape), dtype=value.dtype, device="meta")
    return nn.Parameter(empty, False) if isinstance(value, nn.Parameter) else empty

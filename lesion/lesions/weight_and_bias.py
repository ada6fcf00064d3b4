"""The edit of a layer's weight and bias."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lesion.errors import LesionError
from lesion.lesions.edits import Weight
from lesion.lesions.readers import Readers, put_value
from lesion.network.batch_norm_fold import bias_of
from lesion.network.constants import WEIGHTED
from lesion.network.dissection import Dissection
from lesion.network.graph import Ref
from lesion.network.program import Program, Step
from lesion.network.torch_layers import LAYERS, kind_of


@dataclass(frozen=True, eq=False)
class WeightAndBias:
    """A layer's weight is another one, and so is its bias, which it has then in any case.

    weight: the edit of the weight; layer: the module's name; bias: the parameter's, which the
        module may lack
    change: makes the other bias of it, of None where there is none; batch norm that is folded into
        a convolution is folded anew behind it
    """

    weight: Weight
    layer: str
    bias: str
    change: Callable[[Tensor | None], Tensor]

    @classmethod
    def of(
        cls,
        dissection: Dissection,
        layer: str,
        weight: Weight,
        change: Callable[[Tensor | None], Tensor],
    ) -> "WeightAndBias":
        """The edit of a layer; the key of the weight's has to tell what is done to the bias too.

        Raises LesionError where these are not the layer's own parameters.
        """
        nodes, users = dissection.graph.nodes, dissection.graph.users()
        runs = set(dissection.nodes[layer])
        bias = dissection.anatomy.layer[layer].bias
        held = {n.index for n in nodes if n.kind == "parameter" and n.name == bias}
        reading = {user for index in held for user in users[index]}
        biases = [(*nodes[node].args, None)[2] for node in runs]
        plain = all(nodes[node].operation in WEIGHTED for node in runs)
        known: set[Ref | None] = {Ref(index) for index in held}
        alike = (known or {None}).issuperset(biases)
        if not plain or not alike or set(weight.nodes) != runs or not reading <= runs:
            raise LesionError("its weight or bias is not its own: it is shared, or no parameter")
        if bias is None and weight.name.rpartition(".")[2] != "weight":
            raise LesionError("its module can have no bias")
        return cls(weight, layer, bias or bias_of(weight.name), change)

    @property
    def nodes(self) -> tuple[int, ...]:
        """The operations that the layer is."""
        return self.weight.nodes

    @cached_property
    def key(self) -> bytes:
        """Of the weight's edit."""
        return b"bias/" + self.weight.key

    def steps(self, program: Program) -> dict[int, Step]:
        """The operations with both."""
        weight = self.weight.changed(program.parameters[self.weight.name])
        bias = self._changed(program.parameters.get(self.bias), weight)
        return program.recompiled({self.weight.name: weight, self.bias: bias})

    def obstacle(self, readers: Readers) -> str:
        """The weight, or the layer where a bias would be no part of what its module does."""
        network = readers.dissection.call.network
        module = network.get_submodule(self.layer)
        plain = isinstance(module, LAYERS) and type(module).forward is kind_of(module).forward
        fits = readers.holds(self.bias) or plain
        return self.weight.obstacle(readers) or ("" if fits else self.layer)

    def weights(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """Both."""
        ((name, weight),) = self.weight.weights(readers, network).items()
        return {name: weight, self.bias: self._changed(_bias(network, self.bias), weight)}

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """None."""
        return []

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """The copy has both, from which training goes on."""
        for name, value in self.weights(readers, network).items():
            put_value(network, name, value)

    def held(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """All of the weight."""
        return self.weight.held(readers, network)

    @torch.no_grad()
    def _changed(self, bias: Tensor | None, weight: Tensor) -> Tensor:
        return self.change(bias).to(weight)


def _bias(network: nn.Module, name: str) -> Tensor | None:
    owner, _, last = name.rpartition(".")
    bias: Tensor | None = getattr(network.get_submodule(owner), last)
    return bias

"""An edit beside which parameters have other values, as they have once a network is mended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lesion.lesions.edits import Edit
from lesion.lesions.readers import Readers, put_value
from lesion.network.dissection import Dissection
from lesion.network.program import Program, Step
from lesion.subject.images import update


@dataclass(frozen=True, eq=False)
class Mended:
    """An edit, and parameters that have other values beside it.

    parameters: by name; at: the operations that read them, rising
    """

    edit: Edit
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    at: tuple[int, ...] = ()

    def having(self, dissection: Dissection, parameters: Mapping[str, Tensor]) -> "Mended":
        """The same with other values of some parameters as well."""
        nodes = dissection.graph.nodes
        named = {n.index for n in nodes if n.kind == "parameter" and n.name in parameters}
        reading = {n.index for n in nodes if n.kind == "call" and named.intersection(n.inputs)}
        at = tuple(sorted(reading.union(self.at)))
        return Mended(self.edit, {**self.parameters, **parameters}, at)

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """The operations that the edit changes, and those that read the parameters."""
        return tuple(sorted({*self.edit.nodes, *self.at}))

    @cached_property
    def key(self) -> bytes:
        """Of the edit and the parameters."""
        digest = sha256(b"mended" + self.edit.key)
        for name, value in sorted(self.parameters.items()):
            update(digest, name, value)
        return digest.digest()

    def steps(self, program: Program) -> dict[int, Step]:
        """The edited operations on the other parameters."""
        if not self._compiled or self._compiled[0][0] is not program:
            changed = program.recompiled(self.parameters)
            edited = self.edit.steps(program.having(self.parameters, changed))
            self._compiled[:] = [(program, {**changed, **edited})]
        return self._compiled[0][1]

    @cached_property
    def _compiled(self) -> list[tuple[Program, dict[int, Step]]]:
        """The steps of the program that was asked for last, which is nearly always the same."""
        return []

    def obstacle(self, readers: Readers) -> str:
        """The edit's, or a parameter that the modules that run do not hold."""
        beyond = (name for name in self.parameters if not readers.holds(name))
        return self.edit.obstacle(readers) or next(beyond, "")

    def weights(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """The parameters, with what the edit sets in them."""
        weights = {**self.edit.weights(readers, network)}
        held = self.edit.held(readers, network)
        for name, value in self.parameters.items():
            weights[name] = torch.where(held[name], weights[name], value) if name in held else value
        return weights

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """The edit's."""
        return self.edit.hooks(network)

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """The copy has the parameters, from which training goes on, and is edited."""
        self.mend(network)
        self.edit.hold(readers, network)

    def mend(self, network: nn.Module) -> None:
        """The copy has the parameters."""
        for name, value in self.parameters.items():
            put_value(network, name, value.clone())

    def held(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """What the edit sets."""
        return self.edit.held(readers, network)

"""What layers read or give on training images, for damages that depend on it: seen once, before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.compression.channel_pca import Responses
from lesion.compression.value_counts import ValueCounts
from lesion.errors import LesionError
from lesion.lesions.damage import Damage
from lesion.lesions.lesion import Target
from lesion.network.dissection import Dissection
from lesion.network.graph import Ref
from lesion.network.program import Run, compile_program
from lesion.subject.network import evaluating
from lesion.subject.training_images import Training

BATCH = 32  # images that run at once; what is counted does not depend on it


@dataclass(frozen=True, eq=False)
class Calibration:
    """What layers read or give on calibration images, by their names.

    The images are the first of the training images' seeded order, as criteria see them.  One pass
    serves all layers and all amounts; of the values that are read their counts alone stay, of those
    that are given, at all positions, their mean and covariance.
    """

    counts: dict[str, ValueCounts] = field(default_factory=dict)
    responses: dict[str, Responses] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dissection: Dissection,
        training: Training,
        layers: Sequence[str],
        damage: Damage,
        seed: int,
    ) -> "Calibration":
        """What a damage is shown.

        Raises LesionError where no layer's values can be seen, SubjectError for images that are
        scored or kept back.
        """
        given = damage.sees == "responses"
        verb = "give" if given else "read"
        if reason := dissection.anatomy.whole:
            raise LesionError(
                f"Expected a network that can be traced for a damage of what layers {verb}, but "
                f"{reason}; choose a damage of weights."
            )
        runs: dict[int, list[str]] = {}
        for layer in layers:
            for node in dissection.nodes[layer]:
                runs.setdefault(node, []).append(layer)
        calibration = cls(
            {layer: ValueCounts() for layer in layers if not given},
            {layer: Responses() for layer in layers if given},
        )
        batches = training.epoch(seed, 0, BATCH, damage.images)
        with evaluating(training.subject.network):
            calibration._see(dissection, batches, runs)
        return calibration

    def numbers(self, damage: Damage, target: Target) -> np.ndarray:
        """What a damage keeps of a target. Raises LesionError where it cannot be damaged."""
        if damage.sees == "responses":
            numbers = np.asarray(damage.response_calibration(self.responses[target.name]), float)
        else:
            numbers = np.asarray(damage.calibration(self.counts[target.name]), float)
        if not np.isfinite(numbers).all():
            raise LesionError(f"damage {damage.name} keeps numbers of it that are not finite")
        return numbers

    @torch.no_grad()
    def _see(
        self, dissection: Dissection, batches: Iterable[Any], runs: dict[int, list[str]]
    ) -> None:
        """runs: the layers that run at each node."""
        program = compile_program(dissection.graph, fold=not self.responses)
        places = sorted((program.position[node], node) for node in runs)
        for batch in batches:
            run = Run(program, dissection.call.inputs(batch, program.read))
            for place, node in places:
                run.forward(place + bool(self.responses))
                for layer in runs[node]:
                    if self.responses:
                        kind = dissection.anatomy.layer[layer].kind
                        self.responses[layer].add(_rows(run.values[node], kind))
                    else:
                        x = program.steps[place].args[0]
                        self.counts[layer].add(run.values[x.index] if isinstance(x, Ref) else x)


def _rows(values: Tensor, kind: str) -> Tensor:
    """What a layer gives, (positions of all images, channels)."""
    return (values if kind == "linear" else values.movedim(1, -1)).flatten(0, -2)

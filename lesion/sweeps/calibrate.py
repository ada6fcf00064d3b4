"""What layers read on training images, counted, for damages whose ranges are frozen before."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

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
    """What layers read on calibration images, by their names.

    The images are the first of the training images' seeded order, as criteria see them.  One pass
    serves all layers and all amounts; of the values their counts alone stay.
    """

    counts: dict[str, ValueCounts] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dissection: Dissection,
        training: Training,
        layers: Sequence[str],
        images: int,
        seed: int,
    ) -> "Calibration":
        """Counts what layers read.

        Raises LesionError where no layer's values can be seen, SubjectError for images that are
        scored or kept back.
        """
        if reason := dissection.anatomy.whole:
            raise LesionError(
                "Expected a network that can be traced for a damage of what layers read, but "
                f"{reason}; choose a damage of weights."
            )
        reading: dict[int, list[str]] = {}
        for layer in layers:
            for node in dissection.nodes[layer]:
                reading.setdefault(node, []).append(layer)
        calibration = cls({layer: ValueCounts() for layer in layers})
        with evaluating(training.subject.network):
            calibration._see(dissection, training, reading, images, seed)
        return calibration

    def numbers(self, damage: Damage, target: Target) -> np.ndarray:
        """What a damage keeps of a target. Raises LesionError where it cannot be damaged."""
        numbers = np.asarray(damage.calibration(self.counts[target.name]), float)
        if not np.isfinite(numbers).all():
            raise LesionError(f"damage {damage.name} keeps numbers of it that are not finite")
        return numbers

    @torch.no_grad()
    def _see(
        self,
        dissection: Dissection,
        training: Training,
        reading: dict[int, list[str]],
        images: int,
        seed: int,
    ) -> None:
        program = compile_program(dissection.graph)
        places = sorted((program.position[node], node) for node in reading)
        for batch in training.epoch(seed, 0, BATCH, images):
            run = Run(program, dissection.call.inputs(batch, program.read))
            for place, node in places:
                run.forward(place)
                x = program.steps[place].args[0]
                values = run.values[x.index] if isinstance(x, Ref) else x
                for layer in reading[node]:
                    self.counts[layer].add(values)

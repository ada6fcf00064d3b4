"""What channels add to the outputs of the layers that read them, for criteria of groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor
from torch.nn import functional

from lesion.lesions.criteria import GroupCriterion
from lesion.lesions.groups import Reading, inputs, readings
from lesion.network.dissection import Dissection
from lesion.network.labels import Edge
from lesion.network.program import Program, Run, Step, compile_program
from lesion.subject.training_images import Training
from lesion.sweeps.observe import check_traced


@dataclass(frozen=True, eq=False)
class Contributions:
    """Shows a criterion of groups what channels add on training images, none of which is scored."""

    dissection: Dissection
    criterion: GroupCriterion
    training: Training

    def observe(self, seed: int) -> None:
        """Lets the criterion see its images, the first of the training images' seeded order.

        Which outputs are drawn of an image depends on the seed, the layer and the image's place in
        the order alone.  Raises LesionError where nothing can be seen.
        """
        check_traced(self.dissection, self.criterion)
        program = compile_program(self.dissection.graph, fold=False)
        uses = list(self._uses(program, seed))
        for images in self.training.epoch(seed, 0, self.criterion.batch, self.criterion.images):
            run = Run(program, self.dissection.call.inputs(images, program.read))
            for use in uses:
                with torch.no_grad():
                    run.forward(use.place)
                    added = use.contributions(run, self.criterion.outputs)
                self.criterion.update(use.reading.layer, added, None)

    def _uses(self, program: Program, seed: int) -> "Iterator[Use]":
        """Where layers read channels, in order of execution."""
        places = {
            program.position[edge.node]: (edge, reading)
            for reading in readings(self.dissection).values()
            for edge in reading.edges
            if edge.node in program.position
        }
        for place, (edge, reading) in sorted(places.items()):
            draws = torch.Generator().manual_seed(crc32(f"{seed} {reading.layer} {place}".encode()))
            yield Use(place, edge, reading, draws)


@dataclass(frozen=True, eq=False)
class Use:
    """A place of a program where a layer reads channels; draws: which outputs are looked at."""

    place: int
    edge: Edge
    reading: Reading
    draws: torch.Generator

    def contributions(self, run: Run, most: int) -> Tensor:
        """What each channel adds to outputs of the layer, (images, channels, outputs).

        run: a batch in front of the place; most: how many outputs are drawn of each image
        """
        step = run.program.steps[self.place]
        added = self._by_input(step, run.values[step.args[0].index], most)
        labels = torch.from_numpy(inputs(self.edge))
        inside = (labels >= 0).nonzero().reshape(-1)
        channels = torch.searchsorted(torch.from_numpy(self.reading.labels), labels[inside])
        total = added.new_zeros(len(added), len(self.reading.labels), added.shape[2])
        return total.index_add_(1, channels.to(added.device), added[:, inside.to(added.device)])

    def _by_input(self, step: Step, x: Tensor, most: int) -> Tensor:
        """The same of the layer's inputs, of which several may be positions of one channel."""
        layout = self.reading.layout
        sources, matrix = layout.sources(step, x), layout.matrix(step.args[1])
        (groups, reads, makes), positions = matrix.shape, sources.shape[1]
        drawn = self._drawn(len(x), positions * groups * makes, most).to(x.device)
        group, filters = drawn // positions // makes, drawn // positions % makes
        rows = zip(x.unsqueeze(1), drawn % positions, strict=True)
        read = torch.cat([layout.rows(image, sources[:, at]) for image, at in rows])
        weights = matrix[group, :, filters].double().unsqueeze(2)
        added = read * weights * functional.one_hot(group, groups).unsqueeze(3)
        by_weight = added.reshape(*drawn.shape, groups * reads // layout.taps, layout.taps)
        return by_weight.sum(3).transpose(1, 2)

    def _drawn(self, images: int, outputs: int, most: int) -> Tensor:
        """Numbers of outputs for each image, all where there are no more than `most`."""
        if outputs <= most:
            return torch.arange(outputs).expand(images, -1)
        return torch.randint(outputs, (images, most), generator=self.draws)

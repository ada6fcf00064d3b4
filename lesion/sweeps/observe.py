"""What layers give on images, and the gradients of the loss with respect to it, for criteria."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lesion.errors import LesionError
from lesion.lesions.criteria import Criterion, Observing
from lesion.network.dissection import Dissection
from lesion.network.graph import Node
from lesion.network.program import Program, compile_program
from lesion.study.study import Study
from lesion.subject.images import digests
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training

CHUNK = 128  # images read at once
ACTIVATIONS = {
    "celu", "clamp", "clamp_min", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "tanh",
    "threshold",
}  # fmt: skip
ZERO_AT = {"clamp": 1, "clamp_min": 1, "hardtanh": 1, "threshold": 2}  # the argument to be 0


@dataclass(frozen=True, eq=False)
class Observer:
    """Shows a criterion the layers' values on training images, none of which is scored.

    reasons: of the layers whose values it cannot see, why
    """

    dissection: Dissection
    criterion: Criterion
    training: Training
    taps: dict[str, tuple[int, ...]]
    reasons: dict[str, str]

    @classmethod
    def of(cls, dissection: Dissection, criterion: Criterion, training: Training) -> "Observer":
        """Raises LesionError where no layer's values can be seen."""
        check_traced(dissection, criterion)
        if criterion.needs == "gradients":
            check_classes(criterion, training)
        taps, reasons = dict[str, tuple[int, ...]](), dict[str, str]()
        for name, nodes in dissection.nodes.items():
            try:
                taps[name] = tuple(_tapped(dissection, node, criterion) for node in nodes)
            except LesionError as error:
                reasons[name] = str(error)
        return cls(dissection, criterion, training, taps, reasons)

    def observe(self, seed: int) -> None:
        """Lets the criterion see its images, the first of the training images' seeded order."""
        if not self.taps:
            return
        program = compile_program(self.dissection.graph, fold=False)
        needs, batch = self.criterion.images, self.criterion.batch
        for images in self.training.epoch(seed, 0, batch, needs):
            self._see(program, images)

    def _see(self, program: Program, images: Any) -> None:
        tensors = self.dissection.call.inputs(images, program.read)
        wanted = {node for nodes in self.taps.values() for node in nodes}
        with torch.set_grad_enabled(self.criterion.needs == "gradients"):
            values = _run(program, tensors, wanted)
            gradients = self._gradients(values, wanted, images)
        for name, nodes in self.taps.items():
            kind = self.dissection.anatomy.layer[name].kind
            for node in nodes:
                gradient = gradients.get(node)
                shown = None if gradient is None else self._by_filter(gradient, kind)
                self.criterion.update(name, self._by_filter(values[node].detach(), kind), shown)

    def _gradients(
        self, values: dict[int, Tensor], wanted: set[int], images: Any
    ) -> dict[int, Tensor]:
        """Of the summed cross-entropy, by node."""
        if self.criterion.needs != "gradients":
            return {}
        logits = self.training.logits(values[-1])
        loss = F.cross_entropy(logits, labels(self.training, images, logits), reduction="sum")
        nodes = sorted(wanted)
        taps = [values[node] for node in nodes]
        gradients = torch.autograd.grad(loss, taps, allow_unused=True, materialize_grads=True)
        return dict(zip(nodes, gradients, strict=True))

    def _by_filter(self, value: Tensor, kind: str) -> Tensor:
        """A layer's value as the criterion sees it, (images, filters, positions) or maps."""
        if kind == "linear":
            value = value.movedim(-1, 1)
        if self.criterion.maps and kind.endswith("conv2d"):
            return value
        return value.flatten(2) if value.dim() > 2 else value.unsqueeze(2)


def check_classes(criterion: Criterion, training: Training) -> None:
    """Raises LesionError for a criterion of the loss where outputs are no class logits."""
    if not training.subject.classes:
        raise LesionError(
            f"Expected class logits for criterion {criterion.name}, which needs {criterion.needs} "
            "of the cross-entropy; choose a criterion of weights or activations."
        )


def labels(training: Training, images: Any, logits: Tensor) -> Tensor:
    """The labels of training images, or what the network predicts where they have none."""
    if training.subject.adapter.targets(images) is None:
        return logits.detach().argmax(1)
    return torch.as_tensor(training.targets(images)).to(logits.device)


def check_traced(dissection: Dissection, criterion: Observing) -> None:
    """Raises LesionError where no layer's values can be seen."""
    if dissection.anatomy.whole:
        raise LesionError(
            f"Expected a network that can be traced for criterion {criterion.name}, which sees "
            f"what layers give: {dissection.anatomy.whole}; choose a criterion of weights."
        )


def _run(program: Program, tensors: tuple[Tensor, ...], wanted: set[int]) -> dict[int, Tensor]:
    """The values of some nodes, and under -1 the outputs; they ask for gradients where enabled."""
    values: dict[int, Any] = dict(zip(program.inputs, tensors, strict=True))
    kept: dict[int, Tensor] = {}
    for step, done in zip(program.steps, program.ends, strict=True):
        value = step.run(values)
        if step.index in wanted:
            if torch.is_grad_enabled() and not value.requires_grad:
                value = value.detach().requires_grad_(True)
            kept[step.index] = value
        values[step.index] = value
        for index in done:
            values.pop(index, None)
    kept[-1] = values[program.output]
    return kept


def _tapped(dissection: Dissection, node: int, criterion: Criterion) -> int:
    """The node whose value a criterion sees of a layer that runs at a node."""
    nodes, users = dissection.graph.nodes, dissection.graph.users()
    if criterion.tap == "output":
        return node
    readers = [nodes[index] for index in users[node]]
    norm = next((reader for reader in readers if reader.operation == "batch_norm"), None)
    if criterion.tap == "normalised":
        if norm is None:
            raise LesionError("no batch norm follows it directly")
        return norm.index
    behind = node if norm is None else norm.index
    for index in users[behind]:
        if nodes[index].operation in ACTIVATIONS:
            if criterion.tap == "rectified" and not _rectifies(nodes[index]):
                raise LesionError(
                    f"the activation behind it, {nodes[index].operation}, gives no exact zeros"
                )
            return index
    raise LesionError("no activation follows it directly")


def _rectifies(node: Node) -> bool:
    """Whether an activation gives exact zeros for a whole range of values."""
    zero = ZERO_AT.get(node.operation, len(node.args))
    return node.operation in ("relu", "relu6") or node.args[zero : zero + 1] == (0,)


def apart(study: Study, subject: Subject) -> np.ndarray:
    """The digests of a study's images, those kept back too, which no criterion may see."""
    known = study.intact().digest
    rest = read(subject, list(study.header.order[len(known) :]))
    return np.concatenate([scored(study, subject), *rest])


def scored(study: Study, subject: Subject) -> np.ndarray:
    """The digests of the images that a study has scored, and of those kept back, which no recovery
    may see."""
    return np.concatenate([study.intact().digest, *read(subject, list(study.header.holdout))])


def read(subject: Subject, images: list[int]) -> Iterator[np.ndarray]:
    """The digests of some images, chunk by chunk."""
    plan = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    for chunk, batch in zip(plan, subject.images.batches(plan), strict=True):
        yield digests(batch, len(chunk))

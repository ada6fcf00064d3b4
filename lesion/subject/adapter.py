"""From a batch of any shape to what the network gives."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from lesion.errors import SubjectError
from lesion.subject.batch import describe, tensors_in

TARGETS = ("labels", "label", "targets", "target", "y")


class Adapter(Protocol):
    """Stands between the engine and any shape of data: give your own where the default fails.

    >>> class OnlyTheFirstView:
    ...     def forward(self, network, batch):
    ...         return network(batch["views"][:, 0])
    ...
    ...     def targets(self, batch):
    ...         return batch["class"]
    """

    def forward(self, network: nn.Module, batch: Any) -> Any:
        """The network's outputs for a batch, one row an image."""

    def targets(self, batch: Any) -> Any:
        """The labels of a batch: class numbers, shape (N,)."""


@dataclass(frozen=True)
class BatchAdapter:
    """Understands the usual batches.

    (images, labels); several inputs, (x1, x2, labels) → network(x1, x2); dicts such as
    {"pixel_values": …, "labels": …}, whose entries are passed by name (a single one that the
    network does not know by that name is passed by position); (dict of inputs, labels).
    The labels are the last element, or the entry named "labels", "label", "targets", "target", "y".

    >>> import torch
    >>> network = lambda a, b: a + b
    >>> batch = (torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([7]))
    >>> BatchAdapter().forward(network, batch), BatchAdapter().targets(batch)
    (tensor([3.]), tensor([7]))
    """

    def forward(self, network: nn.Module, batch: Any) -> Any:
        """The network's outputs for all of the batch but its labels."""
        inputs, _ = split(batch)
        if isinstance(inputs, Mapping):
            return _call_by_name(network, inputs)
        return network(*inputs)

    def targets(self, batch: Any) -> Any:
        """The labels of the batch, as they are."""
        return split(batch)[1]


@dataclass(frozen=True)
class Unlabelled:
    """Understands batches without labels: a tensor, several inputs, or a dict of inputs.

    What is no tensor, such as the names of files, is no input.
    """

    def forward(self, network: nn.Module, batch: Any) -> Any:
        """The network's outputs for all of the batch."""
        if isinstance(batch, Mapping):
            inputs = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
            return _call_by_name(network, inputs or batch)
        if isinstance(batch, (tuple, list)):
            return network(*([part for part in batch if isinstance(part, Tensor)] or batch))
        return network(batch)

    def targets(self, batch: Any) -> Any:
        """Nothing."""
        return None


@dataclass(frozen=True)
class Output:
    """Scores another output than the one that `logits` finds: by its name, or its place from 0.

    adapter: what stands between batches and the network

    >>> import torch
    >>> network = lambda x: {"features": x, "scores": 2 * x}
    >>> Output("scores").forward(network, (torch.ones(1, 2), torch.tensor([0])))
    tensor([[2., 2.]])
    """

    output: str | int
    adapter: Adapter = BatchAdapter()

    def forward(self, network: nn.Module, batch: Any) -> Any:
        """That output for a batch."""
        images = isinstance(batch, Tensor) and isinstance(self.adapter, BatchAdapter)
        outputs = tensors_in(network(batch) if images else self.adapter.forward(network, batch))
        named = all(isinstance(name, str) for name in outputs)
        if isinstance(self.output, int) and named:
            outputs = {**dict(enumerate(outputs.values())), **outputs}
        wanted = outputs.get(self.output)
        if wanted is None:
            names = ", ".join(map(str, outputs)) or "a single tensor"
            raise SubjectError(
                f"Expected one of the network's outputs ({names}), got {self.output}; give its "
                "name, or its place counted from 0."
            )
        return wanted

    def targets(self, batch: Any) -> Any:
        """The labels of the batch."""
        return self.adapter.targets(batch)


@dataclass(frozen=True)
class Leading:
    """Understands batches of which the first so many are inputs; what follows is not looked at."""

    inputs: int

    def forward(self, network: nn.Module, batch: Any) -> Any:
        """The network's outputs for the first parts of the batch."""
        return network(*batch[: self.inputs])

    def targets(self, batch: Any) -> Any:
        """Nothing."""
        return None


def without_labels(adapter: Adapter, network: nn.Module, batch: Any) -> Adapter:
    """The adapter for batches without class numbers: all of one is input, or what is needed.

    What a network does not need behind its inputs is a target, such as a mask or a clean image.
    """
    if isinstance(adapter, Output):
        return Output(adapter.output, without_labels(adapter.adapter, network, batch))
    if not isinstance(adapter, BatchAdapter):
        return adapter
    needed = inputs_needed(network)
    several = isinstance(batch, (tuple, list)) and 1 <= needed < len(batch)
    tensors = several and sum(isinstance(part, Tensor) for part in batch) > needed
    return Leading(needed) if tensors else Unlabelled()


def inputs_needed(network: nn.Module) -> int:
    """How many arguments the network's forward has to get, 0 where it does not say."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return 0
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in plain and p.default is p.empty for p in parameters)


def split(batch: Any) -> tuple[Mapping[str, Any] | tuple[Any, ...], Any]:
    """The inputs (a mapping or a tuple) and the labels of a batch.

    Raises SubjectError where there are no labels.
    """
    if isinstance(batch, Mapping):
        target = next((name for name in TARGETS if name in batch), None)
        if target is not None:
            return {name: batch[name] for name in batch if name != target}, batch[target]
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        *inputs, labels = batch
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            return inputs[0], labels
        return tuple(inputs), labels
    raise SubjectError(
        f"Expected batches with labels, such as (images, labels) or {{'image': …, 'label': …}}, "
        f"got {describe(batch)}; give labelled data or an adapter that finds the labels, or use a "
        "score that needs none: --score agreement."
    )


def _call_by_name(network: nn.Module, inputs: Mapping[str, Any]) -> Any:
    forward = network.forward if isinstance(network, nn.Module) else network
    parameters = inspect.signature(forward).parameters
    known = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) or set(inputs) <= set(
        parameters
    )
    if known:
        return network(**inputs)
    if len(inputs) == 1:
        return network(*inputs.values())
    raise SubjectError(
        f"Expected a batch whose entries are what the network's forward takes "
        f"({', '.join(parameters)}), got {', '.join(inputs)}; rename or remove entries, "
        "or give an adapter."
    )

"""Whether a network answers an image alike at every pass, whatever images lie beside it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lesion.errors import SubjectError
from lesion.network.chance import drawing, kept, state, streams
from lesion.network.graph import Call, Graph, Node, resolve

# differences that may be rounding, as parts of the outputs' scale: of the same kernels, of those
# for another number of images, and of these in half precision or where sums have no fixed order
SAME, OTHER_SIZE, FEWER_DIGITS = 1e-6, 1e-3, 5e-2
MOST = 256  # images in a batch that is made of the first ones


class Alike:
    """A network's answers to one batch, and what they are to be compared with.

    The first pass is made at once, so that what the network builds on the way is built by it.
    """

    def __init__(self, call: Call, tensors: Sequence[Tensor]) -> None:
        self.call, self.tensors = call, tensors
        self.images = len(tensors[0]) if tensors and tensors[0].dim() else 0
        self.outputs = self._run(tensors)

    def check(self, graph: Graph, whole: bool) -> None:
        """Raises SubjectError where outputs depend on chance, earlier calls or other images.

        graph: what the network does; whole: whether it says so of this batch alone
        """
        if (node := drawing(graph)) is not None:
            raise _random(_where(node))
        if name := kept(graph):
            raise _stateful(name)
        by_image = self.outputs.dim() > 0 and len(self.outputs) == self.images
        if by_image and bool(self.outputs.isfinite().all()):
            self._check_company(graph, whole)
            self._check_sizes(graph)
        else:
            self._check_passes(whole)

    def _check_company(self, graph: Graph, whole: bool) -> None:
        """An image beside copies of itself, in the same place, must get the same outputs."""
        draws = streams()
        for row in range(min(2, self.images)):
            company = self._company(row)
            difference = _apart(self.outputs, self._run(company), row)
            if difference > _again(self.outputs):
                noise = self._check_passes(whole)
                if difference > 10 * noise:
                    raise _mixed("" if whole else _culprit(graph, self.tensors, company, row))
        _check_draws(draws, whole)

    def _company(self, row: int) -> list[Tensor]:
        """An image in its place among copies of itself; among noise, where all are alike."""
        copies = self._rows([row] * self.images)
        if not all(map(torch.equal, copies, self.tensors)):
            return copies
        noise = torch.Generator().manual_seed(0)
        for tensor in copies:
            if tensor.dim() and len(tensor) == self.images and tensor.is_floating_point():
                rows = torch.arange(self.images) != row
                tensor[rows] = 10 * torch.randn(tensor[rows].shape, generator=noise).to(tensor)
        return copies

    def _check_passes(self, whole: bool) -> float:
        """By how much two passes over the same images differ, which must be rounding alone."""
        draws, before = streams(), state(self.call.network)
        again = self._run(self.tensors)
        noise, after = _apart(self.outputs, again), state(self.call.network)
        if noise > _again(again):
            _check_draws(draws, True)
            raise _stateful(next((name for name in after if after[name] != before.get(name)), ""))
        _check_draws(draws, whole)
        return noise

    def _check_sizes(self, graph: Graph) -> None:
        """An image alone must, and in batches so large that the forward goes another way."""
        for size in (1, *(turn for turn in graph.turns if turn <= MOST)):
            rows = [-1 - place % self.images for place in range(size)]  # each in another place
            try:
                outputs = self._run(self._rows(rows))
            except Exception:  # a network may want two images, as where it squeezes its outputs
                continue
            if outputs.numel() == size * self.outputs[0].numel():
                outputs = outputs.reshape(size, *self.outputs.shape[1:])
                if _apart(self.outputs[rows], outputs) > _tolerance(outputs):
                    raise _mixed(f"{size} of them are answered otherwise than {self.images}")

    @torch.no_grad()
    def _run(self, tensors: Sequence[Tensor]) -> Tensor:
        """The outputs; the network gets copies, for it may change what it is given."""
        outputs: Tensor = self.call(*(tensor.clone() for tensor in tensors))
        return outputs

    def _rows(self, rows: list[int]) -> list[Tensor]:
        several = (tensor.dim() and len(tensor) == self.images for tensor in self.tensors)
        return [
            _chosen(tensor, rows) if by_image else tensor
            for tensor, by_image in zip(self.tensors, several, strict=True)
        ]


def _chosen(tensor: Tensor, rows: list[int]) -> Tensor:
    """Rows of a tensor; as many as it has lie in memory as its do, for kernels go by that."""
    if len(rows) == len(tensor):
        return tensor.clone().copy_(tensor[rows])
    return tensor[rows]


def _check_draws(before: dict[str, bytes], whole: bool) -> None:
    """Raises SubjectError for a pass that drew; torch's numbers are in a graph that stands for all.

    whole: whether the graph does not, so that the way may have been chosen by them
    """
    sources = [name for name, now in streams().items() if now != before[name]]
    if sources and (whole or sources != ["torch"]):
        raise _random(f"of {sources[-1]}")


def _apart(expected: Tensor, got: Tensor, row: int | None = None) -> float:
    """The largest difference of two outputs, or of their rows, as part of the first's scale."""
    if expected.shape != got.shape:
        return float("inf")
    first, second = expected.detach().double(), got.detach().double()
    scale = float(first.abs().max()) if first.numel() else 1.0
    if row is not None:
        first, second = first[row], second[row]
    equal = (first == second) | (first.isnan() & second.isnan())
    difference = (first - second).abs().nan_to_num(float("inf"))[~equal]
    return float(difference.max()) / (scale or 1.0) if difference.numel() else 0.0


def _again(outputs: Tensor) -> float:
    """What the same kernels may differ by: nothing to speak of where they sum in one order."""
    return SAME if outputs.device.type == "cpu" else OTHER_SIZE


def _tolerance(outputs: Tensor) -> float:
    """What kernels for another number of images may differ by."""
    exact = outputs.device.type == "cpu" and outputs.dtype in (torch.float32, torch.float64)
    return OTHER_SIZE if exact else FEWER_DIGITS


@torch.no_grad()
def _culprit(graph: Graph, tensors: Sequence[Tensor], company: Sequence[Tensor], row: int) -> str:
    """Where an image's values first depend on those beside it."""
    values, among_copies = _values(graph, tensors), _values(graph, company)
    by_image = [
        isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(tensors[0])
        for value in values
    ]
    for node in graph.nodes:
        if by_image[node.index] and _apart(values[node.index], among_copies[node.index], row) > 0:
            while inner := [n for n in node.inputs if not by_image[n] and _calls(graph, n)]:
                node = graph.nodes[inner[0]]
            return f"first by {_where(node)}"
    return ""


def _calls(graph: Graph, index: int) -> bool:
    return graph.nodes[index].kind == "call"


def _values(graph: Graph, tensors: Sequence[Tensor]) -> list[Any]:
    """The value of each node."""
    values: list[Any] = []
    inputs = iter(tensors)
    for node in graph.nodes:
        if node.kind == "input":
            values.append(next(inputs))
        elif node.kind == "parameter":
            values.append(graph.parameters[node.name])
        else:
            assert node.op is not None
            values.append(node.op(*resolve(node.args, values), **resolve(node.kwargs, values)))
    return values


def _where(node: Node) -> str:
    return f"{node.name} in {node.module or 'its own forward'}"


def _random(source: str) -> SubjectError:
    return SubjectError(
        "Expected a network that gives the same outputs at every pass, got one whose forward draws "
        f"random numbers ({source}); make it deterministic in evaluation mode."
    )


def _stateful(name: str) -> SubjectError:
    what = f"{name} changes" if name else "the same images get others at the second pass"
    return SubjectError(
        "Expected a network that gives the same outputs at every pass, got one that keeps a state "
        f"between calls ({what}); let its outputs depend on the images alone."
    )


def _mixed(where: str) -> SubjectError:
    return SubjectError(
        "Expected a network that answers each image by itself, got one in which an image's outputs "
        f"depend on those beside it{where and f' ({where})'}; take out what mixes the images of a "
        "batch, such as a mean, maximum or softmax over axis 0."
    )

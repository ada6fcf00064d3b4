"""What is refused before it is measured: networks without weights, scores that cannot change."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lesion.errors import LesionError, SubjectError
from lesion.subject.ground_truth import BY_SIGN
from lesion.subject.scores import Given


def check_network(network: nn.Module) -> None:
    """Raises SubjectError for a network without weights yet, or with quantised ones."""
    for name, module in network.named_modules():
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(isinstance(tensor, UninitializedParameter) for tensor in tensors):
            raise SubjectError(
                f"Expected weights, but {name or 'the network'} is a lazy module that has seen no "
                "batch yet; run the network once on a batch first."
            )
        if ".quantized" in type(module).__module__ and "torch" in type(module).__module__:
            raise SubjectError(
                f"Expected weights in floating point, but {name or 'the network'} is quantised "
                f"({type(module).__name__}); give the network as it was before its conversion."
            )


MOST = 1024  # classes that are tried as an answer


def check_choice(score: Any, classes: int) -> None:
    """Raises SubjectError for the best class of one, and for the best five of no more."""
    if score in ("top1", "top5") and classes == 1:
        raise SubjectError(
            f"Expected two outputs or more for the score {score}, got one an image, which is "
            f"always the largest; {BY_SIGN}."
        )
    if score == "top5" and classes <= 5:
        raise SubjectError(
            f"Expected more than five classes for the score top5, got {classes}, so that every "
            "label is among the first five; use top1."
        )


def check_given(tally: Given, outputs: Tensor, targets: Any) -> None:
    """Raises SubjectError where a user's score is the same whatever the outputs are."""
    try:
        scores = tally.answers(outputs, targets, None)["score"]
        answers = (tally.answers(changed, targets, None)["score"] for changed in _others(outputs))
        same = all((answer == scores).all() for answer in answers)
    except LesionError:  # of outputs that no network gives
        return
    if same:
        raise SubjectError(
            f"Expected a score that depends on the outputs, got {scores[0]:g} for the first image "
            "whatever they are; let the function compare the outputs with the targets."
        )


def _others(outputs: Tensor) -> Iterator[Tensor]:
    """Other outputs than these: turned round, without difference, and each class for all."""
    noise = torch.Generator().manual_seed(0)
    yield -outputs
    yield torch.zeros_like(outputs)
    yield torch.randn(outputs.shape, generator=noise).to(outputs)
    yield outputs.abs() + 1
    for place in range(min(MOST, outputs.shape[1] if outputs.dim() > 1 else 0)):
        answer = torch.full_like(outputs, -10.0)
        answer[:, place] = 10
        yield answer

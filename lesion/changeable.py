"""Scores that cannot change whatever a network answers: they are refused, not measured."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lesion.errors import LesionError, SubjectError
from lesion.graph import Graph
from lesion.ground_truth import BY_SIGN
from lesion.tally import Given

MOST = 1024  # classes that are tried as an answer
WRAPPED = {"view", "reshape", "flatten", "squeeze", "unsqueeze", "clone", "contiguous", "to"}
PROBABILITIES = {"softmax", "_softmax", "sigmoid", "hardsigmoid"}
NEVER_BELOW = PROBABILITIES | {"relu", "relu6", "softplus", "exp", "abs", "square"}
NEVER_ABOVE = {"log_softmax", "_log_softmax", "log_sigmoid", "logsigmoid", "log_sigmoid_forward"}


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


def check_ending(score: str, graph: Graph, width: int) -> None:
    """Raises SubjectError where what the network ends in hides what the score looks at."""
    node = graph.nodes[graph.output]
    while node.operation in WRAPPED and node.inputs:
        node = graph.nodes[node.inputs[0]]
    fixed = width == 1 and node.operation in NEVER_BELOW | NEVER_ABOVE
    if fixed:
        problem = "the sign of its one output tells the class and is always the same"
    elif score == "tv" and node.operation in PROBABILITIES:
        problem = "total variation is between the softmax of logits"
    else:
        return
    name = node.name.strip("_")
    raise SubjectError(
        f"Expected logits for the score {score}, because {problem}, got outputs of {name}; give an "
        f"adapter whose forward returns what {name} is given, or a score of your own."
    )

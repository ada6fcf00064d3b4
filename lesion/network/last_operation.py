"""Scores that what a network ends in would hide."""

from lesion.errors import SubjectError
from lesion.network.graph import Graph

WRAPPED = {"view", "reshape", "flatten", "squeeze", "unsqueeze", "clone", "contiguous", "to"}
PROBABILITIES = {"softmax", "_softmax", "sigmoid", "hardsigmoid"}
NEVER_BELOW = PROBABILITIES | {"relu", "relu6", "softplus", "exp", "abs", "square"}
NEVER_ABOVE = {"log_softmax", "_log_softmax", "log_sigmoid", "logsigmoid", "log_sigmoid_forward"}


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

"""What a user's function says of a whole network."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from lesion.errors import SubjectError, first_line
from lesion.subject.batch import describe
from lesion.subject.set_score import Resampled, SetScore

Evaluate = Callable[[nn.Module], Any]


class Evaluation(NamedTuple):
    """What it says: a number, and what it is where images are drawn again, if that can be said."""

    value: float
    resampled: Resampled | None = None

    @classmethod
    def of(cls, evaluate: Evaluate, network: nn.Module) -> "Evaluation":
        """Raises SubjectError where the function raises anything, or gives what is no number."""
        try:
            given = evaluate(network)
            if isinstance(given, SetScore):
                return cls(given.value, given.resampled())
        except Exception as error:  # the function is the user's: it may raise anything
            raise SubjectError(
                f"Expected an evaluation of the network, but the function raised "
                f"{type(error).__name__}: {first_line(error)}; mend it and run the same again: "
                "what is evaluated is kept."
            ) from error
        try:
            return cls(float(given))
        except (TypeError, ValueError, RuntimeError) as error:
            raise SubjectError(
                f"Expected one number from the evaluation, larger being better, or a "
                f"lesion.SetScore, got {describe(given)}; let the function return it."
            ) from error

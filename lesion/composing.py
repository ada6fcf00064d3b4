"""How drops measured one by one add up when the cuts are made together."""

import numpy as np

FLOOR = 1e-3  # of the baseline: what no product falls below


def losses(drops: np.ndarray, baseline: float) -> np.ndarray:
    """Drops in points as numbers that add up: −log(1 − drop / baseline).

    Then accuracies multiply: each cut keeps its share of what is right, whatever others took.

    >>> losses(np.array([0.0, 45.0]), 90.0).round(4).tolist()
    [0.0, 0.6931]
    """
    left = np.maximum(1 - np.asarray(drops, float) / max(baseline, FLOOR), FLOOR)
    found: np.ndarray = 0.0 - np.log(left)
    return found


def joint_drop(loss: float, baseline: float) -> float:
    """The drop in points that a sum of losses stands for.

    >>> one = losses(np.array([9.0]), 90.0).sum()
    >>> round(joint_drop(one, 90.0), 6), round(joint_drop(2 * one, 90.0), 6)
    (9.0, 17.1)
    """
    return float(baseline * -np.expm1(-loss))

"""How many flips a cell expects, from its own past and a family of flip models.

p is the posterior mean *given that the claim is true*, once for SAFE and once for SENSITIVE, so
that the bets against either begin with the first image.
"""

from typing import NamedTuple

import numpy as np

from lesion.sequential.question import Array
from lesion.sequential.strata import Strata
from lesion.sequential.uniform import normal

STRENGTH = 20.0  # images of its own that a group needs to weigh as much as the models


class Beliefs(NamedTuple):
    """What cells expect: p (cells, 2, groups) if SAFE and if SENSITIVE, P(SAFE), and the drop."""

    p: Array
    safe: Array
    drop: Array


def believe(strata: Strata, drawn: Array, flips: Array, total: Array) -> Beliefs:
    """What cells expect that have drawn (cells, groups) images, of which so many flipped.

    total: (cells,) ΣD so far.  Fractional drops count as so much of a flip.
    """
    weights, safe, drop = _posterior(strata, drawn, flips, total)
    p = np.zeros((len(total), 2, strata.groups))
    for model, chances in enumerate(strata.model):
        p += weights[:, :, model, None] * chances
    p = (STRENGTH * p + flips[:, None]) / (STRENGTH + drawn[:, None])
    return Beliefs(p, safe, drop / strata.question.images)


def _posterior(
    strata: Strata, drawn: Array, flips: Array, total: Array
) -> tuple[Array, Array, Array]:
    """(cells, 2, models) weights given SAFE and given SENSITIVE, P(SAFE), expected ΣD.

    Added group by group, so that a cell's numbers are the same in whatever company.
    """
    loglik = np.tile(strata.prior, (len(total), 1))
    mean, variance = np.zeros(loglik.shape), np.full(loglik.shape, 1e-9)
    hit, miss = strata.log_model
    for h in range(strata.groups):
        p, flipped = strata.model[:, h], flips[:, h, None]
        left = strata.size[h] - drawn[:, h, None]
        loglik += flipped * hit[:, h] + (drawn[:, h, None] - flipped) * miss[:, h]
        mean += left * (p if strata.right[h] else -p)
        variance += left * (p * (1 - p))
    weight = np.exp(loglik - loglik.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    middle = sum(strata.question.bars) / 2
    chance = normal((middle - total[:, None] - mean) / np.sqrt(variance))
    safe = np.clip((weight * chance).sum(1), 1e-6, 1 - 1e-6)
    given = [weight * chance / safe[:, None], weight * (1 - chance) / (1 - safe)[:, None]]
    return np.stack(given, 1), safe, total + (weight * mean).sum(1)

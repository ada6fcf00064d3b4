"""Which draws and bets gain most if the flips are as expected; none of it can spoil a verdict.

Bets pay a where an image does not flip and b where it does.  Among the bets of stratified betting
(see `stratified`) the one that grows fastest, when flips come with probabilities p, is the
likelihood ratio a = (1 − p) / (1 − q), b = p / q against the least favourable alternative q, which
has Σ unseen ±q = A.  It is found exactly for given weights y, and hedges by itself: no flip ruins
it. The weights that serve best make KL(p ‖ q) the same in all groups; a closed form close to that
is used.

Source: Grünwald, de Heide and Koolen 2024, Safe testing; the weights as in Garivier and Kaufmann
2016, Optimal best arm identification with fixed confidence.
"""

import numpy as np

from lesion.sequential.question import Array

FAINTEST = 0.1  # least y, where the average is about 1
OVERSAMPLED = 2.0  # variance counts double: drawing a group empties it, which helps later draws
FULL = 0.999  # of the largest bet


def attention(
    p: Array, share: Array, need: Array, sign: Array, adverse: Array, least: float
) -> Array:
    """The weights y of the groups' images, 1 on average over the unseen.

    p, share: (cells, groups) expected flips, and unseen images as shares of all; need: (cells,)
    what the unseen must lose if the claim is false, taken for at least `least` more than expected;
    sign: (groups,) 1 where a flip speaks against the claim; adverse: where images must be drawn.

    Where v is the growth an image, q is about sqrt(2 v p (1 − p)) + v away from p, and y is
    sqrt(1 + p (1 − p) / 2 v) in adverse groups, less elsewhere.
    """
    gap = np.maximum(need - (share * sign * p).sum(1), least)
    distance = np.sqrt(2 * p * (1 - p))
    reach, slope = share * distance, np.maximum(0.8 * (share * adverse).sum(1), 1e-9)
    growth = gap**2
    for _ in range(3):
        moves = adverse | (distance * np.sqrt(growth)[:, None] < p)
        rest = np.maximum(gap - (share * p * ~moves).sum(1), 0.2 * gap)
        pull = (reach * moves).sum(1)
        growth = ((np.sqrt(pull * pull + 4 * slope * rest) - pull) / (2 * slope)) ** 2
    ratio = OVERSAMPLED * p * (1 - p) / (2 * growth[:, None])
    y = np.where(adverse, np.sqrt(1 + ratio), np.maximum(np.sqrt(ratio) - 0.6, FAINTEST))
    return np.asarray(y / (share * y).sum(1, keepdims=True))


def capped(bet: Array, room: Array) -> Array:
    """The bet, as far as an image that loses `room` a unit does not ruin it."""
    most = np.where(room > 0, FULL / np.maximum(room, 1e-300), np.inf)
    return np.asarray(np.minimum(bet, most))


def kelly(p: Array, share: Array, weight: Array, need: Array, sign: Array) -> tuple[Array, Array]:
    """The bet λ and the guesses g that grow fastest for flips p under draws by `weight`.

    p: (cells, 2, groups); share: (cells, groups) of all images, unseen; weight: 1 on average over
    the unseen; need: (cells, 2); sign: (2, groups), 1 where a flip speaks against the claim.  The
    best bet pays a where no flip comes and b where one does, with a − b = sign λ / weight and
    (1 − p) / a + p / b = 1; it is against q = p / b.  λ is where q meets the need; 0 where p
    itself does not fall short of it.
    """
    weight, share = weight[:, None], share[:, None]
    gap = need - (share * sign * p).sum(2)
    large = (sign > 0) | (weight > 0.5)
    spread = (share * np.where(large, p * (1 - p) / weight, 0.0)).sum(2)
    middle = np.log(np.maximum(gap, 1e-12) / (spread + gap**2 + 1e-12))

    def pays(bet: Array) -> tuple[Array, Array]:
        step = sign * bet[:, :, None] / weight
        root = np.sqrt((1 - step) ** 2 + 4 * p * step)
        return (1 + step + root) / 2, np.maximum((1 - step + root) / 2, 1e-12)

    low, high = middle - 4, middle + 3
    for _ in range(14):
        middle = (low + high) / 2
        short = (share * sign * p / pays(np.exp(middle))[1]).sum(2) < need
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    bet = np.exp(middle)
    guess = (pays(bet)[0] - 1) * weight / bet[:, :, None]
    good = gap > 0
    return np.where(good, bet, 0.0), np.where(good[:, :, None], guess, sign * p)

"""How sure a drop is: intervals for the difference of two proportions on the same images.

Each image is one of four: right in both networks, broken (right in the intact one only), repaired
(right in the lesioned one only), wrong in both. All values are proportions, not points. The number
of images is fixed beforehand: looking again and again until an interval pleases voids it.
"""

from collections.abc import Iterable
from math import fsum, sqrt
from statistics import NormalDist
from typing import NamedTuple

from lesion.errors import LesionError


class Interval(NamedTuple):
    """A drop, and the two ends of its interval."""

    drop: float
    low: float
    high: float


def newcombe(
    both: float, base_only: float, lesion_only: float, neither: float, confidence: float = 0.95
) -> Interval:
    """The drop (base_only − lesion_only) / n with Newcombe's method 10.

    The Wilson limits of the two accuracies, joined by their correlation φ, whose numerator is
    corrected for continuity where it is positive. Counts need not be whole. Raises LesionError
    where a count is negative, all are zero, or the confidence is not between 0 and 1.

    Source: Newcombe 1998, Statistics in Medicine 17, 2635-2650, section 2, method 10.

    >>> [round(value, 4) for value in newcombe(36, 12, 2, 0)]
    [0.2, 0.0569, 0.3404]
    """
    z = _quantile(confidence)
    n = _total(both, base_only, lesion_only, neither)
    base, lesion = (both + base_only) / n, (both + lesion_only) / n
    base_low, base_high = wilson(base, n, z)
    lesion_low, lesion_high = wilson(lesion, n, z)
    phi = _correlation(both, base_only, lesion_only, neither)
    drop = (base_only - lesion_only) / n
    down = _joined(base - base_low, lesion_high - lesion, phi)
    up = _joined(base_high - base, lesion - lesion_low, phi)
    return Interval(drop, max(-1.0, drop - down), min(1.0, drop + up))


def bonett_price(differences: Iterable[float], confidence: float = 0.95) -> Interval:
    """The mean of paired differences, each from −1 to 1, with Bonett and Price's adjustment.

    The usual interval after one image more that loses all and one that gains all, so that equal
    differences have an interval too. Raises LesionError where there are none, or the confidence is
    not between 0 and 1.

    Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, 479-488, for
    differences of hits; squares stand here in place of counts.

    >>> [round(value, 4) for value in bonett_price([0.0] * 98)]  # 0 ± 1.96 · √(2 / 100 / 100)
    [0.0, -0.0277, 0.0277]
    """
    z, values = _quantile(confidence), list(differences)
    _total(len(values), 0)
    n, total = len(values), fsum(values)
    middle, square = total / (n + 2), (fsum(value * value for value in values) + 2) / (n + 2)
    half = z * sqrt(max(0.0, square - middle * middle) / (n + 2))
    drop = total / n
    return Interval(drop, max(-1.0, min(drop, middle - half)), min(1.0, max(drop, middle + half)))


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """The two ends of Wilson's score interval for a share of n; z is the normal quantile.

    >>> [round(end, 4) for end in wilson(0.5, 100, 1.96)]
    [0.4038, 0.5962]
    """
    middle = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise LesionError(f"Expected a confidence between 0 and 1, such as 0.95, got {confidence}.")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _total(*counts: float) -> float:
    total = sum(counts)
    if not (min(counts) >= 0 and total > 0):
        raise LesionError(
            f"Expected counts of images, none negative and not all zero, got {counts}: "
            "measure at least one image."
        )
    return total


def _correlation(both: float, base_only: float, lesion_only: float, neither: float) -> float:
    """φ between the two networks' being right; 0 where one of them always or never is."""
    product = (both + base_only) * (lesion_only + neither)
    product *= (both + lesion_only) * (base_only + neither)
    if product == 0:
        return 0.0
    surplus = both * neither - base_only * lesion_only
    if surplus > 0:
        surplus = max(0.0, surplus - (both + base_only + lesion_only + neither) / 2)
    return surplus / sqrt(product)


def _joined(base: float, lesion: float, phi: float) -> float:
    return sqrt(max(0.0, base * base - 2 * phi * base * lesion + lesion * lesion))

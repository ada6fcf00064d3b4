"""How numbers read wherever something is told: rates, points, counts, durations."""

UNMEASURED = "not measured yet"
LABELS = {
    "top1": "top-1",
    "top5": "top-5",
    "agreement": "agreement with itself",
    "tv": "1 − total variation from itself",
    "score": "score",
    "evaluation": "evaluation",
}


def percent(ratio: float) -> str:
    """A ratio in per cent.

    >>> percent(0.3), percent(0.125)
    ('30 %', '12.5 %')
    """
    return f"{100 * ratio:.4g} %"


def points(value: float) -> str:
    """Percentage points in words.

    >>> points(1), points(0.5)
    ('1 point', '0.5 points')
    """
    return f"{value:g} point{'' if value == 1 else 's'}"


def scored(column: str, mean: float, images: int) -> str:
    """How good the intact network is, in words.

    >>> scored("top1", 91.234, 2000), scored("evaluation", 0.43215, 0)
    ('91.23 % top-1 on 2 000 images', '0.4321 by its evaluation')
    """
    if column == "evaluation":
        return f"{mean:.4g} by its evaluation"
    return f"{mean:.2f} % {LABELS[column]} on {grouped(images)} images"


def signed(value: float, digits: int) -> str:
    """A number with a true minus sign and without a negative zero.

    >>> signed(-0.26, 1), signed(-0.04, 1)
    ('−0.3', '0.0')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def lost(column: str, drop: float) -> str:
    """A drop with its unit, which an evaluation has of its own.

    >>> lost("top1", 0.25), lost("evaluation", 0.00251)
    ('0.25 points', '0.00251')
    """
    return f"{drop:.4g}" if column == "evaluation" else f"{signed(drop, 2)} points"


def grouped(number: int) -> str:
    """A whole number with its thousands apart.

    >>> grouped(12000), grouped(700)
    ('12 000', '700')
    """
    return f"{number:,}".replace(",", " ")


def duration(seconds: float) -> str:
    """A time in words, to two digits.

    >>> duration(3.2), duration(95), duration(5400)
    ('3 s', '1.6 min', '1.5 h')
    """
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    unit, size = ("min", 60) if seconds < 3600 else ("h", 3600)
    return (
        f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    )


def rounded(number: int) -> int:
    """A number rounded up to two significant digits.

    >>> rounded(4032), rounded(87)
    (4100, 87)
    """
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step

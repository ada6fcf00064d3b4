"""What the texts of options mean: lists, numbers, times."""

import re
from collections.abc import Mapping

from lesion.errors import LesionError


def listed(text: str | None) -> tuple[str, ...]:
    """The parts between commas.

    >>> listed("png, svg"), listed(""), listed(None)
    (('png', 'svg'), ('',), ())
    """
    return () if text is None else tuple(part.strip() for part in text.split(","))


OPTIONS = re.compile(r"([^:,=]+):(\w+=[\w.]+(?:,\w+=[\w.]+)*)")  # such as oracle:images=1000


def with_options(text: str) -> tuple[str, dict[str, str]]:
    """A name, and the options behind it; none where the text has another form.

    >>> with_options("quantise:per=tensor,clip=mse"), with_options("l1")
    (('quantise', {'per': 'tensor', 'clip': 'mse'}), ('l1', {}))
    """
    match = OPTIONS.fullmatch(text)
    if match is None:
        return text, {}
    return match[1], dict(option.split("=") for option in match[2].split(","))


def named(name: str, options: Mapping[str, object]) -> str:
    """A name with options, as `with_options` reads them.

    >>> named("oracle", {"images": 1000}), named("oracle", {})
    ('oracle:images=1000', 'oracle')
    """
    return f"{name}:{','.join(f'{key}={value}' for key, value in options.items())}".rstrip(":")


def several(text: str) -> tuple[str, ...]:
    """The names between commas, each with its options.

    >>> several("filters, quantise:per=tensor,clip=mse,noise")
    ('filters', 'quantise:per=tensor,clip=mse', 'noise')
    """
    return tuple(part.strip() for part in re.split(r",(?!\s*\w+=)", text))


def seconds(text: str | None) -> float:
    """A time in seconds, without end for None.

    >>> seconds("5min"), seconds("1.5h"), seconds("90")
    (300.0, 5400.0, 90.0)
    """
    if text is None:
        return float("inf")
    match = re.fullmatch(r"([0-9.]+) *(s|sec|m|min|h|)", text.strip())
    try:
        assert match
        scale = {"m": 60.0, "min": 60.0, "h": 3600.0}.get(match[2], 1.0)
        time = float(match[1]) * scale
        assert time > 0
    except (AssertionError, ValueError) as error:
        raise LesionError(
            f"Expected a time such as 90s, 5min or 2h, above 0, for --time-limit, got '{text}'."
        ) from error
    return time


def numbers(text: str | None, option: str, percent: float = 0.0) -> tuple[float, ...] | None:
    """The numbers between commas, None where the option was not given.

    percent: what a per cent counts, 0 where there are none

    >>> numbers("0.1, .5,90%", "--amounts", percent=0.01)
    (0.1, 0.5, 0.9)
    """
    if text is None:
        return None
    try:
        return tuple(
            percent * float(part[:-1]) if percent and part.endswith("%") else float(part)
            for part in listed(text)
        )
    except ValueError as error:
        raise LesionError(
            f"Expected numbers with commas between them for {option}, got '{text}'; "
            "such as 0.1,0.5."
        ) from error


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """The shape of one input, None where the option was not given.

    >>> shape_of("3x224x224"), shape_of("64"), shape_of(None)
    ((3, 224, 224), (64,), None)
    """
    if text is None:
        return None
    sizes = tuple(int(part) if part.isdecimal() else 0 for part in text.split("x"))
    if not all(sizes):
        raise LesionError(
            f"Expected the shape of one input for --input, such as 3x224x224, got '{text}'."
        )
    return sizes

"""The errors a user meets: what was expected, what came, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb

from lesion.harmless import line


class LesionError(Exception):
    """Something a user can mend; its text says how, in one line."""

    def __init__(self, text: str = "") -> None:
        super().__init__(line(text))


class SubjectError(LesionError):
    """The network, its weights or its images cannot be used as given."""


class StudyError(LesionError):
    """The study file cannot be read, or belongs to another subject."""


class EvidenceError(LesionError):
    """The study holds too little to answer."""


@contextmanager
def staying(kind: type[BaseException] = SystemExit) -> Iterator[None]:
    """Within, code of others that ends the process (`sys.exit`, `exit`) raises SubjectError.

    Else a network, data or a function that does so would end a sweep in silence, as if all was
    well.  kind: what else is caught that is no Exception, but for interrupts
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except kind as error:
        raise SubjectError(
            f"Expected code that returns or raises an error, got {_ending(error)} at "
            f"{_place(error)}, which ends the process; take it out, or put it under "
            'if __name__ == "__main__".'
        ) from error


def _ending(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r})"
    return f"{type(error).__name__} (no Exception)"


def _place(error: BaseException) -> str:
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.name != "__call__"]
    return f"{frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text without its full stop, its type's name if it has none.

    >>> first_line(ValueError("No such size.")), first_line(KeyError())
    ('No such size', 'KeyError')
    """
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__

"""The errors a user meets: what was expected, what came, what to do."""

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


def first_line(error: BaseException) -> str:
    """The first line of an error's text without its full stop, its type's name if it has none.

    >>> first_line(ValueError("No such size.")), first_line(KeyError())
    ('No such size', 'KeyError')
    """
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__

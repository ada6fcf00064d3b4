"""Which of the lesions that a study holds are meant, and which where nothing is said."""

from collections.abc import Sequence

from lesion.errors import EvidenceError
from lesion.lesions.lesion import Lesion
from lesion.study.study import Study


def default(held: Sequence[str], usual: str) -> str:
    """What is meant where nothing is named: what is usual, or the first where that is missing."""
    return usual if usual in held else held[0]


def recovered(study: Study, recovery: str) -> list[Lesion]:
    """The lesions that recovered in one way. Raises EvidenceError where there are none."""
    lesions = study.lesions
    if not lesions:
        raise EvidenceError(
            f"Expected measured lesions in {study.path}, but it holds none: lesion curves says of "
            "each layer why, or sweep more layers."
        )
    ways = dict.fromkeys(lesion.recovery for lesion in lesions)
    if recovery not in ways:
        held = ", ".join(way or "one-shot" for way in ways)
        raise EvidenceError(
            f"Expected lesions with recovery by {recovery or 'nothing (one-shot)'}, but "
            f"{study.path} holds others ({held}): sweep with that, or name one of these."
        )
    return [lesion for lesion in lesions if lesion.recovery == recovery]


def named(study: Study, kind: str, asked: str | None, usual: str, held: Sequence[str]) -> str:
    """What is asked of those that the study holds. Raises EvidenceError for another."""
    names = list(dict.fromkeys(held))
    if asked is None:
        return default(names, usual)
    if asked in names:
        return asked
    raise EvidenceError(
        f"Expected one of the {kind} that {study.path} holds ({', '.join(names)}), "
        f"got {asked}: sweep with that {'damage' if kind != 'criteria' else 'criterion'}, or name "
        "another."
    )

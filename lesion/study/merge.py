"""Several studies of one subject as one: the union of what they hold."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lesion.boundary.files import new_file
from lesion.errors import StudyError
from lesion.study import database
from lesion.study.error_shares import Plan
from lesion.study.header import Header, conflicts
from lesion.study.ledger import joined
from lesion.study.study import Study


def merge(paths: Sequence[str | Path], out: str | Path) -> None:
    """Write the union of studies of the same subject to a new file; their order changes nothing.

    Of a lesion the outcomes of all are joined. Raises StudyError where a file is no
    study, subjects or orders differ, two files contradict each other, or `out` exists; then no
    file is left at `out`.
    """
    out = Path(out)
    if not paths:
        raise StudyError("Expected at least one study to merge, got none: name the files.")
    if out.exists():
        raise _occupied(out)
    inputs = sorted(map(Path, paths), key=_content)
    with _whole(out) as part, ExitStack() as stack:
        studies = [stack.enter_context(Study.open(path)) for path in inputs]
        made = stack.enter_context(Study.create(part, _header(studies)))
        for study in studies:
            with _named(study, part):
                _take(made, study)
        _measured(made, studies, part)


@contextmanager
def _named(study: Study, part: Path) -> Iterator[None]:
    """A contradiction is told with the name of the file that it came up in."""
    try:
        yield
    except StudyError as error:
        text = str(error).replace(str(part), "the other studies")
        raise StudyError(f"Cannot merge {study.path}: {text}") from error


def _content(path: Path) -> str:
    """A text to sort by that does not depend on the file's name."""
    with database.explaining(path), suppress(FileNotFoundError):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A name to write under; what is there appears at `out` once it is complete."""
    with database.explaining(out):
        try:
            with new_file(out) as part, _at(out):
                yield part
        except FileExistsError as error:
            raise _occupied(out) from error


@contextmanager
def _at(out: Path) -> Iterator[None]:
    """A full disk is told of the file that was asked for, of which nothing is kept."""
    try:
        yield
    except StudyError as error:
        if "the disk is full" not in str(error):
            raise
        raise StudyError(
            f"Expected room to write {out}, but the disk is full: no file was made; free some "
            "space and merge again, or choose another place."
        ) from error


def _occupied(out: Path) -> StudyError:
    return StudyError(f"Expected a new file for the merged study, but {out} exists: name another.")


def _header(studies: list[Study]) -> Header:
    """The first study's header with the environments and settings of all, and the blocks that any
    knows."""
    first = studies[0]
    for study in studies[1:]:
        phrases = conflicts(first.header, study.header)
        if phrases:
            raise StudyError(
                f"Expected studies of one subject, but {first.path} (there) and {study.path} "
                f"(here) differ in {'; '.join(phrases)}: merge those of one network, images and "
                "settings."
            )
    anatomies = [study.anatomy for study in studies]
    return replace(
        first.header,
        anatomy=next((anatomy for anatomy in anatomies if anatomy.blocks), anatomies[0]),
        environment=_union([study.header.environment for study in studies]),
        settings=_union([study.header.settings for study in studies]),
    )


def _union(mappings: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Entries that are the same everywhere as they are, others as a text of all their values."""
    union: dict[str, Any] = {}
    for name in sorted({name for entries in mappings for name in entries}):
        values = {_text(entries[name]): entries[name] for entries in mappings if name in entries}
        union[name] = " | ".join(sorted(values)) if len(values) > 1 else values.popitem()[1]
    return union


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _take(made: Study, study: Study) -> None:
    for name, amounts in study.damages.items():
        made.set_damage(name, amounts)
    for name, images in study.criteria.items():
        made.set_criterion(name, images)
    made.add(study.lesions, study.skipped)
    made.set_savings(study.savings)
    for name, training in study.recoveries.items():
        made.set_recovery(name, training)
    for text in study.plans:
        made.add_plan(Plan.from_text(text).family, text, several=True)
    for aim in study.aims:
        made.aim(aim)
    for key, scores in study.all_scores().items():
        made.set_scores(*key, scores)
    for lesion, reason in study.failed.items():
        made.fail(lesion, reason)
    resampled = study.resampled
    for evaluated, value in study.evaluations.items():  # None: the intact network
        made.set_evaluation(value, evaluated, resampled.get(evaluated))
    for check in study.checks:  # what they spent of the error stays spent
        if check not in made.checks:
            made.add_check(check)
    if study.calibration:
        made.set_calibration(study.calibration)


def _measured(made: Study, studies: list[Study], part: Path) -> None:
    """What the studies hold of the intact network and of each lesion, as one row each."""
    for study in sorted(studies, key=lambda study: -study.images):  # the longest is one row
        with _named(study, part):
            made.record({}, study.intact())
    for lesion in made.lesions:
        holders = [study for study in studies if lesion in study.lesions]
        outcomes = holders[0].outcomes(lesion)
        for study in holders[1:]:
            with _named(study, part):
                outcomes = joined(outcomes, study.outcomes(lesion), lesion.key)
        made.record({lesion: outcomes})

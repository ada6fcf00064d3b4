"""What a study knows of how its subject was named, so that later commands need not be told.

Code (FILE.py:NAME, PACKAGE.MODULE:NAME) is run unasked only where the file is the very one that was
swept: a study may come from anybody.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lesion.cli.option_groups import Measured, Reshown, Shown
from lesion.errors import LesionError, StudyError
from lesion.study.header import named_in
from lesion.study.study import Study
from lesion.subject.outcomes import EVALUATION

FORMS = ("demo", "torchvision", "timm", "hf", "imagefolder", "npz")  # whose names are no code


def source(measured: Measured, score: str = "") -> dict[str, Any]:
    """What a new study is to remember of the options, and digests of the files with code."""
    options = {**_given(measured), **({"score": score} if score else {})}
    digests = {name: _digest(text) for name, text in options.items() if _is_code(text)}
    known = {name: digest for name, digest in digests.items() if digest}
    return {"options": options, "code": known}


def settings_at(out: Path) -> Mapping[str, Any]:
    """The settings of the study that a sweep goes on with, none for a new one."""
    if not out.exists():
        return {}
    with Study.open(out) as study:
        if EVALUATION in study.header.columns:
            raise StudyError(
                f"Expected a study whose images have scores, but {out} holds whole evaluations; "
                "go on with it by `lesion evaluate`, or name a new study file."
            )
        return study.header.settings


def recalled(measured: Measured, settings: Mapping[str, Any], path: Path) -> Measured:
    """The options as given, and what was left out as it was swept.

    Raises LesionError where neither says which network or data.
    """
    given, swept = _given(measured), named_in(settings)
    if "network" in given:  # other weights belong to another network
        swept = {name: swept[name] for name in swept if name not in ("weights", "classes")}
    kind = Shown if isinstance(measured, Reshown) else Measured
    names = {field.name for field in fields(kind)}
    values = {**{name: swept[name] for name in swept if name in names}, **given}
    for name in ("network", "data"):
        if name == "data" and "input" in given:
            continue
        if name not in values:
            why = f", which {path} does not say" if path.exists() else ""
            raise LesionError(
                f"Expected --{name}{why}, got none; give --network and --data of what is measured."
            )
        if name not in given:
            _check_code(name, settings, path)
    return kind(**values)


def recalled_score(score: str | None, settings: Mapping[str, Any], path: Path) -> str:
    """The score as given, or as it was swept."""
    if score is not None:
        return score
    _check_code("score", settings, path)
    return str(named_in(settings).get("score") or settings.get("score", "top1"))


def _given(measured: Measured) -> dict[str, Any]:
    values = {field.name: getattr(measured, field.name) for field in fields(measured)}
    return {name: value for name, value in values.items() if value is not None}


def _check_code(name: str, settings: Mapping[str, Any], path: Path) -> None:
    """Raises LesionError for code in an option that is not the file that was swept."""
    text = named_in(settings).get(name, "")
    if not _is_code(text):
        return
    digest = _digest(text)
    if digest is None or digest != settings["source"].get("code", {}).get(name):
        raise LesionError(
            f"Expected the code that {path} was swept with, but {text} is missing or another now: "
            f"check it, then give --{name} {text}."
        )


def _is_code(text: Any) -> bool:
    form, colon, _ = str(text).partition(":")
    return bool(colon) and form not in FORMS


def _digest(text: str) -> str | None:
    """Of the file that a reference to code names, None where it is not here."""
    place = text.rpartition(":")[0]
    file = Path(place if place.endswith(".py") else f"{place.replace('.', '/')}.py")
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None

"""All pictures of a study as files."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lesion import harmless
from lesion.boundary.files import write
from lesion.errors import LesionError
from lesion.lesions.agreement import Agreement
from lesion.network.anatomy import Anatomy
from lesion.rates.allocation import Allocation
from lesion.reports.plots.calibration import plot_calibration
from lesion.reports.plots.channels import plot_channels
from lesion.reports.plots.criteria import plot_criteria
from lesion.reports.plots.damages import plot_damage_map, plot_damages
from lesion.reports.plots.pairs import plot_interactions
from lesion.reports.plots.plot import Drawn
from lesion.reports.plots.recovery import plot_recovery
from lesion.reports.plots.rows import damage_of
from lesion.reports.plots.tradeoff import plot_tradeoff
from lesion.results.advice import Advice
from lesion.results.reading import DAMAGE
from lesion.study.study import Study

if TYPE_CHECKING:
    from lesion.joint.interactions import Interactions

FORMATS = ("png", "svg", "pdf")
# Without dates and random names, so that the same study gives the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def save_all(
    curves: pd.DataFrame,
    folder: str | Path,
    *,
    advice: Advice | None = None,
    norms: Mapping[str, np.ndarray] | None = None,
    anatomy: Anatomy | None = None,
    criterion: str | None = None,
    damage: str | None = None,
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Write sensitivity, drop, heatmap, norms and rates of one kind of damage; gives the paths.

    formats: any of "png" (150 dots an inch), "svg", "pdf". Norms need `norms`, are of filters alone
    and show the measured layers; rates need `advice`.
    damage: what the advice is of, or filters, or the first; files of another than filters bear its
    name
    Raises LesionError for another format or a folder that cannot be written.
    """
    check_formats(formats)
    damage = damage_of(curves, damage, advice)
    draw = Drawn(curves, advice, norms, anatomy, criterion, damage).pictures
    return [
        path
        for name, picture in draw.items()
        for path in _save(partial(picture, None), _file(name, damage), folder, formats)
    ]


def _file(name: str, damage: str) -> str:
    """What a picture is called on disk.

    >>> _file("drop", "filters"), _file("drop", "prune:2:4")
    ('drop', 'drop-prune-2-4')
    """
    plain = re.sub(r"[^\w.]+", "-", damage)
    return name if damage == DAMAGE else f"{name}-{plain}"


def save_damages(
    curves: pd.DataFrame,
    folder: str | Path,
    *,
    max_drop: float = 1.0,
    study: Study | None = None,
    confidence: float = 95,
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Write kinds of damage side by side, and what each may save of each layer; formats and errors
    are those of `save_all`.

    study: the curves' own, for intervals of the means over layers, at `confidence` per cent
    """
    check_formats(formats)

    def draw() -> object:
        return plot_damages(curves, study=study, confidence=confidence)

    paths = _save(draw, "damages", folder, formats)
    return paths + _save(lambda: plot_damage_map(curves, max_drop), "damage-map", folder, formats)


def save_recovery(
    curves: pd.DataFrame,
    recovery: str,
    folder: str | Path,
    *,
    criterion: str | None = None,
    damage: str | None = None,
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Write one-shot beside recovered curves; formats and errors are those of `save_all`."""
    check_formats(formats)
    damage = damage_of(curves, damage)

    def draw() -> object:
        return plot_recovery(curves, recovery, criterion=criterion, damage=damage)

    return _save(draw, _file("recovery", damage), folder, formats)


def save_allocation(
    allocation: Allocation, folder: str | Path, *, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write the channels that stay and fall; formats and errors are those of `save_all`."""
    check_formats(formats)
    return _save(lambda: plot_channels(allocation), "channels", folder, formats)


def save_interactions(
    interactions: "Interactions", folder: str | Path, *, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write the heatmap of interactions; formats and errors are those of `save_all`."""
    check_formats(formats)
    return _save(lambda: plot_interactions(interactions), "interactions", folder, formats)


def save_tradeoff(
    frame: pd.DataFrame, folder: str | Path, *, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write accuracy against MACs; formats and errors are those of `save_all`."""
    check_formats(formats)
    return _save(lambda: plot_tradeoff(frame), "tradeoff", folder, formats)


def save_calibration(
    frame: pd.DataFrame, folder: str | Path, *, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write measured against predicted drops; formats and errors are those of `save_all`."""
    check_formats(formats)
    return _save(lambda: plot_calibration(frame), "calibration", folder, formats)


def save_criteria(
    agreement: Agreement, folder: str | Path, *, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write criteria beside the oracle, and the tables as CSV; formats and errors are those of
    `save_all`."""
    check_formats(formats)
    paths = _save(lambda: plot_criteria(agreement), "criteria", folder, formats)
    for name, table in agreement.tables.items():
        paths.append(Path(folder) / f"{name}.csv")
        _written(paths[-1], table.map(harmless.cell).to_csv(index=False).encode())
    return paths


def check_formats(formats: Sequence[str]) -> None:
    """Raises LesionError for a format that pictures cannot have, or none."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise LesionError(
            f"Expected formats among {', '.join(FORMATS)}, got {', '.join(unknown) or 'none'}; "
            "choose at least one of these."
        )


def _save(
    picture: Callable[[], object], name: str, folder: str | Path, formats: Sequence[str]
) -> list[Path]:
    paths = [Path(folder) / f"{name}.{suffix}" for suffix in formats]
    with _drawn(picture) as figure, plt.rc_context({"svg.hashsalt": "lesion"}):
        for path in paths:
            suffix = path.suffix[1:]
            file = BytesIO()
            figure.savefig(file, dpi=150, format=suffix, metadata=_METADATA[suffix])
            _written(path, file.getvalue())
    return paths


def _written(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LesionError(
            f"Expected to write {path}, got: {error.strerror or error}; "
            "choose another folder or make room."
        ) from error
    write(path, content)


@contextmanager
def _drawn(picture: Callable[[], object]) -> Iterator[Figure]:
    """The figure that `picture` opens, closed at the end whatever happens."""
    before = set(plt.get_fignums())
    try:
        picture()
        yield plt.gcf()
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)

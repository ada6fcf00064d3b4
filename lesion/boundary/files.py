"""Files that appear whole or not at all, at places that were looked at before the work.

What is written lies in a folder of its own beside its place until it is complete, so that nothing
that has another name is touched, whatever names are taken.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from lesion.errors import LesionError, first_line

PREFIX = ".lesion-"
STUDY = (68, b"LESN")  # where SQLite keeps an application's number, and that of studies


def write(path: str | Path, content: str | bytes) -> None:
    """Put a file at `path`, or leave there what there was; its mode stays, links are followed.

    Raises LesionError where it cannot be written, or would replace a study.
    """
    check_file(path)
    data = content.encode() if isinstance(content, str) else content
    with _explaining(path):
        place = Path(os.path.realpath(path))
        if place.exists() and not place.is_file():  # a pipe, a terminal: nothing to replace
            place.write_bytes(data)
            return
        with _fresh_place(place) as fresh:
            _filled(fresh, data, place)
            os.replace(fresh, place)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A place for a file that is to appear at `path` at the end, where none may be by then.

    Raises FileExistsError where there is one, whose content stays.
    """
    place = Path(os.path.realpath(path))
    with _fresh_place(place) as fresh:
        yield fresh
        _placed(fresh, place)


def check_file(path: str | Path, *inputs: str | Path | None) -> None:
    """Raises LesionError where no file can be written, before the work that gives its content.

    inputs: what the work reads, as the command line names it; the file may be none of them
    """
    path = Path(path)
    with _explaining(path):
        if path.is_dir():
            raise LesionError(
                f"Expected a file to write, but {path} is a folder; name a file in it."
            )
        if any(_same(path, part) for name in inputs if name for part in _parts(str(name))):
            raise LesionError(
                f"Expected a file to write, but {path} is read by the same command; name another."
            )
        if path.exists() and not path.is_file():
            return
        if _is_study(path):
            raise LesionError(
                f"Expected a file to write, but {path} is a study, which would be lost; "
                "name another."
            )
        place = Path(os.path.realpath(path))
        if place.exists() and not os.access(place, os.W_OK):
            raise PermissionError(None, "it is read-only")
        check_folder_of(place)


def check_folder_of(path: Path) -> None:
    """Raises LesionError where there is no folder for a file, or none that can be written."""
    folder = path.parent
    with _explaining(path):
        exists = folder.exists() and folder.is_dir()
    if not exists:
        raise LesionError(
            f"Expected a folder to write {path.name} to, but there is no folder {folder}; "
            "make it, or choose another place."
        )
    with _explaining(path):
        with suppress(FileNotFoundError):
            path.lstat()  # names that are too long
        with TemporaryDirectory(prefix=PREFIX, dir=folder):
            pass


def check_folder(folder: str | Path) -> None:
    """Raises LesionError where files cannot be written to a folder, which need not be there yet."""
    nearest = Path(folder)
    with _explaining(folder):
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir():
            raise NotADirectoryError(None, f"Not a directory: {nearest}")
        with TemporaryDirectory(prefix=PREFIX, dir=nearest):
            pass


@contextmanager
def _explaining(path: str | Path) -> Iterator[None]:
    """What the system complains of as a LesionError."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or first_line(error)
        raise LesionError(
            f"Expected a file that can be written, got {path} ({why}); what was there is as it "
            "was: mend that, or choose another place."
        ) from error


@contextmanager
def _fresh_place(place: Path) -> Iterator[Path]:
    """A file name in a new folder beside a place, which is gone afterwards with all in it."""
    with TemporaryDirectory(prefix=PREFIX, dir=place.parent) as folder:
        yield Path(folder) / "new"


def _filled(fresh: Path, data: bytes, place: Path) -> None:
    """Write a file to the disk, with the mode of the one whose place it takes."""
    with fresh.open("xb") as file:
        if place.exists():
            os.fchmod(file.fileno(), stat.S_IMODE(place.stat().st_mode))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _placed(fresh: Path, place: Path) -> None:
    try:
        os.link(fresh, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: the name is taken first
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(fresh, place)


def _is_study(path: Path) -> bool:
    at, sign = STUDY
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(at)
        return file.read(len(sign)) == sign
    return False


def _parts(text: str) -> list[str]:
    """A text and what stands between its colons, such as the file of "net.py:make"."""
    return [text, *text.split(":")] if ":" in text else [text]


def _same(path: Path, text: str) -> bool:
    """Whether a text names the file at `path`."""
    return bool(text) and path.exists() and os.path.exists(text) and os.path.samefile(path, text)

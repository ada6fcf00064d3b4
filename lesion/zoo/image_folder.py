"""A folder of images, one folder a class, or images alone."""

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from lesion.errors import SubjectError
from lesion.zoo.depth import scaled
from lesion.zoo.preprocessing import COLOUR, Preprocessing


class ClassFolders(ImageFolder):  # type: ignore[misc]
    """torchvision's ImageFolder, whose hidden folders are no classes.

    An empty class folder is a class: leaving it out would shift the labels behind it.
    """

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        entries = Path(directory).iterdir()
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
        if not names:
            raise SubjectError(
                f"Expected one folder a class in {directory}, found none; arrange images as "
                f"{directory}/CLASS/IMAGE."
            )
        return names, {name: label for label, name in enumerate(names)}


@dataclass(frozen=True, eq=False)
class Unlabelled(Dataset[Any]):
    """The images in a folder without folders, by name; an item is the image."""

    folder: Path
    files: tuple[Path, ...]
    preprocessing: Preprocessing

    @property
    def unlabelled(self) -> str:
        """What to do where labels are needed."""
        return (
            f"Expected one folder a class in {self.folder}, found images without one; arrange them "
            f"as {self.folder}/CLASS/IMAGE, or use --score agreement, which needs no labels."
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return self.preprocessing(read_image(str(self.files[index])))


def open_folder(folder: Path, preprocessing: Preprocessing) -> ClassFolders | Unlabelled:
    """The images below `folder`, in which every folder is a class, numbered by alphabet; or,
    where there are no folders, the images in it.

    They are in colour, as torchvision gives them, unless the preprocessing asks for grey.
    """
    if preprocessing.channels is None:
        preprocessing = replace(preprocessing, channels=COLOUR)
    if not folder.is_dir():
        raise SubjectError(f"Expected a folder of images at {folder}, found none; check the path.")
    entries = sorted(e for e in folder.iterdir() if not e.name.startswith("."))
    files = tuple(e for e in entries if not e.is_dir() and e.suffix.lower() in IMG_EXTENSIONS)
    if files and not any(e.is_dir() for e in entries):
        return Unlabelled(folder, files, preprocessing)
    _check_links(folder)
    images = ClassFolders(str(folder), transform=preprocessing, loader=read_image, allow_empty=True)
    if not len(images):
        raise SubjectError(
            f"Expected images ({', '.join(IMG_EXTENSIONS)}) in the {len(images.classes)} class "
            f"folders of {folder}, found none; arrange images as {folder}/CLASS/IMAGE."
        )
    return images


def _check_links(folder: Path) -> None:
    """Raises SubjectError for a link to a folder above it, in which the search would never end."""
    for at, names, _ in os.walk(folder, followlinks=True, onerror=_unreadable):
        for link in (Path(at, name) for name in names):
            if link.is_symlink() and link.resolve() in map(Path.resolve, link.parents):
                raise SubjectError(
                    f"Expected folders of images that end, but {link} leads back to "
                    f"{link.resolve()}, which it lies in; remove the link."
                )


def _unreadable(error: OSError) -> None:
    raise SubjectError(
        f"Expected folders of images that can be read, but {error.filename} cannot "
        f"({error.strerror}); mend its permissions or take it out."
    )


def read_image(path: str) -> Image.Image:
    """The image in a file, see `lesion.zoo.depth`; raises SubjectError naming one that is damaged.

    What is no file, such as a pipe, is not waited for.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")
        with open(path, "rb") as file:
            return scaled(Image.open(file))
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError) as error:
        raise SubjectError(
            f"Expected an image in {path}, but it cannot be read ({error}); "
            "mend the file or take it out."
        ) from error

"""A folder of images, one folder a class."""

from pathlib import Path

from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from lesion.errors import SubjectError
from lesion.zoo.preprocessing import Preprocessing


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


def open_folder(folder: Path, preprocessing: Preprocessing) -> ClassFolders:
    """The images below `folder`, in which every folder is a class, numbered by alphabet."""
    if not folder.is_dir():
        raise SubjectError(f"Expected a folder of images at {folder}, found none; check the path.")
    images = ClassFolders(str(folder), transform=preprocessing, loader=read_image, allow_empty=True)
    if not len(images):
        raise SubjectError(
            f"Expected images ({', '.join(IMG_EXTENSIONS)}) in the {len(images.classes)} class "
            f"folders of {folder}, found none; arrange images as {folder}/CLASS/IMAGE."
        )
    return images


def read_image(path: str) -> Image.Image:
    """The image in a file, in colour; raises SubjectError naming a file that is damaged."""
    try:
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SubjectError(
            f"Expected an image in {path}, but it cannot be read ({error}); "
            "mend the file or take it out."
        ) from error


def check_classes(images: ClassFolders, classes: int) -> None:
    """Raises SubjectError unless there is a folder for every output of the network.

    Labels are the folders' places in the alphabet: with one folder missing or too many they
    would name other classes than the network's.
    """
    if len(images.classes) != classes:
        raise SubjectError(
            f"Expected {classes} class folders in {images.root}, one for each output of the "
            f"network, found {len(images.classes)}; add the missing ones (they may be empty), "
            "or number the classes yourself with --data FILE.py:FACTORY."
        )

"""Data sets of Hugging Face's datasets, if it is installed: `pip install "lesion[hf]"`.

From the hub, from a folder that `save_to_disk` wrote, or from a folder of images or Parquet files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lesion.errors import SubjectError, first_line
from lesion.subject.adapter import TARGETS
from lesion.zoo.preprocessing import COLOUR, Preprocessing

FORM = "hf:NAME, hf:NAME,CONFIGURATION, hf:NAME:SPLIT or hf:NAME:SPLIT:IMAGES,LABELS"
SPLITS = ("test", "validation", "valid", "val")  # which one where none is named
SAVED = ("dataset_dict.json", "state.json")  # of them one is in what save_to_disk writes
IMAGES = ("image", "img", "images", "picture", "photo", "jpg", "png")


@dataclass(frozen=True, eq=False)
class Rows(Dataset[Any]):
    """Images and their labels, or images alone, in columns of a data set.

    classes: what the labels number, () where they have no names; numbers: of labels that are texts
    """

    rows: Any
    image: str
    label: str | None
    preprocessing: Preprocessing
    place: str
    classes: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def unlabelled(self) -> str:
        """What to do where labels are needed, "" where there are some."""
        if self.label is not None:
            return ""
        return (
            f"Expected a column of labels in {self.place}, found {_listed(self.rows.features)}; "
            f"name it ({FORM}), or use --score agreement, which needs no labels."
        )

    @property
    def targets(self) -> list[int]:
        """The labels that there are, each once."""
        there = self.rows.unique(self.label)
        return [self.numbers[text] for text in there] if self.numbers else there

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        row = self.rows[index]
        image = self.preprocessing(row[self.image])
        if self.label is None:
            return image
        value = row[self.label]
        if self.numbers:
            return image, self.numbers[value]
        return image, int(value) if isinstance(value, int) else _vector(value)


def _vector(value: Any) -> Tensor:
    """Targets that are no class: floats as float32."""
    target = torch.as_tensor(value)
    return target.float() if target.is_floating_point() else target


def open_set(text: str, preprocessing: Preprocessing) -> Rows:
    """A split of a data set; text: what stands behind hf:, see FORM.

    Without a split it is the test split, the validation split, or the only one.  Without columns
    they are the one of images, and the one of classes or one called label, target or the like.
    Images are in colour unless the preprocessing asks for grey.
    """
    name, split, columns = (*text.split(":", 2), "", "")[:3]
    place = f"hf:{text}"
    rows = _chosen(_loaded(name, place), split, name)
    image, label = _columns(rows.features, columns, place)
    if preprocessing.channels is None:
        preprocessing = replace(preprocessing, channels=COLOUR)
    rows = _decoding(
        rows.select_columns([image] if label is None else [image, label]), image, place
    )
    classes, numbers = ((), {}) if label is None else _classes(rows, label)
    opened = Rows(rows, image, label, preprocessing, place, classes, numbers)
    _check_public(opened)
    return opened


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise SubjectError(
            "Expected datasets, which --data hf:NAME needs, but it is not installed; "
            'run pip install "lesion[hf]".'
        ) from error
    return datasets


def _loaded(name: str, place: str) -> Any:
    """The data set, or its splits by name."""
    hf = _datasets()
    folder = Path(name)
    try:
        if any((folder / file).is_file() for file in SAVED):
            return hf.load_from_disk(name)
        path, _, configuration = (name, "", "") if folder.is_dir() else name.partition(",")
        return hf.load_dataset(path, configuration or None)
    except Exception as error:  # the hub and datasets raise many kinds
        raise SubjectError(
            f"Expected a data set of datasets {hf.__version__} at {place}, a name of the hub or a "
            f"folder, but: {first_line(error)}; check name and connection ({FORM})."
        ) from error


def _chosen(loaded: Any, split: str, name: str) -> Any:
    if not isinstance(loaded, Mapping):  # save_to_disk of one split
        if split not in ("", str(loaded.split)):
            raise SubjectError(
                f"Expected the split '{split}' in hf:{name}, found one set of images without "
                "splits; leave the split out, as hf:NAME::IMAGES,LABELS where columns follow."
            )
        return loaded
    names = list(loaded)
    usual = next((known for known in SPLITS if known in loaded), "")
    chosen = split or (names[0] if len(names) == 1 else usual)
    if chosen in loaded:
        return loaded[chosen]
    raise SubjectError(
        f"Expected a split of hf:{name} ({', '.join(map(str, names))}), got '{split}'; name one: "
        f"hf:{name}:{names[0]}."
    )


def _columns(features: Mapping[str, Any], columns: str, place: str) -> tuple[str, str | None]:
    """The names of the columns of images and labels."""
    hf = _datasets()
    if columns:
        named = [part.strip() for part in columns.split(",")]
        missing = [part for part in named if part not in features]
        if missing or len(named) > 2:
            raise SubjectError(
                f"Expected one column of images and one of labels in {place}, of the columns "
                f"{_listed(features)}, got '{columns}'; name them as hf:NAME:SPLIT:IMAGES,LABELS."
            )
        return named[0], named[1] if len(named) == 2 else None
    images = [name for name, kind in features.items() if isinstance(kind, hf.Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, hf.ClassLabel)]
    image = _called(images, IMAGES) or _called([*features], IMAGES, least=1)
    label = _called(labels, TARGETS) or _called([*features], TARGETS, least=1)
    if image is None or (label is None and labels):
        raise SubjectError(
            f"Expected columns of images and labels that can be told in {place}, found "
            f"{_listed(features)}; name them as hf:NAME:SPLIT:IMAGES,LABELS."
        )
    return image, label


def _called(names: Sequence[str], known: Sequence[str], least: int = 0) -> str | None:
    """The name that is known, or the only one; least: 1 where the only one is no answer."""
    if len(names) == 1 and not least:
        return names[0]
    return next((name for name in known if name in names), None)


def _decoding(rows: Any, image: str, place: str) -> Any:
    """Rows whose column of images gives images, also where it holds files or their bytes."""
    hf = _datasets()
    try:
        if not isinstance(rows.features[image], hf.Image):
            rows = rows.cast_column(image, hf.Image())
        if len(rows):
            rows[0][image].load()
    except Exception as error:  # datasets, pyarrow and Pillow raise many kinds
        raise SubjectError(
            f"Expected images in the column '{image}' of {place}, but its first is none "
            f"({first_line(error)}); name another column as hf:NAME:SPLIT:IMAGES,LABELS."
        ) from error
    return rows


def _classes(rows: Any, label: str) -> tuple[tuple[str, ...], dict[str, int]]:
    """The classes that labels name, and for labels that are texts the number of each."""
    kind = rows.features[label]
    names = getattr(kind, "names", None)
    if isinstance(names, list):
        return tuple(names), {}
    if "string" not in str(getattr(kind, "dtype", "")):
        return (), {}
    texts = sorted(text for text in rows.unique(label) if text is not None)
    return tuple(texts), {text: number for number, text in enumerate(texts)}


def _check_public(opened: Rows) -> None:
    """Raises SubjectError where labels are kept secret."""
    if opened.classes and not opened.numbers and set(opened.targets) == {-1}:
        raise SubjectError(
            f"Expected labels in {opened.place}, got -1 for every image, which says that they are "
            "not public; name another split, such as hf:NAME:validation."
        )


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(features) or "none"

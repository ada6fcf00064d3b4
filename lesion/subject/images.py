"""The images of a subject, read by index."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from lesion.errors import LesionError, SubjectError, first_line, staying


@dataclass(frozen=True, eq=False)
class Images:
    """A dataset that is read by index, so that every lesion sees the same images.

    collate: makes a batch of a list of items; workers: how many processes read ahead
    room: how many bytes of items to keep for when they are read again (without workers)
    """

    dataset: Any
    collate: Callable[[list[Any]], Any] = default_collate
    workers: int = 0
    room: int = 0
    _kept: dict[int, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, data: Any, workers: int | None = None) -> "Images":
        """The images of a Dataset, or of a DataLoader with its collate function and workers.

        Raises SubjectError for data that cannot be read by index, or that are empty.
        """
        if isinstance(data, DataLoader):
            _check_loader(data)
            given = data.num_workers if workers is None else workers
            return cls(_checked(data.dataset), data.collate_fn, given)
        return cls(_checked(data), workers=workers or 0)

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Sequence[int]) -> Any:
        """The images at `indices`, collated, in that order.

        Raises SubjectError where an image cannot be read or does not fit the others.
        """
        items = [self._item(int(index)) for index in indices]
        try:
            return self.collate(items)
        except (TypeError, ValueError, RuntimeError, KeyError) as error:
            why = f"but {first_line(error)}; give tensors of one size and type"
            raise SubjectError(
                f"Expected images that make a batch, {_unlike(items) or why}, "
                "or a DataLoader with a collate_fn."
            ) from error

    def _item(self, index: int) -> Any:
        if index in self._kept:
            return self._kept[index]
        item = self._read(index)
        size = sum(leaf.nbytes for _, leaf in _leaves("", item))
        if size * (len(self._kept) + 1) <= self.room:
            self._kept[index] = item
        return item

    def _read(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except LesionError:
            raise
        except Exception as error:  # the dataset is the user's: it may raise anything
            raise SubjectError(
                f"Expected an image at index {index} of the data, but reading it failed: "
                f"{type(error).__name__}: {first_line(error)}; mend it or leave it out."
            ) from error

    def batches(self, plan: Sequence[Sequence[int]]) -> Iterator[Any]:
        """The batch of each list of indices in `plan`, in order; the workers read ahead."""
        if not self.workers:
            yield from map(self.batch, plan)
            return
        loader: DataLoader[Any] = DataLoader(
            _Plan(self, plan),
            batch_size=None,
            num_workers=min(self.workers, len(plan)),
            collate_fn=_same,
            generator=torch.Generator(),  # or it would draw from torch's global generator
        )
        read = iter(loader)
        for _ in plan:
            batch = _next(read)
            if isinstance(batch, LesionError):
                raise batch
            yield batch


@dataclass(frozen=True)
class _Plan(Dataset[Any]):
    """Whole batches as items, so that a worker reads exactly as this process does."""

    images: Images
    plan: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, place: int) -> Any:
        try:
            with staying(BaseException):
                return self.images.batch(self.plan[place])
        except LesionError as error:  # raised in a worker, its text would become a traceback
            return error


def _unlike(items: Sequence[Any]) -> str:
    """What keeps items from making a batch, and what to do; "" where that is not to be seen.

    >>> _unlike([torch.zeros(3, 8, 6), torch.zeros(3, 4, 4)])
    'got sizes such as 3x8x6 and 3x4x4; give images of one size (--resize and --crop)'
    """
    firsts = [item[0] if isinstance(item, (tuple, list)) and item else item for item in items]
    tensors = [first for first in firsts if isinstance(first, Tensor)]
    sizes = list(dict.fromkeys("x".join(map(str, tensor.shape)) for tensor in tensors))
    if len(sizes) > 1:
        return (
            f"got sizes such as {sizes[0]} and {sizes[1]}; give images of one size (--resize and "
            "--crop)"
        )
    if pictures := [first for first in firsts if type(first).__module__.startswith("PIL.")]:
        return (
            f"got {type(pictures[0]).__name__} of PIL; give the data set a transform that makes "
            "tensors, such as torchvision.transforms.ToTensor()"
        )
    return ""


def _next(read: Iterator[Any]) -> Any:
    """What the workers read next. Raises SubjectError where one of them is no more."""
    try:
        return next(read)
    except RuntimeError as error:
        raise SubjectError(
            f"Expected processes that read images until the end, but {first_line(error)}: their "
            "memory may not have sufficed, or the data's code ended one; read without them "
            "(workers=0)."
        ) from error


def _same(item: Any) -> Any:
    return item


def _checked(dataset: Any) -> Any:
    by_index = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if isinstance(dataset, (IterableDataset, Mapping)) or not by_index:
        raise SubjectError(
            "Expected a Dataset with __getitem__ and __len__, or a DataLoader over one, got "
            f"{type(dataset).__name__}: images are read by index, so that every lesion sees the "
            "same ones and an interrupted sweep goes on; store the images in a map-style Dataset."
        )
    if not len(dataset):
        raise SubjectError(
            f"Expected at least one image, got an empty {type(dataset).__name__}; check the data."
        )
    return dataset


def _check_loader(loader: DataLoader[Any]) -> None:
    """Refuses a loader whose items are no single images, or that shows only some of them."""
    if isinstance(loader.dataset, IterableDataset):
        return  # the check of the dataset says it better
    if loader.batch_sampler is None:
        raise SubjectError(
            "Expected a DataLoader that makes batches of single images, got one with "
            "batch_size=None; give batch_size, or the dataset itself."
        )
    chosen: Any = loader.batch_sampler
    if type(chosen) is BatchSampler:
        chosen = chosen.sampler
    whole = type(chosen) is SequentialSampler or (
        type(chosen) is RandomSampler and chosen.num_samples == len(chosen.data_source)
    )
    if not whole:
        raise SubjectError(
            "Expected a DataLoader over all images of its dataset, got one that chooses them with "
            f"{type(chosen).__name__}; give torch.utils.data.Subset(dataset, indices) instead."
        )


def digests(batch: Any, images: int) -> np.ndarray:
    """64 bits for each image of a batch, from the names, shapes, types and values of its tensors.

    Two reads of the same images differ in it where the dataset augments at random.

    >>> both, second = digests([torch.tensor([0.0, 1.0])], 2), digests([torch.tensor([1.0])], 1)
    >>> bool(both[1] == second[0]), bool(both[0] == second[0])
    (True, False)
    """
    leaves = [(name, leaf) for name, leaf in _leaves("", batch) if leaf.shape[:1] == (images,)]
    parts = [
        (_head(name, leaf[0]), _bytes(leaf).reshape(images, leaf[0].nbytes))
        for name, leaf in leaves
    ]
    hashes = np.zeros(images, np.uint64)
    for image in range(images):
        sha = hashlib.sha256()
        for head, values in parts:
            sha.update(head)
            sha.update(values[image])
        hashes[image] = int.from_bytes(sha.digest()[:8], "little")
    return hashes


def update(sha: Any, name: str, tensor: Tensor) -> None:
    """Adds a tensor's name, type, shape and bytes to a hash."""
    sha.update(_head(name, tensor))
    sha.update(_bytes(tensor))


def _head(name: str, tensor: Tensor) -> bytes:
    return f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()


def _bytes(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().cpu().contiguous().reshape(-1)
    return np.asarray(values.view(torch.uint8).numpy())


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key in value:
            yield from _leaves(f"{name}.{key}", value[key])
    elif isinstance(value, (tuple, list)):
        for place, item in enumerate(value):
            yield from _leaves(f"{name}.{place}", item)

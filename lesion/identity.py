"""Whose study it is: the fingerprint of a subject, and the split and order of its images."""

import platform
from pathlib import Path

import numpy as np
import torch

from lesion.anatomy import Anatomy
from lesion.errors import LesionError
from lesion.header import Header
from lesion.study import Study
from lesion.subject import Subject, device_of, fingerprint

CHUNK = 128  # images: the atom of storage and resume
HOLDOUT = 0.2


def open_study(
    path: Path, subject: Subject, anatomy: Anatomy, seed: int, holdout: float
) -> tuple[Study, list[str]]:
    """The study at `path`, made if there is none, and warnings where the environment differs.

    Raises StudyError where the file holds another subject's study.
    """
    own, environment = _identity(subject, seed, holdout), _environment(subject)
    if not path.exists():
        order, back = _split(len(subject.images), seed, holdout)
        settings = {"name": subject.name}
        header = Header(own, environment, anatomy, order, back, CHUNK, subject.classes, settings)
        return Study.create(path, header), []
    study = Study.open(path)
    try:
        return study, study.check(own, environment)
    except BaseException:
        study.close()
        raise


def check_holdout(holdout: float) -> None:
    """Raises LesionError unless the share lies in [0, 1)."""
    if not 0 <= holdout < 1:
        raise LesionError(
            f"Expected a share of images to keep back from 0 to below 1, got {holdout:g}; "
            "0.2 keeps a fifth for checking advice."
        )


def _split(images: int, seed: int, holdout: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The scored images in their random order, and those kept back; one at least is scored."""
    mixed = np.random.default_rng(seed).permutation(images).tolist()
    back = min(int(holdout * images), images - 1)
    return tuple(mixed[back:]), tuple(mixed[:back])


def _identity(subject: Subject, seed: int, holdout: float) -> dict[str, str]:
    return {
        "weights": fingerprint(subject.network),
        "images": str(len(subject.images)),
        "order": f"seed {seed}, {100 * holdout:g} % kept back",
        "preprocessing": subject.preprocessing,
        "score": "classification",
    }


def _environment(subject: Subject) -> dict[str, str]:
    device = device_of(subject.network)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "torch": torch.__version__,
        "device": f"{device.type} ({name})",
        "threads": str(torch.get_num_threads()),
    }

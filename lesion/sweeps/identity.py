"""Whose study it is: the fingerprint of a subject, and the split and order of its images."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy
from lesion.study.database import ExistsError
from lesion.study.header import Header
from lesion.study.study import Study
from lesion.subject.adapter import Output
from lesion.subject.network import device_of
from lesion.subject.outcomes import EVALUATION
from lesion.subject.subject import Subject
from lesion.subject.weights import fingerprint

HOLDOUT = 0.2
KNOWN = ("top1", "top5", "agreement", "tv")


def open_study(
    path: Path, subject: Subject, anatomy: Anatomy, seed: int, holdout: float,
    settings: Mapping[str, Any],
) -> tuple[Study, list[str]]:  # fmt: skip
    """The study at `path`, made if there is none, and warnings where the environment differs.

    settings: what a new study is to remember, such as the order in which lesions see the images
    Raises StudyError where the file holds another subject's study.
    """
    order, back = _split(len(subject.images), seed, holdout)
    header = Header(
        _identity(subject, seed, holdout), _environment(subject.network), anatomy, order, back,
        subject.tally.columns, subject.classes,
        {"name": subject.name, "score": subject.score, **settings},
    )  # fmt: skip
    return _opened(path, header)


def open_evaluated(
    path: Path, network: nn.Module, anatomy: Anatomy, how: Mapping[str, str],
    settings: Mapping[str, Any],
) -> tuple[Study, list[str]]:  # fmt: skip
    """The same of a network that is evaluated as a whole; how: what else has to be the same."""
    header = Header(
        {"weights": fingerprint(network), **how}, _environment(network), anatomy, (), (),
        (EVALUATION,), 0,
        {"name": type(network).__name__, "score": how["evaluation"], **settings},
    )  # fmt: skip
    return _opened(path, header)


def _opened(path: Path, header: Header) -> tuple[Study, list[str]]:
    if not path.exists():
        with suppress(ExistsError):  # another sweep may be making the same study
            return Study.create(path, header), []
    study = Study.open(path)
    try:
        return study, study.check_same(header)
    except BaseException:
        study.close()
        raise


def matching(study: Study, subject: Subject) -> list[str]:
    """Warnings where the environment differs from the study's.

    Raises StudyError where the subject is another, whatever share of its images is kept back.
    """
    order = {"order": study.header.subject.get("order", "")}
    return study.check(_identity(subject, 0, 0) | order, _environment(subject.network))


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
    adapter = subject.adapter
    chosen = {"output": str(adapter.output)} if isinstance(adapter, Output) else {}
    if subject.class_map:
        chosen["class map"] = subject.class_map
    return {
        "weights": fingerprint(subject.network),
        "images": str(len(subject.images)),
        "order": f"seed {seed}, {100 * holdout:g} % kept back",
        "preprocessing": subject.preprocessing,
        "score": subject.score if subject.score not in KNOWN else ", ".join(subject.tally.columns),
        **chosen,
    }


def _environment(network: nn.Module) -> dict[str, str]:
    device = device_of(network)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "torch": torch.__version__,
        "device": f"{device.type} ({name})",
        "threads": str(torch.get_num_threads()),
    }

"""Networks on Fashion-MNIST with studies that measured every lesion, for benchmarks of rates."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lesion import zoo
from lesion.lesions.amounts import RATIOS
from lesion.study.study import Study
from lesion.subject.images import Images
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.prepare import prepare
from lesion.zoo import fashion_mnist


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, and how many images its study measures."""
    parser.add_argument("--network", default="demo:resnet20")
    parser.add_argument("--weights")
    parser.add_argument("--name", help="of the network in the table")
    parser.add_argument("--images", type=int, default=2000, help="of the study's order to measure")
    parser.add_argument("--train", type=Path, help="folder of training images, to finetune with")
    parser.add_argument("--recover", help="lesions are measured after this as well")
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS, help="those")
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file to add the table to")


def named(asked: argparse.Namespace) -> str:
    """The network's name in the table."""
    return str(asked.name or asked.network.removeprefix("demo:"))


def opened(asked: argparse.Namespace, seed: int, folder: Path) -> tuple[Subject, Study]:
    """The subject, with training images if there are, and its study, half the images kept back.

    seed: of the split and the order of the images
    """
    subject = zoo.open_subject(asked.network, asked.weights, "demo:fashion-mnist")
    choices = Choices(seed=seed, holdout=0.5)
    study = swept(subject, asked, folder / f"{seed}.lesion", choices)
    if asked.train:
        subject = replace(subject, train=trainable(asked.train))
    if asked.recover:
        study.close()
        choices = replace(choices, recovery=asked.recover, ratios=asked.ratios)
        study = swept(subject, asked, study.path, choices)
    return subject, study


def trainable(folder: Path) -> Images:
    """The training images of a folder of the original files."""
    images, labels = fashion_mnist.read("train", folder)
    return Images.of(torch.utils.data.TensorDataset(fashion_mnist.normalise(images), labels))


def swept(subject: Subject, asked: argparse.Namespace, path: Path, choices: Choices) -> Study:
    """The study, every lesion measured on all of its images."""
    ready = prepare(subject, path, choices, Full(), images=asked.images)
    for _ in ready:
        pass
    return ready.study


def of_damages(
    path: Path, asked: argparse.Namespace, damages: Mapping[str, Sequence[float]]
) -> Study:
    """A study in which every lesion of several damages is measured, half of the images kept back.

    damages: the amounts of each
    """
    subject = zoo.open_subject(asked.network, asked.weights, "demo:fashion-mnist")
    for damage, amounts in damages.items():
        swept(subject, asked, path, Choices(amounts, holdout=0.5, damage=damage)).close()
        print(f"{damage}: measured", file=sys.stderr, flush=True)
    return Study.open(path)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]], out: Path | None) -> None:
    """Prints a Markdown table and adds it to a file."""
    lines = [header, tuple("---" for _ in header), *rows]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
    print(text)
    if out:
        with out.open("a") as file:
            file.write(f"\n{text}")

"""Where networks can be cut whose answers are no single class: labels, a value, keypoints.

    python examples/own_targets.py

Targets may be any tensor, one row an image; what they are worth is a function of the outputs and
targets of a batch that gives each image a value from 0 to 1, larger being better.  Sweep, curves,
rates, refinement, checks and the recoveries without training (`reconstruct`, `bias`, `fold`, `bn`)
go as for classes.  Criteria with gradients, `finetune` and `distill` need the cross-entropy of
classes, and say so; a recovery with a loss of your own is a function `recover(network, batches)`.
The networks here have random weights, the images are noise, and the targets are what the intact
networks answer, a little changed: put in your own.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import lesion

DISTANCE = 0.2  # within which a keypoint counts as found


class Network(nn.Module):
    """Three convolutions and a linear layer, whose outputs have a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, outputs = shape, int(torch.tensor(shape).prod())
        layers: list[nn.Module] = []
        for given, made in pairwise((3, 12, 16, 16)):
            layers += [nn.Conv2d(given, made, 3, 2, 1), nn.BatchNorm2d(made), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(4 * 16, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images)).unflatten(1, self.shape)


def f_measure(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of an image's labels: 2 · both / (predicted + true), 1 where there are none.

    outputs: logits (images, labels); targets: 0 or 1 (images, labels)
    """
    predicted, true = outputs > 0, targets > 0.5
    both, all_of_them = (predicted & true).sum(1), predicted.sum(1) + true.sum(1)
    return torch.where(all_of_them > 0, 2 * both / all_of_them.clamp(min=1), 1.0)


def closeness(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where a value is hit, 1/2 where it is off by 0.1: 1 / (1 + |error| / 0.1).

    outputs: (images, 1); targets: (images,)
    """
    return 1 / (1 + (outputs[:, 0] - targets).abs() / 0.1)


def found(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of an image's keypoints that are nearer than DISTANCE (PCK).

    outputs, targets: (images, points, 2)
    """
    return ((outputs - targets).norm(dim=2) < DISTANCE).double().mean(1)


def by_squares(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """A recovery with a loss of one's own: ten steps on squared errors."""
    sgd = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    for images, targets in islice(batches, 10):
        loss = F.mse_loss(network(images).reshape(targets.shape), targets)
        sgd.zero_grad()
        loss.backward()
        sgd.step()


@dataclass(frozen=True)
class Task:
    """What outputs are: their shape, what an image's are worth, and how they become targets."""

    shape: tuple[int, ...]
    score: Callable[[Tensor, Tensor], Tensor]
    targets: Callable[[Tensor], Tensor]


TASKS = {
    "labels": Task((5,), f_measure, lambda answers: (answers > 0).float()),
    "value": Task((1,), closeness, lambda answers: answers[:, 0]),
    "keypoints": Task((4, 2), found, lambda answers: answers),
}


def subject(task: Task, images: int) -> tuple[nn.Module, TensorDataset, TensorDataset]:
    """A network with random weights; noise with what it nearly answers, scored and for training."""
    torch.manual_seed(0)
    network, pixels = Network(task.shape), torch.randn(2 * images, 3, 24, 24)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics of the first images as they are
        network.train()(pixels[:64])
        network.head.bias -= network.eval()(pixels).mean(0).flatten()
        answers = network(pixels)
        targets = task.targets(answers + 0.05 * torch.randn(answers.shape))
    half = [part.split(images) for part in (pixels, targets)]
    return network, *(TensorDataset(*parts) for parts in zip(*half, strict=True))


def main(folder: Path, images: int = 300) -> None:
    budget = lesion.Budget(macs=0.8)
    for name, task in TASKS.items():
        network, data, train = subject(task, images)
        file = folder / f"{name}.lesion"
        options = {"score": task.score, "ratios": (0.25, 0.5), "full": True}
        with lesion.sweep(network, data, file, **options) as study:
            shown = lesion.curves(study).query("reason == ''")
            print(f"{name}:\n{shown[['layer', 'amount', 'baseline', 'drop', 'low', 'high']]}")
            bench = lesion.bench(study, network, data, score=task.score)
            rates = lesion.recommend(study, budget=budget)
            rates = lesion.refine(study, bench, rates, budget)
            for recover in ("", "reconstruct", by_squares):
                given = {"recover": recover, "train": train} if recover else {}
                checked = lesion.verify(
                    study, network, data, rates, max_drop=30, score=task.score, **given
                )
                how = getattr(recover, "__name__", recover) or "nothing"
                print(f"{name}, recovered by {how}: {checked.text()}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))

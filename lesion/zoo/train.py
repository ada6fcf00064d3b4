"""Train a bundled network on Fashion-MNIST: `python -m lesion.zoo.train resnet20 -o FILE`."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from lesion.boundary.files import check_file, write
from lesion.zoo import fashion_mnist, networks

BATCH = 128


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to two pixels, mirrored at random, with a square of zeros in it."""
    n, _, height, width = images.shape
    shift = torch.randint(0, 5, (2, n, 1, 1, 1), generator=generator)
    mirror = torch.rand((n, 1, 1, 1), generator=generator) < 0.5
    rows = torch.arange(height).view(1, 1, -1, 1) + shift[0]
    columns = torch.arange(width).view(1, 1, 1, -1)
    columns = torch.where(mirror, width - 1 - columns, columns) + shift[1]
    padded = F.pad(images, (2, 2, 2, 2), value=float(images.min()))
    shifted = padded[torch.arange(n).view(-1, 1, 1, 1), 0, rows, columns]
    top = torch.randint(-4, height - 3, (2, n, 1, 1, 1), generator=generator)
    row, column = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    erased = (row >= top[0]) & (row < top[0] + 8) & (column >= top[1]) & (column < top[1] + 8)
    return shifted.masked_fill(erased, 0.0)


def batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The indices of one epoch in random order, `size` at a time; the last few are left out."""
    order = torch.randperm(n, generator=generator)
    yield from order[: n - n % size].view(-1, size)


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    rate: float = 0.3,
    seed: int = 0,
    bf16: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Trains `network` in place: SGD, one-cycle learning rate, label smoothing 0.05.

    `bf16` computes the forward pass in bfloat16: faster where the processor has such instructions.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(images) // BATCH)
    optimiser = torch.optim.SGD(
        network.parameters(), rate, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for epoch in range(epochs):
        network.train()
        start, total = time.monotonic(), 0.0
        for index in batches(len(images), BATCH, generator):
            x = augment(images[index], generator).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(x)
            loss = F.cross_entropy(logits.float(), labels[index], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        mean, seconds = total * BATCH / len(images), time.monotonic() - start
        report(f"epoch {epoch + 1}/{epochs}: loss {mean:.4f}, {seconds:.0f} s")


@torch.inference_mode()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in per cent, batch norm in evaluation mode."""
    network.eval()
    parts = (images[i : i + 500] for i in range(0, len(images), 500))
    predicted = torch.cat([network(x).argmax(1) for x in parts])
    return 100 * (predicted == labels).double().mean().item()


def main(
    name: Annotated[str, typer.Argument(help="resnet20 or resnet56")],
    out: Annotated[Path, typer.Option("-o", "--out", help="safetensors file to write")],
    data: Annotated[
        Path | None, typer.Option(help="folder of the four idx files; downloaded if not given")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 15,
    seed: int = 0,
    bf16: Annotated[bool, typer.Option(help="forward passes in bfloat16")] = False,
) -> None:
    """Train a bundled network on Fashion-MNIST and write its weights."""
    check_file(out)
    torch.manual_seed(seed)
    network = getattr(networks, name)(channels=1).to(memory_format=torch.channels_last)
    images, labels = fashion_mnist.read("train", data)
    train(network, fashion_mnist.normalise(images), labels, epochs=epochs, seed=seed, bf16=bf16)
    test_images, test_labels = fashion_mnist.read("t10k", data)
    top1 = accuracy(network, fashion_mnist.normalise(test_images), test_labels)
    write(out, save({k: v.contiguous() for k, v in network.state_dict().items()}))
    print(f"{name}: top-1 {top1:.2f} % on {len(test_labels)} test images; written to {out}")


if __name__ == "__main__":
    typer.run(main)

"""How many networks torch.export and torch.fx trace, and how long it takes.

    python benchmarks/front_ends.py -o benchmarks/front_ends.md
    python benchmarks/front_ends.py --timm -o benchmarks/timm.md

The first compares the front ends on the 80 classification networks of torchvision. The second
takes networks of timm apart, which no test here is made for.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx, nn
from torchvision_table import CLASSES, markdown, names, open_network, row_of, size_of, write

from lesion.network.trace import trace

HEADER = ("network", "torch.export", "seconds", "steps", "torch.fx", "seconds")
TIMM = {
    "resnet18d": 64,
    "mobilenetv4_conv_small": 64,
    "efficientnet_lite0": 64,
    "ghostnetv2_100": 64,
    "convnextv2_atto": 64,
    "regnety_002": 64,
    "repvgg_a0": 64,
    "dla34": 64,
    "nf_regnet_b0": 64,
    "vit_tiny_patch16_224": 224,
    "mixer_s32_224": 224,
    "poolformer_s12": 64,
}


@dataclass(frozen=True)
class Tried:
    """Whether a front end traced a network ("" or why not), in how many seconds."""

    failure: str
    seconds: float
    steps: int = 0

    @property
    def word(self) -> str:
        return self.failure or "traced"


def tried(trace: Callable[[], int]) -> Tried:
    """What `trace`, which gives the number of steps, came to."""
    start = time.perf_counter()
    try:
        steps = trace()
    except Exception as error:  # each front end raises what it likes
        reason = (str(error).strip().splitlines() or [""])[0]
        return Tried(f"{type(error).__name__}: {reason}", time.perf_counter() - start)
    return Tried("", time.perf_counter() - start, steps)


def both(name: str) -> tuple[Tried, Tried]:
    """A network of torchvision through torch.export, as lesion calls it, and through torch.fx."""
    network, size = open_network(name), size_of(name)

    def forward(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = module(images)
        return logits

    return (
        tried(lambda: len(trace(network, forward, torch.zeros(2, 3, size, size)).nodes)),
        tried(lambda: len(fx.symbolic_trace(network).graph.nodes)),
    )


def compare(out: Path | None) -> None:
    """The front ends side by side on all of torchvision."""
    rows, sums, traced = [], [0.0, 0.0], [0, 0]
    for name in names():
        exported, symbolic = both(name)
        for place, result in enumerate((exported, symbolic)):
            sums[place] += result.seconds
            traced[place] += not result.failure
        rows.append(
            (
                name,
                exported.word,
                f"{exported.seconds:.1f}",
                str(exported.steps),
                symbolic.word,
                f"{symbolic.seconds:.1f}",
            )
        )
        print(" | ".join(rows[-1]), flush=True)
    summary = (
        f"torch.export traced {traced[0]} of {len(rows)} networks in {sums[0]:.0f} seconds, "
        f"torch.fx {traced[1]} in {sums[1]:.0f} (torch {torch.__version__})."
    )
    print(summary)
    if out:
        out.write_text(f"# Front ends\n\n{summary}\n\n" + "\n".join(markdown(rows, HEADER)) + "\n")


def open_timm(name: str) -> nn.Module:
    """A network of timm with random weights, in evaluation mode."""
    import timm

    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    return network.eval()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--timm", action="store_true", help="networks of timm instead")
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    if asked.timm:
        title = "Some networks of timm"
        write(list(TIMM), lambda name: row_of(name, open_timm(name), TIMM[name]), asked.out, title)
    else:
        compare(asked.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

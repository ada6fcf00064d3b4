"""One way to measure a full sweep, timed in a process of its own.

    python benchmarks/contenders.py lesion --images 256 --out result.json

Each gives the same outcomes: for the first convolution of every block, and the stem, at nine
ratios, which images are classified right when the filters of lowest l1 norm are removed.
`sweep_speed.py` runs them side by side.
"""

import argparse
import copy
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import lesion
from lesion.zoo import fashion_mnist
from lesion.zoo.forms import open_network

RATIOS = tuple(tenths / 10 for tenths in range(1, 10))
BATCH = 32  # also what lesion runs at once on a CPU; the plain loop is slower with 128
LAYERS = ("conv1", "layer*.conv1")

Outcomes = dict[str, list[bool]]  # "layer ratio" → for each image whether it is right
Contender = Callable[[nn.Module, Tensor, Tensor], Outcomes]


def by_lesion(network: nn.Module, images: Tensor, labels: Tensor) -> Outcomes:
    """As users run it: lesion.sweep into a study file on disk."""
    with tempfile.TemporaryDirectory() as folder:
        study = lesion.sweep(
            network,
            TensorDataset(images, labels),
            Path(folder) / "study.lesion",
            layers=LAYERS,
            holdout=0,
            full=True,
        )
        with study:
            order = torch.tensor(study.header.order)
            return {
                f"{cell.target} {cell.amount:.1f}": _in_place(study.outcomes(cell)["top1"], order)
                for cell in study.lesions
            }


def _in_place(right: object, order: Tensor) -> list[bool]:
    in_order = torch.empty(len(order), dtype=torch.bool)
    in_order[order] = torch.as_tensor(right)
    return in_order.tolist()


@torch.inference_mode()
def by_plain_loop(network: nn.Module, images: Tensor, labels: Tensor) -> Outcomes:
    """Zero the filters and their batch-norm entries, run the whole network, put them back."""
    _right(network, images, labels)  # the baseline
    outcomes = {}
    for name, conv, norm in pairs(network):
        for ratio in RATIOS:
            with zeroed(lowest(conv, ratio), conv.weight, norm.weight, norm.bias):
                outcomes[f"{name} {ratio:.1f}"] = _right(network, images, labels)
    return outcomes


def by_torch_pruning(network: nn.Module, images: Tensor, labels: Tensor) -> Outcomes:
    """Copy the network, prune it with Torch-Pruning, run the smaller one; no stem.

    The stem's filters add into the residual stream, whose parameter-free shortcuts Torch-Pruning
    does not follow.
    """
    import torch_pruning

    outcomes = {}
    with torch.inference_mode():
        _right(network, images, labels)
    for name, conv, _ in pairs(network):
        for ratio in RATIOS if name != "conv1" else ():
            smaller = copy.deepcopy(network)
            graph = torch_pruning.DependencyGraph().build_dependency(smaller, images[:1])
            graph.get_pruning_group(
                smaller.get_submodule(name),
                torch_pruning.prune_conv_out_channels,
                lowest(conv, ratio).tolist(),
            ).prune()
            with torch.inference_mode():
                outcomes[f"{name} {ratio:.1f}"] = _right(smaller, images, labels)
    return outcomes


CONTENDERS: dict[str, Contender] = {
    "lesion": by_lesion,
    "plain loop": by_plain_loop,
    "Torch-Pruning": by_torch_pruning,
}


def pairs(network: nn.Module) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """The stem and the first convolution of each block, with the batch norm behind it."""
    for name, module in network.named_modules():
        if name.rpartition(".")[2] == "conv1":
            norm = network.get_submodule(name.removesuffix("conv1") + "bn1")
            assert isinstance(module, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            yield name, module, norm


def lowest(conv: nn.Conv2d, ratio: float) -> Tensor:
    """The filters of lowest l1 norm; floor(channels · (1 − ratio)) stay."""
    norms = conv.weight.detach().double().abs().flatten(1).sum(1)
    kept = max(1, int(len(norms) * (1 - ratio) + 1e-9))
    return norms.argsort(stable=True)[: len(norms) - kept]


@contextmanager
def zeroed(filters: Tensor, *parameters: Tensor) -> Iterator[None]:
    """The parameters with zeros for the filters, afterwards as they were."""
    before = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter[filters] = 0
    try:
        yield
    finally:
        for parameter, values in zip(parameters, before, strict=True):
            parameter.copy_(values)


def _right(network: nn.Module, images: Tensor, labels: Tensor) -> list[bool]:
    parts = zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True)
    return torch.cat([network(part).argmax(1) == answers for part, answers in parts]).tolist()


def kibibytes() -> int:
    """The most memory that this process has held (on Linux; macOS counts bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--network", default="demo:resnet56")
    parser.add_argument("--weights", help="as of the command line of lesion")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0, help="the first of the test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    network, _ = open_network(asked.network, asked.weights)
    images, labels = fashion_mnist.bundled()
    now = slice(asked.start, asked.start + asked.images)
    normalised, targets = fashion_mnist.normalise(images[now]), labels[now]
    network.eval()
    before, start = kibibytes(), time.perf_counter()
    outcomes = CONTENDERS[asked.contender](network, normalised, targets)
    seconds = time.perf_counter() - start
    result = {
        "seconds": seconds,
        "before": before,
        "peak": kibibytes(),
        "images": len(targets),
        "outcomes": outcomes,
    }
    asked.out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()

"""Layers ranked by the drop of their own quantised weights: `lesion` beside AIMET's analysis.

    pip install aimet-torch
    python benchmarks/peer_ranking.py --network benchmarks/networks.py:resnet18 --weights FILE \\
        --images 2000 -o peer_ranking.md

Both quantise one layer at a time, symmetrically, a step for each filter, batch norm folded, inputs
and outputs left as they are, on the same images: AIMET by `QuantAnalyzer`'s per-layer analysis with
one quantiser enabled, which runs the whole network; `lesion` by a full sweep. Passes are image
passes of the whole network, those of a replay as their share of its multiply-accumulates.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from aimet_torch.batch_norm_fold import fold_all_batch_norms
from aimet_torch.quant_analyzer import QuantAnalyzer
from aimet_torch.quantsim import QuantizationSimModel
from scipy.stats import spearmanr
from subjects import named, table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lesion.engine.replay import Replay
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.prepare import prepare
from lesion.zoo import fashion_mnist
from lesion.zoo.forms import open_network

BATCH = 32
HEADER = (
    "network",
    "bits",
    "layers × images",
    "Spearman of the loss",
    "of top-1",
    "largest difference (points)",
    "most sensitive, AIMET",
    "most sensitive, lesion",
    "AIMET (s)",
    "lesion (s)",
    "passes of AIMET",
    "of lesion",
)


class Counting:
    """The share (%) of images that a network has right, and how many passes that took.

    losses: the mean cross-entropy of each call
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels, self.passes = images, labels, 0
        self.losses: list[float] = []

    @torch.inference_mode()
    def __call__(self, network: nn.Module, *_: object) -> float:
        self.passes += len(self.images)
        logits = torch.cat([network(part) for part in self.images.split(BATCH)])
        self.losses.append(float(cross_entropy(logits, self.labels)))
        return 100 * float((logits.argmax(1) == self.labels).double().mean())


def by_aimet(
    network: nn.Module, counting: Counting, bits: int
) -> tuple[dict[str, float], dict[str, float], float]:
    """The score (%) and loss with each layer's weights in so many bits, and the seconds of it."""
    start, some = time.perf_counter(), counting.images[:BATCH]
    model = copy.deepcopy(network)
    fold_all_batch_norms(model, tuple(some.shape), dummy_input=some)
    sim = QuantizationSimModel(model, some, default_param_bw=bits, default_output_bw=16)
    for module in sim.qmodules():
        for quantisers in (module.input_quantizers, module.output_quantizers):
            for place in range(len(quantisers)):
                quantisers[place] = None
    sim.compute_encodings(lambda each, _: each(some), None)
    analyser = QuantAnalyzer(model, some, counting, counting)
    with tempfile.TemporaryDirectory() as folder:
        scores = analyser.perform_per_layer_analysis_by_enabling_quant_wrappers(sim, folder)
    losses = dict(zip(scores, counting.losses, strict=True))  # in the order of evaluation
    return scores, losses, time.perf_counter() - start


def by_lesion(
    network: nn.Module, counting: Counting, bits: int
) -> tuple[dict[str, float], dict[str, float], float, float]:
    """The same, and the passes that it took."""
    start = time.perf_counter()
    data = torch.utils.data.TensorDataset(counting.images, counting.labels)
    choices = Choices((bits,), damage="quantise:grid=signed", holdout=0)
    with tempfile.TemporaryDirectory() as folder:
        ready = prepare(Subject.of(network, data), Path(folder) / "s", choices, Full())
        for _ in ready:
            pass
        with ready.study as study:
            means = {
                column: {
                    each.target: float(study.outcomes(each)[column].mean(dtype=float))
                    for each in study.lesions
                }
                for column in ("top1", "loss")
            }
        seconds = time.perf_counter() - start
    engine = ready.worker.engine
    assert isinstance(engine, Replay)
    costs = np.array(engine._trial.costs)
    shares = [
        costs[list(engine.behind(edit).replayed)].sum() / costs.sum()
        for edit in ready.lesions.values()
    ]
    scores = {name: 100 * mean for name, mean in means["top1"].items()}
    return scores, means["loss"], seconds, len(counting.images) * (1 + sum(shares))


def most(losses: dict[str, float]) -> str:
    """The three layers that lose most."""
    return ", ".join(sorted(losses, key=lambda name: -losses[name])[:3])


def rows(asked: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """A row a number of bits."""
    network = open_network(asked.network, asked.weights)[0].eval()
    images, labels = fashion_mnist.bundled()
    images, labels = fashion_mnist.normalise(images)[: asked.images], labels[: asked.images]
    for bits in asked.bits:
        counting = Counting(images, labels)
        peer, peer_losses, peer_seconds = by_aimet(network, counting, bits)
        ours, losses, seconds, passes = by_lesion(network, counting, bits)
        assert peer.keys() == ours.keys(), peer.keys() ^ ours.keys()
        names = sorted(ours)
        pair = [[each[name] for name in names] for each in (peer_losses, losses)]
        first, second = (np.array([each[name] for name in names]) for each in (peer, ours))
        yield (
            named(asked),
            str(bits),
            f"{len(names)} × {len(images)}",
            f"{spearmanr(*pair).statistic:.3f}",
            f"{spearmanr(first, second).statistic:.3f}",
            f"{abs(first - second).max():.2f}",
            most(peer_losses),
            most(losses),
            f"{peer_seconds:.1f}",
            f"{seconds:.1f}",
            str(counting.passes),
            f"{passes:.0f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="demo:resnet20")
    parser.add_argument("--weights")
    parser.add_argument("--name", help="of the network in the table")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4])
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file to add the table to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table(HEADER, list(rows(asked)), asked.out)


if __name__ == "__main__":
    main()

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
    "Spearman",
    "largest difference (points)",
    "most sensitive, AIMET",
    "most sensitive, lesion",
    "AIMET (s)",
    "lesion (s)",
    "passes of AIMET",
    "of lesion",
)


class Counting:
    """The share (%) of images that a network has right, and how many passes that took."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels, self.passes = images, labels, 0

    @torch.inference_mode()
    def __call__(self, network: nn.Module, *_: object) -> float:
        self.passes += len(self.images)
        parts = zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True)
        right = sum(int((network(part).argmax(1) == answers).sum()) for part, answers in parts)
        return 100 * right / len(self.labels)


def by_aimet(network: nn.Module, counting: Counting, bits: int) -> tuple[dict[str, float], float]:
    """The score (%) with each layer's weights in so many bits, and the seconds of it."""
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
    return scores, time.perf_counter() - start


def by_lesion(
    network: nn.Module, counting: Counting, bits: int
) -> tuple[dict[str, float], float, float]:
    """The same, and the passes that it took."""
    start = time.perf_counter()
    data = torch.utils.data.TensorDataset(counting.images, counting.labels)
    choices = Choices((bits,), damage="quantise", holdout=0)
    with tempfile.TemporaryDirectory() as folder:
        ready = prepare(Subject.of(network, data), Path(folder) / "s", choices, Full())
        for _ in ready:
            pass
        with ready.study as study:
            scores = {
                each.target: 100 * float(study.outcomes(each)["top1"].mean())
                for each in study.lesions
            }
        seconds = time.perf_counter() - start
    engine = ready.worker.engine
    assert isinstance(engine, Replay)
    costs = np.array(engine._trial.costs)
    shares = [
        costs[list(engine.behind(edit).replayed)].sum() / costs.sum()
        for edit in ready.lesions.values()
    ]
    return scores, seconds, len(counting.images) * (1 + sum(shares))


def rows(asked: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """A row a number of bits."""
    network = open_network(asked.network, asked.weights)[0].eval()
    images, labels = fashion_mnist.bundled()
    images, labels = fashion_mnist.normalise(images)[: asked.images], labels[: asked.images]
    for bits in asked.bits:
        counting = Counting(images, labels)
        peer, peer_seconds = by_aimet(network, counting, bits)
        ours, seconds, passes = by_lesion(network, counting, bits)
        assert peer.keys() == ours.keys(), peer.keys() ^ ours.keys()
        names = sorted(ours)
        first, second = (np.array([each[name] for name in names]) for each in (peer, ours))
        yield (
            named(asked),
            str(bits),
            f"{len(names)} × {len(images)}",
            f"{spearmanr(first, second).statistic:.3f}",
            f"{abs(first - second).max():.2f}",
            ", ".join(sorted(names, key=lambda name: peer[name])[:3]),
            ", ".join(sorted(names, key=lambda name: ours[name])[:3]),
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

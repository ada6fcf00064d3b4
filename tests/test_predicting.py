"""Joint drops from single lesions: image by image where margins are known."""

import numpy as np
import planted
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import lesion
from lesion.allocating import allocate, choices
from lesion.budget import Budget
from lesion.candidates import dropped
from lesion.errors import EvidenceError, LesionError
from lesion.plan import Joint
from lesion.predicting import basis
from lesion.subject import Subject
from lesion.together import Bench

RATIOS = (0.25, 0.5, 0.75)


class Beside(nn.Module):
    """Two convolutions side by side, whose logits for two classes add up: so do margins."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 5)
        self.one, self.two = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x):
        left, right = (conv(x).relu().mean((2, 3)) for conv in (self.a, self.b))
        return self.one(left) + self.two(right)


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(0)
    network = Beside().eval()
    images = torch.randn(500, 3, 8, 8)
    with torch.no_grad():
        labels = network(images).argmax(1)
    labels[:50] = 1 - labels[:50]
    return network, TensorDataset(images, labels)


@pytest.fixture(scope="module")
def study(subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "a.lesion"
    with lesion.sweep(*subject, path, ratios=RATIOS, full=True) as made:
        yield made


def test_where_margins_add_up_the_prediction_is_exact(subject, study):
    found = choices(study, Budget(), "l1", "top1")
    known = basis(study, found, "top1", "l1")
    bench = Bench.of(study, Subject.of(*subject))
    intact = bench.intact(study.header.order)
    assert known.by == "margins"
    for a in range(1, 4):
        for b in range(1, 4):
            choice = {"a": a, "b": b}
            gone = dropped(study.anatomy, {u: found[u][at] for u, at in choice.items()})
            joint = Joint(("a", "b"))
            own = bench.outcomes({joint: gone}, study.header.order, intact)[joint]
            wanted = 100 * (intact.outcomes["top1"].mean() - own["top1"].mean())
            got = known.predicted(choice)
            assert got.drop == pytest.approx(wanted, abs=0.41)  # 2 of 500: half precision
            assert got.high > got.drop


def test_by_drops_accuracies_multiply(study):
    found = choices(study, Budget(), "l1", "top1")
    known = basis(study, found, "top1", "l1", by="drops")
    taken = {"a": 2, "b": 3}
    left = np.prod([1 - found[u][at].drop / known.baseline for u, at in taken.items()])
    assert known.by == "drops"
    assert known.predicted(taken).drop == pytest.approx(known.baseline * (1 - left))
    assert allocate(study, Budget(macs=0.6), by="drops").guarantee.startswith(
        "A prediction: single drops composed"
    )
    assert "each image's margin moves" in allocate(study, Budget(macs=0.6)).guarantee


def counts(layer, ratio):
    return int(40 * ratio), 0


def by(study, **options):
    found = choices(study, Budget(), "l1", "top1")
    return basis(study, found, "top1", "l1", **options).by


def test_margins_count_where_all_lesions_saw_the_same_images(tmp_path):
    """Fewer than 200 in common, or gaps, and drops have to do."""

    def seen(layer, ratio):
        return 150 if layer.name == "layer1.0.conv1" else None

    with planted.study(tmp_path / "a", images=1000, counts=counts, ratios=RATIOS) as made:
        assert by(made) == "margins" and by(made, by="drops") == "drops"
    with planted.study(tmp_path / "b", images=1000, counts=counts, ratios=RATIOS, seen=seen) as few:
        assert by(few) == "drops"
        with pytest.raises(EvidenceError, match=r"Expected margins of the same images .* --full"):
            by(few, by="margins")
        with pytest.raises(LesionError, match="Expected predictions by margins or drops, got 'x'"):
            by(few, by="x")


def test_other_scores_have_no_margins(study):
    found = choices(study, Budget(), "l1", "agreement")
    assert basis(study, found, "agreement", "l1").by == "drops"


def test_layers_skip_their_stages_rate_where_margins_are_known(tmp_path):
    """One layer of each stage costs everything: it stays whole, the others take the rate."""

    def harmful(layer, ratio):
        return (600, 0) if layer.name.endswith(".1.conv1") else (int(10 * ratio), 0)

    with planted.study(tmp_path / "a", images=1000, counts=harmful, ratios=RATIOS) as made:
        assert by(made) == "margins"
        found = allocate(made, Budget(macs=0.85, per="stage"))
    stays = {rate.unit for rate in found.rates if not rate.pruned}
    assert {f"layer{stage}.1.conv1" for stage in (1, 2, 3)} <= stays
    assert found.cut

"""Joint drops from single lesions: image by image where margins are known."""

import json

import numpy as np
import planted
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import lesion
from lesion.errors import EvidenceError, LesionError
from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.rates.candidates import candidates, dropped
from lesion.rates.prediction import basis
from lesion.rates.recommend import recommend
from lesion.results.reading import Reading
from lesion.subject.subject import Subject

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
    found = candidates(Reading.of(study), Budget())
    known = basis(Reading.of(study), found)
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
    found = candidates(Reading.of(study), Budget())
    known = basis(Reading.of(study), found, by="drops")
    taken = {"a": 2, "b": 3}
    left = np.prod([1 - found[u][at].drop / known.baseline for u, at in taken.items()])
    assert known.by == "drops"
    assert known.predicted(taken).drop == pytest.approx(known.baseline * (1 - left))
    assert recommend(study, budget=Budget(macs=0.6), by="drops").guarantee.startswith(
        "A prediction: single drops composed"
    )
    assert "each image's margin moves" in recommend(study, budget=Budget(macs=0.6)).guarantee


def counts(layer, ratio):
    return int(40 * ratio), 0


def by(study, **options):
    found = candidates(Reading.of(study), Budget())
    return basis(Reading.of(study), found, **options).by


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
    found = candidates(Reading.of(study, column="agreement"), Budget())
    assert basis(Reading.of(study, column="agreement"), found).by == "drops"


# --- scores that are no accuracy


def fidelity(outputs, targets):
    """How near the outputs are to the label's, from 0 to 1: no image is right or wrong."""
    return 1 / (1 + nn.functional.cross_entropy(outputs.double(), targets, reduction="none"))


def right(outputs, targets):
    """Top-1 as a score of one's own."""
    return (outputs.argmax(1) == targets).double()


@pytest.fixture(scope="module")
def graded(subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("graded") / "a.lesion"
    with lesion.sweep(*subject, path, ratios=RATIOS, full=True, score=fidelity) as made:
        yield made


def test_of_a_score_that_is_no_accuracy_no_joint_drop_is_predicted(graded, subject):
    found = recommend(graded, budget=Budget(macs=0.3))
    assert len(found.cut) == 2 and all(rate.drop > 0 for rate in found.cut)
    assert np.isnan(found.drop) and np.isnan(found.high)
    assert found.goal == "at most 30 % of the MACs, least single drops"
    text = found.text()
    assert "No joint drop is predicted" in text and "accuracies multiply" not in text
    assert "nan" not in text.lower()
    with pytest.raises(
        LesionError, match="Expected no bound on the joint drop, which is predicted"
    ):
        recommend(graded, budget=Budget(macs=0.3, max_drop=5))
    with pytest.raises(LesionError, match=r"out of reach: the fewest MACs .* leave are [0-9.]+ %;"):
        recommend(graded, budget=Budget(macs=0.01))
    ready = Bench.of(graded, Subject.of(*subject, score=fidelity))
    with pytest.raises(EvidenceError, match="Expected a study of accuracies, whose joint drops"):
        lesion.calibrate(graded, ready)
    refined = lesion.refine(graded, ready, found, Budget(macs=0.3), rounds=1)
    assert refined.measured and refined.high > refined.drop


def test_rates_without_a_prediction_are_handed_over_as_others_are(graded, tmp_path):
    """What is not known is null, and comes back."""
    found = recommend(graded, budget=Budget(macs=0.6))

    def refused(text):
        raise ValueError(text)

    found.save(tmp_path / "rates.json")
    values = json.loads((tmp_path / "rates.json").read_text(), parse_constant=refused)
    assert values["drop"] is None and values["high"] is None
    again = Allocation.load(tmp_path / "rates.json")
    assert np.isnan(again.drop) and again.rates == found.rates
    table = lesion.export(found, "markdown")
    assert "their joint drop is not predicted" in table and "nan" not in table


def test_a_score_of_hits_is_an_accuracy_whoever_gives_it(study, subject, tmp_path):
    with lesion.sweep(*subject, tmp_path / "a", ratios=RATIOS, full=True, score=right) as made:
        found = recommend(made, budget=Budget(macs=0.6))
    wanted = recommend(study, budget=Budget(macs=0.6), by="drops")
    assert found.filters == wanted.filters and found.drop == pytest.approx(wanted.drop)
    assert found.guarantee.startswith("A prediction: single drops composed as accuracies multiply")


def test_a_network_without_a_right_answer_has_nothing_to_lose(subject, tmp_path):
    network, data = subject
    images = data.tensors[0]
    with torch.no_grad():
        wrong = TensorDataset(images, 1 - network(images).argmax(1))
    with lesion.sweep(network, wrong, tmp_path / "a", ratios=RATIOS, full=True) as made:
        found = recommend(made, budget=Budget(macs=0.6), by="drops")
    assert found.baseline == 0 and found.drop == 0


def test_layers_skip_their_stages_rate_where_margins_are_known(tmp_path):
    """One layer of each stage costs everything: it stays whole, the others take the rate."""

    def harmful(layer, ratio):
        return (600, 0) if layer.name.endswith(".1.conv1") else (int(10 * ratio), 0)

    with planted.study(tmp_path / "a", images=1000, counts=harmful, ratios=RATIOS) as made:
        assert by(made) == "margins"
        found = recommend(made, budget=Budget(macs=0.85, per="stage"))
    stays = {rate.unit for rate in found.rates if not rate.pruned}
    assert {f"layer{stage}.1.conv1" for stage in (1, 2, 3)} <= stays
    assert found.cut

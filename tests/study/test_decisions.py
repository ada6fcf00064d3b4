"""Agreement and variation: decided from few images, with the verdicts of the full sweep."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import lesion
from lesion.sequential.stratified import Stratified
from lesion.study.aim import Aim
from lesion.study.decisions import Decisions

IMAGES = 1200
RATIOS = (0.25, 0.5, 0.75)


class Pixels(Dataset):
    """Images without labels."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


class Sure(nn.Module):
    """Three colours, each passed on by one filter; the weakest filters hardly matter."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 3)
        torch.manual_seed(0)
        with torch.no_grad():
            for conv, scale in ((self.a, 0.02), (self.b, 0.05)):
                conv.weight.mul_(scale)
                conv.bias.zero_()
            for colour in range(3):
                self.a.weight[2 * colour, colour] = 1 + colour / 4
                self.b.weight[colour, 2 * colour] = 1 / (1 + colour / 4)
                self.fc.weight[colour].zero_()
                self.fc.weight[colour, colour] = 20

    def forward(self, x):
        return self.fc(torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3)))


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(1)
    bright = torch.rand(IMAGES, 3, 1, 1) ** 2
    return Sure().eval(), Pixels(bright + 0.2 * torch.rand(IMAGES, 3, 4, 4))


def test_names_of_files_beside_the_images_are_no_input(subject):
    network, data = subject
    named = [(data[place], f"{place}.png") for place in range(5)]
    made = lesion.Subject.of(network, named, score="agreement")
    batch = made.images.batch([3, 1])
    assert torch.equal(made.outputs(network, batch), network(data.images[[3, 1]]))
    entries = [{"x": data[place], "file": f"{place}.png"} for place in range(5)]
    made = lesion.Subject.of(network, entries, score="agreement")
    assert torch.equal(
        made.outputs(network, made.images.batch([3, 1])), network(data.images[[3, 1]])
    )
    with pytest.raises(lesion.SubjectError, match=r"class numbers .* got .str, str"):
        lesion.Subject.of(network, named)
    with pytest.raises(lesion.SubjectError, match="a score that needs none: --score agreement"):
        lesion.Subject.of(network, data)


def test_layers_of_outputs_of_any_shape_are_found():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    anatomy = lesion.layers(network, torch.zeros(2, 3, 8, 8))
    assert [(unit.name, unit.kind) for unit in anatomy.units] == [("0", "free"), ("2", "tied")]


@pytest.mark.parametrize("score", ["agreement", "tv"])
def test_verdicts_from_few_images_are_those_of_all(subject, score, tmp_path):
    options = {"score": score, "ratios": RATIOS, "holdout": 0}
    with lesion.sweep(*subject, tmp_path / "full", full=True, **options) as study:
        base = study.intact().outcomes[score]
        assert base.min() == pytest.approx(1, abs=1e-6)
        truth = {
            one.key: 100 * float((base.astype(float) - study.outcomes(one)[score]).mean())
            for one in study.lesions
        }
        rows = lesion.curves(study).query("reason == ''")
        assert rows["drop"].tolist() == pytest.approx(
            [truth[one.key] for one in study.lesions], abs=1e-4
        )
        assert set(rows["interval"]) == {"fixed"} and (rows["high"] > rows["low"]).all()
        every = lesion.recommend(study, max_drop=4)
    values = sorted(truth.values())
    assert values[0] < 3 and values[-1] > 6  # both verdicts are there to be found
    with lesion.sweep(*subject, tmp_path / "few", max_drop=4, **options) as study:
        aim = Aim(4, column=score)
        decisions = Decisions(study, aim, study.lesions)
        assert isinstance(decisions.process, Stratified) and decisions.question.hits == (
            score == "agreement"
        )
        found = decisions.decisions()
        seen = {one.key: int(study.seen(one).sum()) for one in study.lesions}
        few = lesion.recommend(study)
        assert few.column == score and few.max_drop == 4
    for one, decision in found.items():
        if decision.verdict != "undecided":
            assert (decision.verdict == "safe") == (truth[one.key] <= 4), one
    decided = [decision.verdict for decision in found.values()]
    assert {"safe", "sensitive"} <= set(decided)
    assert few.rates == every.rates
    assert np.mean(list(seen.values())) < 0.6 * IMAGES


def test_agreement_and_variation_tell_the_same_lesions_apart(subject, tmp_path):
    """On both scores a ratio that costs more of one costs more of the other, but for near ties."""
    drops = {}
    for score in ("agreement", "tv"):
        with lesion.sweep(
            *subject, tmp_path / score, full=True, score=score, ratios=RATIOS, holdout=0
        ) as study:
            drops[score] = lesion.curves(study).query("reason == ''")["drop"]
    assert drops["agreement"].corr(drops["tv"], method="spearman") > 0.8

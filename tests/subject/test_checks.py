"""Scores that cannot change are refused; one logit is judged by its sign; outputs are chosen."""

import collections
from dataclasses import dataclass

import networks
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import lesion
from lesion import Output, Subject, SubjectError, sweep
from lesion.subject.batch import logits
from lesion.subject.scores import Classification

IMAGES = 80


class Binary(networks.Plain):
    """One logit an image, with both signs among the images."""

    def __init__(self, ending=lambda x: x) -> None:
        super().__init__(1)
        self.ending = ending

    def forward(self, x: Tensor) -> Tensor:
        return self.ending(super().forward(x))


@pytest.fixture
def binary():
    network, data = networks.plain(IMAGES, kind=Binary)
    images = data.tensors[0]
    network.requires_grad_(False)
    network.fc.bias -= network(images).quantile(0.503)  # between two images
    labels = (network(images)[:, 0] > 0).long()
    labels[::7] = 1 - labels[::7]
    return network.eval(), images, labels


def by_hand(network, images, lesion_):
    """The logits once the filters of smallest l1 norm give zero."""
    layer = network.get_submodule(lesion_.target)
    lost = layer.weight.abs().flatten(1).sum(1).argsort()[: lesion_.pruned]
    last = network.norm if lesion_.target == "a" else layer
    handle = last.register_forward_hook(lambda _, __, out: out.index_fill(1, lost, 0))
    try:
        return network(images)[:, 0].double()
    finally:
        handle.remove()


@torch.no_grad()
@pytest.mark.parametrize("score", ["agreement", "tv"])
def test_one_logit_is_judged_by_its_sign(score, binary, tmp_path):
    network, images, labels = binary
    data = TensorDataset(images, labels) if score == "tv" else list(images)
    options = {"score": score, "full": True, "holdout": 0, "ratios": (0.25, 0.75)}
    with sweep(network, data, tmp_path / "s", **options) as study:
        order, rows = list(study.header.order), lesion.curves(study)
        by_lesion = {cut: study.outcomes(cut) for cut in study.lesions}
    images, labels = images[order], labels[order]
    before, drops = network(images)[:, 0].double(), []
    for cut, outcomes in by_lesion.items():
        after = by_hand(network, images, cut)
        want = {
            "agreement": (after > 0) == (before > 0),
            "tv": 1 - (after.sigmoid() - before.sigmoid()).abs(),
        }[score]
        if score == "tv":
            assert (outcomes["top1"] == ((after > 0) == (labels == 1)).numpy()).all()
        assert outcomes[score] == pytest.approx(want.double().numpy(), abs=1e-6)
        drops.append(100 * (1 - float(want.double().mean())))
    assert rows.query("reason == ''")["drop"].tolist() == pytest.approx(drops, abs=1e-4)
    assert max(drops) > 5  # there is something to see


def test_loss_and_margin_of_one_logit_are_those_of_the_sigmoid():
    outputs, labels = torch.tensor([[2.0], [-1.0], [0.0]]), torch.tensor([1, 1, 0])
    tally = Classification(variation=True)
    answers = tally.answers(outputs, labels, None)
    loss = F.binary_cross_entropy_with_logits(
        outputs[:, 0].double(), labels.double(), reduction="none"
    )
    assert answers["loss"] == pytest.approx(loss.numpy())
    assert answers["margin"].tolist() == [2, -1, 0]
    assert answers["prediction"].tolist() == [1, 0, 0]
    assert Classification(labelled=False).margin(outputs, None).tolist() == [2, 1, 0]


def test_labels_of_one_logit_are_0_and_1(binary):
    network, images, labels = binary
    assert Subject.of(network, TensorDataset(images, labels), score="tv").classes == 2
    with pytest.raises(SubjectError, match=r"from 0 to 1, because .* 2 outputs, got 2"):
        Subject.of(network, TensorDataset(images, 0 * labels + 2), score="tv")


@pytest.mark.parametrize("score", ["top1", "top5"])
@pytest.mark.parametrize(
    ("label", "words"),
    [(0, "two outputs or more for the score top., got one an image, which is always the largest;"),
     (1, "labels from 0 to 0, because the network has 1 outputs, got 1;")],
)  # fmt: skip
def test_the_largest_of_one_logit_is_refused(score, label, words, binary):
    network, images, labels = binary
    words = f"{words} judge one logit by its sign, with the score agreement or tv, or give an adapt"
    with pytest.raises(SubjectError, match=words):
        Subject.of(network, TensorDataset(images, 0 * labels + label), score=score)


@pytest.mark.parametrize(
    ("ending", "name"),
    [(torch.sigmoid, "sigmoid"), (lambda x: x.softmax(1), "softmax"), (torch.relu, "relu"),
     (lambda x: x.sigmoid().flatten(1), "sigmoid"), (F.logsigmoid, "log_sigmoid"),
     (F.softplus, "softplus"), (torch.exp, "exp")],
)  # fmt: skip
@pytest.mark.parametrize("score", ["agreement", "tv"])
def test_one_output_whose_sign_cannot_change_is_refused(score, ending, name, binary, tmp_path):
    network, images, _ = binary
    network.ending = ending
    words = f"Expected logits for the score {score}, because the sign of its one output .* {name}; "
    with pytest.raises(SubjectError, match=words):
        sweep(network, list(images), tmp_path / "s", score=score)
    assert not (tmp_path / "s").exists()


def test_variation_of_what_is_a_softmax_already_is_refused(tmp_path):
    network, data = networks.plain(40)
    images = list(data.tensors[0])
    ended = nn.Sequential(network, nn.Softmax(1))
    with pytest.raises(SubjectError, match="variation is between the softmax of logits, got outp"):
        sweep(ended, images, tmp_path / "s", score="tv")
    sweep(ended, images, tmp_path / "s", score="agreement", ratios=(0.5,)).close()


def test_top5_of_five_classes_is_refused():
    images = torch.randn(4, 1, 8, 8)
    data = TensorDataset(images, torch.zeros(4).long())  # of one class, which is fine
    assert Subject.of(networks.Plain(6), data, score="top5").score == "top5"
    with pytest.raises(SubjectError, match="more than five classes for the score top5, got 5,"):
        Subject.of(networks.Plain(5), data, score="top5")


CONSTANT = {
    "ones": lambda outputs, targets: torch.ones(len(outputs)),
    "of_targets": lambda outputs, targets: targets / 3,
    "of_one_class": lambda outputs, targets: outputs.softmax(1)[:, :0].sum(1) + 0.5,
    "shape": lambda outputs, targets: [outputs.shape[1] / 10] * len(outputs),
}
CHANGING = {
    "hits": lambda outputs, targets: outputs.argmax(1) == targets,
    "last": lambda outputs, targets: outputs.argmax(1) == 2,
    "sigmoid": lambda outputs, targets: outputs[:, 0].sigmoid(),
    "sure": lambda outputs, targets: outputs.softmax(1).amax(1) > 0.9,
}


def test_a_users_score_that_is_the_same_for_all_outputs_is_refused():
    data = TensorDataset(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))
    for score in CHANGING.values():
        Subject.of(networks.Plain(), data, score=score)
    for score in CONSTANT.values():
        with pytest.raises(SubjectError, match=r"a score that depends on the outputs, got .* for"):
            Subject.of(networks.Plain(), data, score=score)


# --- which output is scored


@dataclass
class Answer:
    features: Tensor
    scores: Tensor


Pair = collections.namedtuple("Pair", "features scores")
FORMS = {
    "tuple": lambda x, y: (x, y),
    "list": lambda x, y: [x, y],
    "dict": lambda x, y: {"features": x, "scores": y},
    "namedtuple": Pair,
    "dataclass": Answer,
}


class Both(networks.Plain):
    """Features before the classes."""

    def __init__(self, form, classes: int = 3) -> None:
        super().__init__(classes)
        self.form = form

    def forward(self, x: Tensor):
        x = torch.relu(self.b(torch.relu(self.norm(self.a(x))))).mean((2, 3))
        return self.form(x, self.fc(x))


def plain_logits(network, images):
    network.form = lambda x, y: y
    return network(images)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wanted", [1, "scores"])
def test_the_output_that_is_named_is_scored(form, wanted, tmp_path):
    if isinstance(wanted, str) and form in ("tuple", "list"):
        wanted = 1
    torch.manual_seed(0)
    network = Both(FORMS[form]).eval()
    images, labels = torch.randn(30, 1, 8, 8), torch.arange(30) % 3
    data = TensorDataset(images, labels)
    with pytest.raises(SubjectError, match=r"choose one of them \(--output 1; adapter=lesion.Out"):
        sweep(network, data, tmp_path / "s")
    options = {"adapter": Output(wanted), "full": True, "ratios": (0.5,), "holdout": 0}
    with sweep(network, data, tmp_path / "s", **options) as study:
        order, hits = list(study.header.order), study.intact().outcomes["top1"]
    with pytest.raises(lesion.StudyError, match=r"output \(\w+ there, 0 here\)"):
        sweep(network, data, tmp_path / "s", **{**options, "adapter": Output(0)})
    assert lesion.layers(network, images, Output(wanted)).unit["fc"].kind == "tied"
    want = plain_logits(network, images).argmax(1) == labels
    assert hits.tolist() == want[order].tolist()


def test_an_output_that_is_not_there_is_refused():
    data = TensorDataset(torch.randn(4, 1, 8, 8), torch.zeros(4).long())
    for form, wanted in (("dict", "logit"), ("tuple", 2), ("dataclass", 5), ("tuple", "scores")):
        with pytest.raises(
            SubjectError, match=rf"one of the network's outputs \(.*\), got {wanted}"
        ):
            Subject.of(Both(FORMS[form]), data, adapter=Output(wanted))
    with pytest.raises(SubjectError, match=r"outputs \(a single tensor\), got 1"):
        Subject.of(networks.Plain(), data, adapter=Output(1))


def test_the_only_output_that_can_be_logits_is_taken_and_said(tmp_path):
    network = Both(lambda x, y: (x[:, :, None], y)).eval()
    data = TensorDataset(torch.randn(30, 1, 8, 8), torch.arange(30) % 3)
    words = (
        r"^of 2 outputs 1 is scored, float32 \(2, 3\); to score another \(0\), choose it by "
        r"--output, in Python by adapter=lesion\.Output\(…\)$"
    )
    with pytest.warns(UserWarning, match=words):
        sweep(network, data, tmp_path / "s", ratios=(0.5,)).close()
    assert Subject.of(networks.Plain(), data).several == ""


def test_outputs_of_one_width_are_scored_by_the_first_and_others_not():
    first, second = torch.ones(2, 3), torch.zeros(2, 3)
    assert logits((first, second)) is first and logits([torch.ones(2, 4, 1), second]) is second
    assert logits(Pair(first, second)) is first
    with pytest.raises(SubjectError, match=r"Expected logits of .* got \(float32 \(2, 8\)"):
        logits((torch.ones(2, 8), first))


def test_labels_beyond_the_scored_output_are_refused():
    data = TensorDataset(torch.randn(4, 1, 8, 8), torch.full((4,), 5))
    network = Both(FORMS["tuple"], classes=9)
    Subject.of(network, data, adapter=Output(1))
    network.b = nn.Conv2d(8, 4, 3)
    network.fc = nn.Linear(4, 9)
    with pytest.raises(SubjectError, match="from 0 to 3, because the network has 4 outputs, got 5"):
        Subject.of(network, data, adapter=Output(0))


def test_the_command_line_chooses_an_output(tmp_path, capsys):
    from lesion.zoo import open_subject

    path = tmp_path / "own.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(4, 7)\n"
        "    def forward(self, x):\n        return x, self.fc(x)\n"
        "def data():\n    return [(torch.arange(4.) + i, i % 7) for i in range(9)]\n"
    )
    network, data = f"{path}:Net", f"{path}:data"
    subject = open_subject(network, None, data, output="1")
    assert (subject.classes, subject.several) == (7, "")
    with pytest.raises(SubjectError, match="choose one of them"):
        open_subject(network, None, data)
    assert np.isfinite(subject.outputs(subject.network, subject.example).detach().numpy()).all()

"""Studies that hold little: one sentence each, whatever is asked of them."""

import networks
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import lesion
from lesion.errors import EvidenceError
from lesion.joint.baselines import with_baselines
from lesion.joint.bench import Bench
from lesion.joint.tradeoff import tradeoff
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.results.reading import Reading
from lesion.subject.subject import Subject

ASKED = (
    ("recommend",), ("recommend", "--macs", "50%"), ("export", "--to", "csv"),
    ("export", "--macs", "50%", "--to", "json"),
)  # fmt: skip


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """A study without a lesion: the only layer makes the outputs."""
    path = tmp_path_factory.mktemp("tied") / "s.lesion"
    data = TensorDataset(torch.randn(20, 3, 2, 2), torch.arange(20) % 4)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(lesion.SubjectError, match="Expected a layer that can be cut, got none"):
        lesion.sweep(network, data, path, full=True)
    return path


@pytest.mark.parametrize("command", ASKED)
def test_without_a_lesion(run, tied, command):
    name, *rest = command
    ran = run(name, tied, *rest)
    ran.refused("Expected measured lesions in", "but it holds none: lesion curves says")


def test_only_a_branch_was_measured(run, tmp_path):
    """A stem's part in a sum has curves, but no unit that could lose channels."""
    network, data = networks.resnet8(40)
    path = tmp_path / "s.lesion"
    lesion.sweep(network, data, path, layers=("conv1",), full=True).close()
    ran = run("recommend", path, "--macs", "50%")
    ran.refused("Expected curves of units whose channels can be removed", "(--units all)")


def test_rates_that_cut_nothing_have_baselines_that_cut_nothing(tmp_path):
    network, data = networks.plain(60)
    with lesion.sweep(network, data, tmp_path / "s", ratios=(0.5,), full=True) as study:
        found = recommend(study, budget=Budget(macs=1.0))
        ready = Bench.of(study, Subject.of(network, data))
        table = with_baselines(Reading.of(study), ready, found, study.header.holdout)
    assert not found.cut and table["drop"].tolist() == [0, 0, 0]


def test_without_images_kept_back_there_is_no_tradeoff(tmp_path):
    network, data = networks.plain(60)
    with lesion.sweep(network, data, tmp_path / "s", ratios=(0.5,), full=True, holdout=0) as study:
        ready = Bench.of(study, Subject.of(network, data))
        with pytest.raises(EvidenceError, match="Expected images kept back to measure rates on"):
            tradeoff(study, ready, (0.9,))


def share(network):
    with torch.no_grad():
        return float(network(torch.ones(2, 1, 12, 12)).abs().sum())


def test_whole_evaluations_give_rates_without_a_prediction(run, tmp_path):
    network, data = networks.plain(20)
    path = tmp_path / "s.lesion"
    study = lesion.evaluate(network, share, path, data.tensors[0][:2], ratios=(0.5,))
    with study, pytest.raises(EvidenceError, match="Expected a study whose images have scores"):
        Bench.of(study, Subject.of(network, data))
    ran = run("recommend", path, "--macs", "60%")
    assert ran.code == 0 and "No joint drop is predicted" in ran.out and "points" not in ran.out

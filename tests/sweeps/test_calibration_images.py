"""Damages of what layers read: by calibration images that are never scored, kept in the study."""

from functools import partial

import networks
import numpy as np
import pytest
import torch
from hooked import fake_quantised, read, through
from torch.utils.data import Subset, TensorDataset

from lesion.errors import LesionError, StudyError, SubjectError
from lesion.study.merge import merge
from lesion.study.study import Study
from lesion.subject.training_images import Training
from lesion.sweeps.sweep import sweep

LAYERS = ("a", "b", "fc")


@pytest.fixture(scope="module")
def plain():
    """A small network, its images, and 70 more."""
    network, data = networks.plain(50)
    return network, data, networks.random_images(70, 1, 8, 8, classes=3, seed=7)


def swept(plain, path, damage="activations", **options):
    network, data, train = plain
    given = {"train": train, "full": True, "ratios": (4, 2), **options}
    return sweep(network, data, path, damage=damage, **given)


def calibrating(train, images):
    """The first of the training images' seeded order, in whole batches of 32."""
    order = np.random.default_rng([0, 0, 1]).permutation(len(train))[:images]
    return train.tensors[0][order[: len(order) // 32 * 32]]


@pytest.fixture(scope="module")
def study(plain, tmp_path_factory):
    path = tmp_path_factory.mktemp("calibrated") / "s"
    swept(plain, path).close()
    return path


@torch.no_grad()
def test_outcomes_are_those_of_a_hooked_network(plain, study):
    network, data, train = plain
    seen = calibrating(train, 1024)
    assert len(seen) == 64
    with Study.open(study) as opened:
        x, labels = (tensor[list(opened.header.order)] for tensor in data.tensors)
        assert {each.target for each in opened.lesions} == {*LAYERS}
        for lesion in opened.lesions:
            values = read(network, lesion.target, seen)
            low, high = min(float(values.min()), 0), float(values.max())
            numbers = opened.scores(lesion.target, "layer", "activations")
            assert numbers.reshape(15, 2) == pytest.approx(np.array([[low, high]] * 15), rel=1e-5)
            change = partial(fake_quantised, bits=int(lesion.amount), low=low, high=high)
            with through(network, lesion.target, change):
                logits = network(x)
            right = (logits.argmax(1) == labels).numpy()
            gap = np.diff(logits.topk(2).values.numpy())[:, 0]
            clear = abs(gap) > 1e-4 * float(logits.abs().max())
            assert np.array_equal(opened.outcomes(lesion)["top1"][clear], right[clear])
        assert opened.savings[lesion].shares["bops"] == 1 - lesion.amount / 32


def test_scored_images_and_those_kept_back_are_refused(plain, tmp_path):
    network, data, _ = plain
    kept_back = np.random.default_rng(0).permutation(50)[:25].tolist()
    for name, part in {"s": data, "t": Subset(data, kept_back)}.items():
        for _ in range(2):  # a study that was refused images holds none
            with pytest.raises(SubjectError, match="Expected training images that are not scored"):
                swept((network, data, part), tmp_path / name, holdout=0.5)
    with swept(plain, tmp_path / "t", holdout=0.5) as opened:
        assert len(opened.lesions) == 6


def test_a_study_goes_on_with_what_it_knows_and_refuses_other_images(plain, study, tmp_path):
    network, data, train = plain
    path = tmp_path / "s"
    path.write_bytes(study.read_bytes())
    with swept(plain, path, train=None, ratios=(4, 3)) as opened:
        assert {each.amount for each in opened.lesions} == {4, 3, 2}
    other = TensorDataset(*(tensor.flip(0) for tensor in train.tensors))
    for images in (other, Subset(train, range(40))):
        with pytest.raises(StudyError, match=r"the images that .* knows of damage activations"):
            swept((network, data, images), path)


def test_studies_of_other_images_are_not_merged(plain, study, tmp_path):
    network, data, train = plain
    other = TensorDataset(*(tensor.flip(0) for tensor in train.tensors))
    swept((network, data, other), tmp_path / "other", ratios=(3,)).close()
    with pytest.raises(StudyError, match="knows of damage activations"):
        merge([study, tmp_path / "other"], tmp_path / "both")
    swept(plain, tmp_path / "same", ratios=(3,)).close()
    merge([study, tmp_path / "same"], tmp_path / "both")
    with Study.open(tmp_path / "both") as opened:
        assert {each.amount for each in opened.lesions} == {4, 3, 2}


def test_bits_share_one_pass_over_the_images(plain, tmp_path, monkeypatch):
    passes = []

    def counted(self, *given, epoch=Training.epoch):
        passes.append(given)
        return epoch(self, *given)

    monkeypatch.setattr("lesion.subject.training_images.Training.epoch", counted)
    swept(plain, tmp_path / "s", "activations:clip=mse", ratios=(8, 6, 4, 3, 2)).close()
    assert passes == [(0, 0, 32, 1024)]


def test_no_images_no_trace(plain, tmp_path):
    network, data, train = plain
    with pytest.raises(LesionError) as caught:
        swept((network, data, None), tmp_path / "s")
    assert str(caught.value) == (
        "Expected training images for damage activations, got none; give them with train=… "
        "(--train DATA), and none of those that are scored."
    )
    wayward, data = networks.plain(50, kind=networks.Wayward)
    with pytest.raises(LesionError, match="a network that can be traced for a damage of what"):
        swept((wayward, data, train), tmp_path / "t")


def test_both_edits_are_measured_in_one_lesion(plain, tmp_path):
    with swept(plain, tmp_path / "s", "quantise:activations=4", ratios=(3,)) as opened:
        lesion = opened.lesions[0]
        assert lesion.damage == "quantise:activations=4"
        shares = opened.savings[lesion].shares
        assert shares["bops"] == pytest.approx(1 - 3 * 4 / 1024)
        assert opened.criteria["damage quantise:activations=4"].startswith("64 of 70 images, ")


@pytest.mark.parametrize("recovery", ["reconstruct:64", "bn", "finetune:2"])
def test_edited_networks_recover(plain, tmp_path, recovery):
    with swept(plain, tmp_path / "s", ratios=(2,), recover=recovery) as opened:
        assert not opened.failed
        assert {each.recovery for each in opened.lesions} == {recovery}

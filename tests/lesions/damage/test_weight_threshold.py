"""Weights below so many of their standard deviations are zero, and what that saves."""

import networks
import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import lesion
from lesion.compression.grains import below, without_below
from lesion.errors import LesionError
from lesion.lesions.damage import damage
from lesion.rates.layer_options import mixed
from lesion.results.reading import Reading
from lesion.study.study import Study


def test_weights_below_the_threshold_by_hand():
    """(1, −2, 3, −4, 2) has the mean 0 and the deviation √(34 / 5) = 2.6077."""
    weight = torch.tensor([[1.0, -2.0], [3.0, -4.0], [2.0, 0.0]]).flatten()[:5]
    for quality, zeros in ((0.25, 0), (0.5, 1), (1.0, 3), (1.5, 4), (2.0, 5)):
        assert int(below(weight.numpy(), quality).sum()) == zeros
    assert without_below(weight, 1.0).tolist() == [0, 0, 3, -4, 0]


def test_the_mean_is_taken_off_and_the_threshold_is_around_zero():
    weight = np.array([9.0, 11.0])  # deviation 1
    assert not below(weight, 8.9).any()
    assert below(weight, 9.5).tolist() == [True, False]


def test_of_normal_weights_two_deviations_leave_a_twentieth():
    weight = np.random.default_rng(0).normal(size=100_000)
    shares = [below(weight, quality).mean() for quality in (0.5, 1.0, 2.0)]
    assert shares == pytest.approx([0.3829, 0.6827, 0.9545], abs=0.005)  # erf(q / √2)


def test_a_study_tells_what_share_of_zeros_came_out(tmp_path):
    network, data = networks.plain(40)
    with lesion.sweep(network, data, tmp_path / "s", damage="weight_threshold", full=True,
                      holdout=0) as study:  # fmt: skip
        assert {each.amount for each in study.lesions} == {0.25, 0.5, 1.0, 1.5, 2.0}
        images = data.tensors[0][list(study.header.order)]
        labels = data.tensors[1][list(study.header.order)]
        for each in study.lesions:
            weight = network.get_submodule(each.target).weight.detach()
            threshold = each.amount * np.std(weight.numpy().astype(float))
            zeros = int((weight.double().abs() < threshold).sum())
            saving, numbers = study.savings[each], weight.numel()
            assert saving.shares["macs"] == pytest.approx(zeros / numbers)
            assert saving.shares["dense_macs"] == 0
            biases = 32 * len(weight)
            assert saving.left.bits == 32 * (numbers - zeros) + numbers + biases
            module = network.get_submodule(each.target)
            prune.l1_unstructured(module, "weight", zeros)
            with torch.no_grad():
                right = network(images).argmax(1) == labels
            prune.remove(module, "weight")
            module.weight.data = weight
            assert study.outcomes(each)["top1"].tolist() == right.tolist()


def test_rates_are_not_mixed_of_it(tmp_path):
    network, data = networks.plain(40)
    for kind in ("weight_threshold", "quantise"):
        lesion.sweep(network, data, tmp_path / "s", damage=kind, full=True, holdout=0).close()
    with Study.open(tmp_path / "s") as study:
        reading = Reading.of(study, None, "top1", "quantise", "", 95)
        assert mixed(reading).others == ()
        with pytest.raises(LesionError, match="whose cost follows from the layer's shape"):
            mixed(reading, ["quantise", "weight_threshold"])


def test_a_threshold_below_all_weights_is_no_lesion(tmp_path):
    network, data = networks.plain(20)
    network.b.weight.data = torch.where(network.b.weight < 0, -1.0, 1.0)
    with lesion.sweep(network, data, tmp_path / "s", damage="weight_threshold", layers=["b"],
                      ratios=(0.5, 1.5), full=True, holdout=0) as study:  # fmt: skip
        assert [each.amount for each in study.lesions] == [1.5]
        (skipped,) = study.skipped
    assert skipped.reason == "weight_threshold: 0.5 σ: none of its weights is below it"


def test_amounts_are_above_nothing():
    with pytest.raises(LesionError, match="got 0"):
        damage("weight_threshold").amounts.check([0.0])

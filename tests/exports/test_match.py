"""Rates that are not for this network are refused, each with its sentence."""

from dataclasses import replace

import allocations
import pytest
import removal
import torch

from lesion.errors import LesionError
from lesion.exports.match import match


@pytest.fixture(scope="module")
def case():
    return removal.small("depthwise_doubled")


@pytest.fixture(scope="module")
def rates(case):
    return allocations.by_channels(case.dissection.anatomy, {"a": [1, 4], "g": [0]})


def changed(rates, number, **changes):
    entries = list(rates.rates)
    entries[number] = replace(entries[number], **changes)
    return replace(rates, rates=tuple(entries))


def refused(case, rates):
    with pytest.raises(LesionError) as error:
        match(rates, case.network, case.x)
    return str(error.value)


def test_what_falls(case, rates):
    matched = match(rates, case.network, case.x)
    assert matched.falling("a").nonzero()[0].tolist() == [1, 4]
    assert matched.falling("d").nonzero()[0].tolist() == [2, 3, 8, 9]  # two filters a channel
    assert matched.unread("g").nonzero()[0].tolist() == [2, 3, 8, 9]
    assert not matched.falling("fc").any()
    assert len(matched.falling("b")) == 0  # a batch norm is no layer


def test_the_network_stays_in_its_mode(case, rates):
    network = case.network.train()
    match(rates, network, case.x)
    assert all(module.training for module in network.modules())
    network.eval()


def test_labelled_batches_are_understood(case, rates):
    matched = match(rates, case.network, (case.x, torch.zeros(2).long()))
    assert matched.falling("a").sum() == 2


def test_another_networks_rates(case, rates):
    assert refused(case, changed(rates, 0, unit="layer9")) == (
        "Expected rates of this network, but it has no unit layer9; give the network that was "
        "swept, or allocate rates from a study of this one."
    )
    assert "its unit a has 6 channels instead of 7" in refused(case, changed(rates, 0, channels=7))
    assert "a is to keep channels that it does not have" in refused(
        case, changed(rates, 0, kept=(0, 6))
    )
    assert "it has no layer h" in refused(case, changed(rates, 0, filters={"h": (0,)}))
    tied = allocations.unit("fc", 5, (0, 1))
    assert "fc cannot be removed (its channels are the network's outputs)" in refused(
        case, replace(rates, rates=(*rates.rates, tied))
    )


def test_two_rates_for_one_unit(case, rates):
    twice = replace(rates, rates=(*rates.rates, rates.rates[0]))
    assert refused(case, twice) == (
        "Expected one rate a unit, got several for a; the layers of a unit fall together, so "
        "leave one of them."
    )


def test_a_groups_layers_with_filters_that_do_not_fall_together(case, rates):
    filters = {"a": (0, 2, 3, 5), "d": (0, 1, 2, 3, 4, 5, 6, 7)}
    assert refused(case, changed(rates, 0, filters=filters)) == (
        "Expected the filters of d that go with the channels of its unit a to stay "
        "(0, 1, 4, 5 …, 8 in all), got 0, 1, 2, 3 …, 8 in all; the layers of a unit fall "
        "together: give all of them the same channels."
    )

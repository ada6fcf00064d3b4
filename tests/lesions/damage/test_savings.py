"""What lesions save: of networks that are really smaller, and as a study tells it."""

import compressible
import networks
import numpy as np
import pytest
import torch
from removal import whole
from slicing import shrink
from torch import nn

import lesion
from lesion.compression.uniform import uniform
from lesion.compression.value_counts import ValueCounts
from lesion.lesions.damage import Settings, damage, names, plan
from lesion.lesions.damage.filters import damage as FILTERS
from lesion.lesions.ratios import dropped
from lesion.study.database import LATER, VERSION
from lesion.study.study import Study


def numbers(network):
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear
    layers = [module for module in network.modules() if isinstance(module, kinds)]
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters(False))


@pytest.mark.parametrize("family", ["resnet", "vgg", "depthwise", "densenet", "convnext"])
def test_filters_save_what_the_sliced_network_lacks(family):
    network, _, dissection = compressible.opened(family)
    anatomy = dissection.anatomy
    units = [unit for unit in anatomy.units if unit.kind == "free"][:3]
    for unit in units:
        gone = np.zeros(anatomy.channels, bool)
        gone[list(unit.cells[0][: len(unit.cells[0]) // 2])] = True
        for cell in unit.cells[1:]:
            gone[list(cell[: len(cell) // 2])] = True
        lesion_ = whole(unit, gone)
        scores = np.where(gone[unit.first : unit.first + unit.channels], 0.0, 1.0)
        assert np.array_equal(dropped(anatomy, lesion_, scores), gone)
        saving = FILTERS.footprint(anatomy, lesion_, scores)
        lost = saving.whole.parameters - saving.left.parameters
        assert lost == numbers(network) - numbers(shrink(network, anatomy, gone))
        macs = lesion.cost(anatomy).macs - lesion.cost(anatomy, gone).macs
        assert saving.whole.macs - saving.left.macs == macs > 0
        assert 0 < saving.shares["bytes"] < 1


def read(kind):
    """What a damage keeps of a layer that reads noise."""
    counts = ValueCounts()
    counts.add(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    return kind.calibration(counts)


BLOCKS = {"delete_block", "delete_blocks", "reorder", "truncate"}


@pytest.mark.parametrize("name", sorted({*names()} - BLOCKS))
def test_more_harm_never_saves_less(name):
    anatomy = compressible.opened("vgg")[2].anatomy
    kind = damage(name)
    target = kind.targets(anatomy)[0][1]
    scores = np.arange(16.0) if kind.scored else read(kind) if kind.images else None
    if kind.weighs:
        shape = (anatomy.layer[target.name].channels, 8, 3, 3)
        scores = np.random.default_rng(0).normal(size=shape)
    lesions, _ = plan(anatomy, {target: scores}, kind.amounts.grid, Settings(), kind)
    savings = [kind.footprint(anatomy, each, scores) for each in lesions]
    for saving in savings:
        assert all(0 <= share < 1 for share in saving.shares.values())
        assert saving.whole == savings[0].whole
    stored = [saving.left.bits for saving in savings]
    assert stored == sorted(stored, reverse=True)
    if name in ("noise", "shuffle", "rerandomise"):
        assert {share for saving in savings for share in saving.shares.values()} == {0}
    else:
        saved = "bops" if kind.images or name == "perforation" else "bytes"
        assert savings[-1].shares[saved] > 0.2
    order = [kind.saving(anatomy, each) for each in lesions]
    assert order == sorted(order)


def test_layers_cost_what_their_anatomy_says():
    for family in compressible.FAMILIES:
        anatomy = compressible.opened(family)[2].anatomy
        for target in damage("quantise").targets(anatomy)[0]:
            (made,), _ = plan(anatomy, {target: None}, [8], Settings(), damage("quantise"))
            saving = damage("quantise").footprint(anatomy, made)
            assert saving.whole.macs == anatomy.layer[target.name].macs
            table = anatomy.table().set_index("layer")
            assert saving.whole.parameters == table.loc[target.name, "params"]


def test_strided_layers_know_the_size_of_their_input():
    anatomy = compressible.opened("resnet")[2].anatomy
    strided = [layer for layer in anatomy.layers if layer.size_in and layer.size_in != layer.size]
    assert len(strided) == 2  # its shortcuts have no layers
    for layer in strided:
        assert layer.size_in == tuple(2 * side for side in layer.size)


def test_a_study_tells_what_is_saved_without_the_network(tmp_path):
    network, data = networks.resnet8(20)
    path = tmp_path / "s.lesion"
    for kind in ("quantise", "filters", "low_rank:form=spatial"):
        lesion.sweep(network, data, path, damage=kind, layers=["layer1*"], full=True,
                     holdout=0).close()  # fmt: skip
    with Study.open(path) as study:
        frame = lesion.curves(study)
    measured = frame[frame["reason"] == ""]
    assert set(measured["damage"]) == {"quantise", "filters", "low_rank:form=spatial"}
    bits = measured[(measured["damage"] == "quantise") & (measured["amount"] == 4)].iloc[0]
    assert bits["bytes_saved"] == pytest.approx(100 * (1 - (4 * 9 * 16 + 32) / (32 * 9 * 16)))
    assert (bits["macs_saved"], bits["dense_macs_saved"]) == (0, 0)
    assert bits["bops_saved"] == 87.5
    fallen = measured[measured["damage"] == "filters"]
    shares = fallen["pruned"].astype(float) / fallen["channels"].astype(float)
    free = fallen["kind"] == "free"
    assert np.allclose(fallen["macs_saved"][free], 100 * shares[free])
    factored = measured[measured["damage"] == "low_rank:form=spatial"]
    assert (factored["macs_saved"] >= 100 * factored["amount"] - 1e-6).all()


def test_filters_in_a_study_of_before_have_savings_too(tmp_path):
    import sqlite3
    from contextlib import closing

    network, data = networks.resnet8(20)
    path = tmp_path / "s.lesion"
    for kind in ("quantise", "filters"):
        lesion.sweep(network, data, path, damage=kind, ratios=None, layers=["layer1*"], full=True,
                     holdout=0).close()  # fmt: skip
    with Study.open(path) as study:
        now = lesion.curves(study)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert LATER[VERSION - 1] == {"savings"}
        connection.execute("DROP TABLE savings")
        connection.execute("DELETE FROM seals WHERE name = 'savings'")
        connection.execute(f"PRAGMA user_version = {VERSION - 1}")
    with Study.open(path) as study:
        before = lesion.curves(study)
    filters = now["damage"] == "filters"
    assert np.allclose(before["bytes_saved"][filters], now["bytes_saved"][filters])
    assert before["bytes_saved"][~filters].isna().all()
    with lesion.sweep(network, data, path, damage="quantise", layers=["layer1*"], full=True,
                      holdout=0) as study:  # fmt: skip
        again = lesion.curves(study)
    assert np.allclose(again["bytes_saved"], now["bytes_saved"], equal_nan=True)


def test_bits_that_the_weights_have_already_are_no_lesion(tmp_path):
    network, data = networks.plain(20)
    layer = network.b
    layer.weight.data = uniform(layer.weight.data, 4)
    with lesion.sweep(network, data, tmp_path / "s.lesion", damage="quantise", layers=["b"],
                      ratios=(8, 4, 2), full=True, holdout=0) as study:  # fmt: skip
        assert [each.amount for each in study.lesions] == [8, 2]
        (skipped,) = study.skipped
    assert skipped.reason == "quantise: 4 bits: it changes none of its weights"


def test_merged_studies_know_what_each_knew(tmp_path):
    network, data = networks.plain(20)
    paths = [tmp_path / "a.lesion", tmp_path / "b.lesion"]
    known = {}
    for path, kind in zip(paths, ("quantise", "n_m"), strict=True):
        with lesion.sweep(network, data, path, damage=kind, full=True, holdout=0) as study:
            known |= study.savings
    lesion.merge(paths, tmp_path / "c.lesion")
    with Study.open(tmp_path / "c.lesion") as study:
        assert study.savings == known and len(known) == len(study.lesions) > 0

"""JSON, YAML, CSV, Markdown, masks: read back by other readers, they hold what the rates hold."""

import json
from dataclasses import replace
from io import StringIO

import allocations
import numpy as np
import pandas as pd
import pytest
import yaml
from anatomies import planted
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from lesion.exports.export import export
from lesion.rates.allocation import Allocation

RATES = allocations.plain((
    allocations.unit("conv1", 10, (0, 2, 3, 9)),
    allocations.unit("layer1.0", 4, (0, 1, 2, 3)),
    allocations.unit("down", 6, (1, 5), down=(1, 5), conv=(1, 5)),
))  # fmt: skip
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(allow_nan=False)


def test_json_is_what_allocations_load(tmp_path):
    path = tmp_path / "rates.json"
    export(RATES, "json", path)
    assert Allocation.load(path) == RATES


@given(TEXTS, TEXTS, TEXTS, NUMBERS, NUMBERS)
def test_yaml_holds_what_json_holds(goal, name, value, drop, high):
    rates = replace(RATES, goal=goal, subject={name: value}, drop=drop, high=high)
    assert yaml.safe_load(export(rates, "yaml")) == json.loads(export(rates, "json"))


@pytest.mark.parametrize("text", ["no", "NULL", "1e5", "0x1F", "12:30:00", "~", "- a", "a: b", "#"])
def test_yaml_keeps_texts_that_look_like_something_else(text):
    rates = replace(RATES, goal=text, subject={text: text})
    values = yaml.safe_load(export(rates, "yaml"))
    assert (values["goal"], values["subject"]) == (text, {text: text})


def test_yaml_reads_well():
    lines = export(RATES, "yaml").splitlines()
    assert lines[:4] == ["lesion: allocation", "format: 1", "subject:", '  weights: "3f5a"']
    first = lines.index("rates:")
    assert lines[first + 1 : first + 8] == [
        "  - unit: conv1", "    kind: free", "    stage: 1", "    channels: 10",
        "    kept: [0, 2, 3, 9]", "    filters:", "      conv1: [0, 2, 3, 9]",
    ]  # fmt: skip


def test_numbers_that_are_none_survive_yaml():
    rates = replace(RATES, drop=float("nan"), high=float("inf"), baseline=np.float64(1e-7))
    values = yaml.safe_load(export(rates, "yaml"))
    assert np.isnan(values["drop"])
    assert (values["high"], values["baseline"]) == (np.inf, 1e-7)


def test_csv_has_a_row_a_layer():
    text = export(replace(RATES, guarantee="In two\nlines, with a comma."), "csv")
    assert "# guarantee: In two lines, with a comma." in text.splitlines()
    frame = pd.read_csv(StringIO(text), comment="#")
    assert frame["layer"].tolist() == ["conv1", "layer1.0", "down", "conv"]
    assert frame["unit"].tolist() == ["conv1", "layer1.0", "down", "down"]
    assert frame["kept"].tolist() == [4, 4, 2, 2]
    assert frame["rate"].tolist() == [0.6, 0.0, 2 / 3, 2 / 3]
    assert frame["filters"].tolist() == ["0 2 3 9", "0 1 2 3", "1 5", "1 5"]
    assert frame["drop"].tolist() == [-0.25] * 4


def test_csv_keeps_reasons_with_commas_and_signs():
    rate = replace(RATES.rates[0], reason='pinned, "by #hand"')
    frame = pd.read_csv(StringIO(export(replace(RATES, rates=(rate,)), "csv")), comment="#")
    assert frame["reason"].tolist() == ['pinned, "by #hand"']


def test_markdown():
    rate = replace(RATES.rates[0], reason="pinned | by_hand")
    assert (
        export(replace(RATES, rates=(rate, *RATES.rates[1:])), "markdown")
        == """\
# Pruning rates

Asked: 50 % of the MACs; filters fall by l1. 50 % of the MACs and 60 % of the parameters remain; \
predicted drop 0.50 points, at most 1.25.

| unit | layers | channels kept | rate | alone | at most | reason |
|---|---|---|---|---|---|---|
| conv1 | conv1 | 4 of 10 | 60 % | −0.25 | 0.75 | pinned \\| by\\_hand |
| layer1.0 | layer1.0 | 4 of 4 | 0 % | −0.25 | 0.75 |  |
| down | down, conv | 2 of 6 | 66.67 % | −0.25 | 0.75 |  |

With 95 % confidence no claim is wrong, on these 10 000 images.

Of this subject:

- weights: 3f5a
- preprocessing: mean 0.5, \\|std\\| 0.25
- order: seed 0
"""
    )


def test_masks_of_the_layers_that_lose_filters():
    arrays = load(export(RATES, "masks"))
    assert arrays.keys() == {f"{name}.{what}" for name in ("conv1", "down", "conv")
                            for what in ("kept", "mask")}  # fmt: skip
    assert arrays["conv1.kept"].dtype == np.int64
    assert arrays["conv1.kept"].tolist() == [0, 2, 3, 9]
    assert arrays["conv1.mask"].dtype == bool
    assert arrays["conv1.mask"].shape == (10,)
    assert np.flatnonzero(arrays["conv.mask"]).tolist() == [1, 5]


def test_masks_of_layers_that_number_their_filters_otherwise():
    anatomy = planted("padded_and_sliced")  # b's 10 channels meet the last 5 of a's 6
    rates = allocations.by_channels(anatomy, {"a": [1, 3, 10]})
    arrays = load(export(rates, "masks", anatomy=anatomy))
    dropped = rates.dropped(anatomy)
    for layer in ("a", "b"):
        expected = [not dropped[label] for label in anatomy.made_by(layer)]
        assert arrays[f"{layer}.mask"].tolist() == expected
    assert (len(arrays["a.mask"]), len(arrays["b.mask"])) == (6, 10)

"""NNI: the list of configurations follows its schema, and counts come out as NNI counts."""

import copy
import json

import allocations
import anatomies
import pytest
import removal
from anatomies import planted
from small_networks import chain, conv
from torch import nn

from lesion.errors import LesionError
from lesion.exports.export import export

# of default_config_schema("pruning") in nni/compression/base/config.py, version 3.0
SCHEMA = {
    "op_names": lambda value: all(isinstance(name, str) for name in value),
    "sparse_ratio": lambda value: isinstance(value, float),
    "dependency_group_id": lambda value: isinstance(value, (int, str)),
    "internal_metric_block": lambda value: isinstance(value, int),
}


def config(rates, anatomy=None):
    entries = json.loads(export(rates, "nni", anatomy=anatomy))["config_list"]
    for entry in entries:
        assert all(SCHEMA[key](value) for key, value in entry.items())
    return entries


def test_free_and_coupled_units():
    anatomy = planted("pre_activation")
    rates = allocations.by_channels(anatomy, {"a": [0, 3], "d.conv1": [1]})
    expected = [
        {"op_names": [name], "sparse_ratio": 0.25, "dependency_group_id": "a"}
        for name in ("a", "d.conv2", "e.conv2")
    ]
    (*group, free) = config(rates, anatomy)
    assert group == expected
    assert free["op_names"] == ["d.conv1"]
    assert free.keys() == {"op_names", "sparse_ratio"}
    assert int(6 * free["sparse_ratio"]) == 1
    assert config(rates) == config(rates, anatomy)


def test_blocks_of_grouped_layers():
    anatomy = planted("group_norm")
    rates = allocations.by_channels(anatomy, {"a": [0, 3, 4, 6, 9, 10]})  # 2 of 4 in each of 3
    (entry,) = config(rates, anatomy)
    assert entry["internal_metric_block"] == 3
    assert entry["dependency_group_id"] == "a"
    assert 3 * int(12 // 3 * entry["sparse_ratio"]) == 6


def mixed():
    """Channels 0, 2, 4, 6 go to one group of the layer that reads them, the others to another."""
    return anatomies.anatomy(
        chain(conv(3, 8), nn.ReLU(), nn.ChannelShuffle(4), conv(8, 4, groups=2), out=4)
    )


@pytest.mark.parametrize(("name", "fallen", "text"), [
    ("depthwise_doubled", {"a": [1, 4]}, "these number their filters differently"),
    ("transposed", {"c": [0]}, "masks the inputs of transposed layers, such as c"),
    ("mixed", {"a": [0, 3, 4, 7]}, "filters in order, but these are mixed"),
])  # fmt: skip
def test_what_its_list_cannot_say(name, fallen, text):
    anatomy = mixed() if name == "mixed" else planted(name)
    rates = allocations.by_channels(anatomy, fallen)
    with pytest.raises(LesionError) as error:
        export(rates, "nni", anatomy=anatomy)
    assert text in str(error.value)
    assert str(error.value).startswith("Expected rates that NNI can be told, but for unit ")


@pytest.mark.complete
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_in_the_real_package(name):
    pruning = pytest.importorskip("nni.compression.pruning")
    case = removal.family(name)
    rates, network = allocations.mixed(case.dissection), copy.deepcopy(case.network).float()
    entries = config(rates, case.dissection.anatomy)
    _, masks = pruning.L1NormPruner(network, entries).compress()
    for layer, kept in rates.filters.items():
        whole = masks[layer]["weight"].flatten(1)
        assert int(whole.any(1).sum()) == len(kept), layer
        assert bool(((whole == 0) | (whole == 1)).all())
    for rate in rates.cut:
        shown = {
            masks[layer]["weight"].flatten(1).any(1).numpy().tobytes() for layer in rate.filters
        }
        assert len(shown) == 1, rate.unit
    assert masks.keys() == rates.filters.keys()

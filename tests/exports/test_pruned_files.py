"""Pruned networks in files: put into whole networks without a trace."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import removal
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_networks import NETWORKS
from states import same, values
from torch import nn

from lesion.errors import LesionError
from lesion.exports.pruned import apply
from lesion.exports.pruned_files import load_pruned, save_pruned
from lesion.rates.allocation import Allocation


def fresh(seed=7):
    """A whole network of the same kind, with other weights."""
    return removal.case(NETWORKS["flattened"](), 3, 6, 6, seed=seed).network


def test_saved_and_rebuilt_from_a_fresh_network(case, rates, tmp_path):
    path = tmp_path / "small.safetensors"
    small = apply(rates, case.network, case.x)
    with torch.no_grad():
        small.f.bias += 1.0  # trained further
    save_pruned(small, rates, path)
    whole = fresh()
    before = values(whole)
    again = load_pruned(whole, path)
    assert same(values(whole), before)
    assert same(values(again), values(small))
    assert torch.equal(again(case.x), small(case.x))
    assert load_file(path).keys() == small.state_dict().keys()


def test_the_rates_are_in_the_file(case, rates, tmp_path):
    path = tmp_path / "small.safetensors"
    save_pruned(apply(rates, case.network, case.x), rates, path)
    assert Allocation.load(path).to_dict() == rates.to_dict()
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(LesionError, match=r"Expected rates in .*, got a NoneType"):
        Allocation.load(path)
    path.write_bytes(b"8")
    with pytest.raises(LesionError, match=r"Expected rates in .*, but it cannot be read"):
        Allocation.load(path)


def test_nothing_is_traced_and_a_function_may_make_the_network(case, rates, tmp_path):
    path = tmp_path / "small.safetensors"
    small = apply(rates, case.network, case.x)
    save_pruned(small, rates, path)
    torch.save(case.x, tmp_path / "x.pt")
    code = f"""
import sys
import torch
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from small_networks import NETWORKS
import lesion
small = lesion.load_pruned(lambda: NETWORKS["flattened"]().double().eval(), {str(path)!r})
torch.save(small(torch.load({str(tmp_path / "x.pt")!r})), {str(tmp_path / "y.pt")!r})
unwanted = "torch_pruning", "lesion.network.trace"
assert not [name for name in sys.modules if name.startswith(unwanted)]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert torch.equal(torch.load(tmp_path / "y.pt"), small(case.x))


def test_files_that_hold_no_pruned_network(tmp_path):
    path = tmp_path / "small.safetensors"
    with pytest.raises(LesionError, match=r"in .*, but it cannot be read .*; give a file that"):
        load_pruned(fresh(), path)
    torch.save(fresh().state_dict(), path)  # pickled, as code can be
    with pytest.raises(LesionError, match=r"in .*, but it cannot be read .*; give a file that"):
        load_pruned(fresh(), path)
    for metadata in (None, {"pruned": "{"}, {"pruned": "[]"}, {"pruned": '{"format": 1}'}):
        save_file({"a": torch.zeros(1)}, path, metadata)
        with pytest.raises(LesionError, match="but it does not say how its modules were pruned"):
            load_pruned(fresh(), path)


@pytest.mark.parametrize("said", [
    {"format": 2}, {"format": 2, "modules": []}, {"format": 2, "modules": {"a": {}}, "shared": []},
    {"format": 2, "modules": {"": {"kind": "Net", "numbers": 3}}, "shared": []},
    {"format": 2, "modules": {"": {"kind": "Net", "numbers": {}}}, "shared": [["a.weight", 3]]},
    {"format": 2, "modules": {"": {"kind": "Net", "numbers": {}}},
     "shared": [["a.weight", "a.forward"]]},
])  # fmt: skip
def test_damaged_files(said, case, rates, tmp_path):
    path = tmp_path / "small.safetensors"
    small = apply(rates, case.network, case.x)
    save_file(small.state_dict(), path, {"pruned": json.dumps(said)})
    with pytest.raises(LesionError, match=r"what it says of its modules is damaged; write it"):
        load_pruned(fresh(), path)


def test_a_file_sets_numbers_of_channels_and_nothing_else(case, rates, tmp_path):
    path = tmp_path / "small.safetensors"
    save_pruned(apply(rates, case.network, case.x), rates, path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    said = json.loads(metadata["pruned"])
    said["modules"]["a"]["numbers"] |= {"forward": 3, "training": 0, "new": 5, "__class__": 1}
    save_file(load_file(path), path, metadata | {"pruned": json.dumps(said)})
    small = load_pruned(fresh(), path)
    assert not hasattr(small.a, "new") and callable(small.a.forward)
    assert small.a.training is False and type(small.a) is nn.Conv2d
    assert small.a.out_channels == len(small.a.weight)


def test_whole_networks_of_another_kind(case, rates, tmp_path):
    path = tmp_path / "small.safetensors"
    save_pruned(apply(rates, case.network, case.x), rates, path)
    kind = rf"Expected the whole network of the kind that {path} was pruned from, but Net "
    with pytest.raises(LesionError, match=kind + "has no module c; give what the sweep was given"):
        load_pruned(NETWORKS["pooled_twice"], path)
    thin = fresh()
    thin.a.weight = nn.Parameter(thin.a.weight[:1])
    with pytest.raises(
        LesionError, match=kind + r"has a\.weight of shape \(1, 3, 3, 3\), of which"
    ):
        load_pruned(thin, path)
    thin = fresh()
    thin.a.bias = None
    with pytest.raises(LesionError, match=kind + r"lacks the tensor a\.bias"):
        load_pruned(thin, path)
    with pytest.raises(LesionError, match="Expected a network, or a function that makes one, got"):
        load_pruned(lambda: "resnet", path)


def test_a_folder_that_is_not_there(case, rates, tmp_path):
    with pytest.raises(LesionError, match=r"but there is no folder .*nowhere; make it"):
        save_pruned(apply(rates, case.network, case.x), rates, tmp_path / "nowhere" / "a.st")

"""The pruned network itself: a copy that is checked, kept in a file, built up again, exported."""

import copy
import json
from dataclasses import replace

import allocations
import pytest
import removal
import torch
from safetensors.torch import load_file, save_file
from slicing import shrink
from small_networks import NETWORKS, Net, conv, fc
from torch import nn

from lesion.errors import LesionError
from lesion.exports.pruned import apply, export_pruned, load_pruned, save_pruned
from lesion.exports.targets.torch_pruning import TorchPruning
from lesion.subject.adapter import BatchAdapter, Unlabelled


@pytest.fixture(scope="module")
def case():
    return removal.small("flattened")


@pytest.fixture(scope="module")
def rates(case):
    return allocations.by_channels(case.dissection.anatomy, {"a": [1, 4], "f": [0, 2, 9]})


def values(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


def fresh(seed=7):
    """A whole network of the same kind, with other weights."""
    return removal.case(NETWORKS["flattened"](), 3, 6, 6, seed=seed).network


def test_a_copy_without_what_falls(case, rates):
    network = copy.deepcopy(case.network).train()
    network.b.eval()
    network.a.bias.requires_grad_(True)
    before = values(network)
    small = apply(rates, network, case.x)
    assert same(values(network), before)
    assert [module.training for module in small.modules()] == [
        module.training for module in network.modules()
    ]
    assert [parameter.requires_grad for parameter in small.parameters()] == [
        parameter.requires_grad for parameter in network.parameters()
    ]
    expected = shrink(case.network, case.dissection.anatomy, rates.dropped(case.dissection.anatomy))
    assert same(values(small), values(expected))
    assert torch.equal(small.eval()(case.x), expected(case.x))


def test_channels_last_stays_so(case, rates):
    network = copy.deepcopy(case.network).to(memory_format=torch.channels_last)
    for whole, wanted in ((network, torch.channels_last), (case.network, torch.contiguous_format)):
        small = apply(rates, whole, case.x)
        weights = [parameter for parameter in small.parameters() if parameter.dim() == 4]
        assert weights and all(
            parameter.is_contiguous(memory_format=wanted) for parameter in weights
        )
        assert any(
            parameter.shape[1] > 1 and parameter.shape[2] > 1 for parameter in weights
        )  # else both hold
    assert sum(parameter.numel() for parameter in small.parameters()) == rates.pruned.parameters


@pytest.mark.parametrize(("wrong", "text"), [
    (lambda weight: weight.roll(1, 1), "other values"),
    (lambda weight: weight[:, 9:], "shape (7, 27) instead of (7, 36)"),
])  # fmt: skip
def test_what_torch_pruning_leaves_wrong_is_noticed(wrong, text, case, rates, monkeypatch):
    real = TorchPruning.prune

    def prune(self):
        real(self)
        weight = self.match.network.f.weight
        self.match.network.f.weight = nn.Parameter(wrong(weight))

    monkeypatch.setattr(TorchPruning, "prune", prune)
    with pytest.raises(LesionError) as error:
        apply(rates, case.network, case.x)
    assert str(error.value) == (
        f"Expected f.weight without what falls, but Torch-Pruning left it with {text}; hand over "
        "which filters stay (--to masks)."
    )


def test_a_forward_that_holds_numbers_of_channels():
    def step(n, x):
        out = n.a(x)
        return n.b(out * out.new_ones(1, 8, 1, 1))

    case = removal.case(Net(step, a=conv(3, 8), b=conv(8, 4), fc=fc(4)), 3, 6, 6)
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [0]})
    with pytest.raises(LesionError) as error:
        apply(rates, case.network, case.x)
    assert "but its forward fails (RuntimeError: The size of tensor a (7)" in str(error.value)


def test_saved_and_rebuilt_from_a_fresh_network(case, rates, tmp_path):
    path = tmp_path / "small.safetensors"
    small = apply(rates, case.network, case.x)
    with torch.no_grad():
        small.f.bias += 1.0  # trained further
    save_pruned(small, rates, path, case.x)
    whole = fresh()
    before = values(whole)
    again = load_pruned(whole, path)
    assert same(values(whole), before)
    assert same(values(again), values(small))
    assert torch.equal(again(case.x), small(case.x))
    assert load_file(path).keys() == small.state_dict().keys()


class Named:
    """An adapter for batches that hold more than images and labels."""

    def forward(self, network, batch):
        return network(batch["views"][:, 0])

    def targets(self, batch):
        return None


def test_rebuilt_without_or_with_a_batch_of_ones_own(case, rates, tmp_path):
    path, labels = tmp_path / "small.safetensors", torch.zeros(2).long()
    small = apply(rates, case.network, (case.x, labels))
    save_pruned(small, rates, path, (case.x, labels))
    assert same(values(load_pruned(fresh(), path)), values(small))
    batch = {"views": case.x.unsqueeze(1)}
    save_pruned(small, rates, path, batch, Named())
    with pytest.raises(LesionError, match=r"Expected a batch to rebuild the network of .*small"):
        load_pruned(fresh(), path)
    assert same(values(load_pruned(fresh(), path, batch, Named())), values(small))


def test_files_that_hold_no_pruned_network(case, rates, tmp_path):
    path = tmp_path / "small.safetensors"
    with pytest.raises(LesionError, match=r"in .*, but it cannot be read"):
        load_pruned(fresh(), path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(LesionError, match="but it lacks the rates; give a file that save_pruned"):
        load_pruned(fresh(), path)
    small = apply(rates, case.network, case.x)
    save_pruned(small, rates, path, case.x)
    with pytest.raises(LesionError, match="Expected rates of this network, but it has no unit f"):
        load_pruned(NETWORKS["pooled_twice"](), path)
    save_pruned(case.network, rates, path, case.x)  # not pruned at all
    with pytest.raises(LesionError) as error:
        load_pruned(fresh(), path)
    assert f"Expected weights in {path} that fit Net, but they do not" in str(error.value)
    assert "size mismatch for a.weight" in str(error.value)
    with pytest.raises(LesionError, match=r"but there is no folder .*nowhere; make it"):
        save_pruned(small, rates, tmp_path / "nowhere" / "small.safetensors", case.x)


def test_as_a_program_of_torch_export(case, rates, tmp_path):
    path = tmp_path / "small.pt2"
    small = apply(rates, case.network, case.x).train()
    export_pruned(small, rates, path, case.x)
    assert small.training and vars(case.x) == {}
    extra = {"lesion.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    small.eval()
    other = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    for images in (case.x, other):  # of any number of images
        assert torch.allclose(program(images), small(images), atol=1e-12)
    said = json.loads(extra["lesion.json"])
    assert (said["subject"], said["guarantee"]) == (allocations.SUBJECT, allocations.GUARANTEE)


@pytest.mark.parametrize(("batch", "adapter", "arguments"), [
    (lambda x: (x, torch.zeros(2).long()), None, lambda x: x),
    (lambda x: [x, torch.zeros(2).long()], BatchAdapter(), lambda x: x),
    (lambda x: x, Unlabelled(), lambda x: x),
    (lambda x: {"views": x.unsqueeze(1)}, Named(), lambda x: x.unsqueeze(1)),
])  # fmt: skip
def test_programs_for_batches_of_any_kind(batch, adapter, arguments, case, rates, tmp_path):
    path = tmp_path / "small.pt2"
    small = apply(rates, case.network, batch(case.x), adapter)
    export_pruned(small, rates, path, batch(case.x), adapter)
    program = torch.export.load(path).module()
    assert torch.allclose(program(arguments(case.x)), small(case.x), atol=1e-12)


def test_a_network_that_torch_cannot_export(rates, tmp_path):
    class Choosy(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(LesionError, match=r"that torch\.export can trace, but it refuses Choosy"):
        export_pruned(Choosy(), rates, tmp_path / "a.pt2", torch.ones(2, 3))


def test_the_rates_of_another_network(case, rates):
    other = replace(rates, rates=(replace(rates.rates[0], unit="stem"),))
    with pytest.raises(LesionError, match="but it has no unit stem"):
        apply(other, case.network, case.x)

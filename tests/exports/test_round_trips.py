"""From a pruned network to a file, a fresh process, further training, and pruning once more."""

import subprocess
import sys

import allocations
import pytest
import removal
import torch
from slicing import shrink
from states import same, values
from torch.utils.data import TensorDataset

import lesion
from lesion.exports.pruned import apply
from lesion.exports.pruned_files import load_pruned, save_pruned
from lesion.network.dissect import dissect

TRAINED = """
def trained(network, x):
    torch.manual_seed(0)  # of dropout
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # which no file holds
    network.train().requires_grad_(True)
    sgd = torch.optim.SGD(network.parameters(), 0.01, 0.9)
    for _ in range(3):
        sgd.zero_grad()
        network(x).square().mean().backward()
        sgd.step()
    return network.eval()
"""


def test_a_fresh_process_trains_on_as_this_one_does(tmp_path):
    case = removal.family("mobilenet_v3_small", 32)
    rates = allocations.mixed(case.dissection)
    small = apply(rates, case.network, case.x)
    save_pruned(small, rates, tmp_path / "small.safetensors")
    torch.save(case.x, tmp_path / "x.pt")
    code = f"""
import sys
import torch, torchvision, lesion
{TRAINED}
network = torchvision.models.mobilenet_v3_small().double()
small = lesion.load_pruned(network, "small.safetensors")
torch.save(trained(small, torch.load("x.pt")).state_dict(), "trained.pt")
unwanted = "torch_pruning", "lesion.network.trace"
assert not [name for name in sys.modules if name.startswith(unwanted)]
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    here: dict = {"torch": torch}
    exec(TRAINED, here)
    here["trained"](small, case.x)
    there = torch.load(tmp_path / "trained.pt")
    assert there.keys() == small.state_dict().keys()
    for key, value in small.state_dict().items():
        assert torch.allclose(there[key], value, rtol=1e-9, atol=1e-12), key


def test_pruned_once_and_once_more(tmp_path):
    case = removal.family("mobilenet_v3_small", 32)
    small = apply(allocations.mixed(case.dissection), case.network, case.x)
    before = values(small)
    dissection = dissect(small, removal.forward, case.x)
    rates = allocations.mixed(dissection, seed=1)
    smaller = apply(rates, small, case.x)
    expected = shrink(small, dissection.anatomy, rates.dropped(dissection.anatomy))
    assert same(values(small), before) and same(values(smaller), values(expected))
    assert sum(p.numel() for p in smaller.parameters()) == rates.pruned.parameters
    assert torch.allclose(smaller(case.x), expected(case.x), atol=1e-12)
    save_pruned(smaller, rates, tmp_path / "smaller.safetensors")
    for whole in (small, case.network):  # of what it was pruned from, at first or last
        again = load_pruned(whole, tmp_path / "smaller.safetensors")
        assert torch.allclose(again(case.x), smaller(case.x), atol=1e-12)


def test_what_was_pruned_is_swept_and_pruned_by_what_the_sweep_says(tmp_path):
    case = removal.small("flattened")
    first = allocations.by_channels(case.dissection.anatomy, {"a": [1, 4], "f": [0, 2, 9]})
    small = apply(first, case.network, case.x)
    data = TensorDataset(torch.randn(40, 3, 6, 6, dtype=torch.float64), torch.arange(40) % 5)
    with lesion.sweep(
        small, data, tmp_path / "s.lesion", ratios=(0.3, 0.6), holdout=0.5, full=True
    ) as study:
        rates = lesion.recommend(study, budget=lesion.Budget(macs=0.7))
        checked = lesion.verify(study, small, data, rates, max_drop=90, full=True)
        held = study.header.holdout
    smaller = lesion.apply(rates, small, case.x)
    assert sum(p.numel() for p in smaller.parameters()) == rates.pruned.parameters
    assert rates.pruned.macs <= 0.7 * rates.intact.macs
    right = [smaller(data[i][0][None]).argmax() == data[i][1] for i in held]
    check = checked.checks[-1]
    assert check.baseline - check.drop == pytest.approx(100 * sum(right) / len(held))

"""Networks that torch has made something else of: taken apart, or refused in one sentence."""

import pytest
import torch
from torch import nn
from torch.ao.nn.quantized import dynamic
from torches import since

from lesion.errors import SubjectError
from lesion.network.layers import layers
from lesion.study.study import Study
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep
from lesion.sweeps.whole_network import evaluate


def plain() -> nn.Sequential:
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)).eval()


IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
DATA = [(image, 0) for image in IMAGES]
SCRIPT = since("2.11", "torch.export cannot run what TorchScript made")


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(2))


def quantised() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 9), nn.Flatten(), dynamic.Linear(2, 2))


@pytest.mark.parametrize(("make", "text"), [
    (lazy, "Expected weights, but 0 is a lazy module that has seen no batch yet; run the network"),
    (quantised, "Expected weights in floating point, but 2 is quantised (Linear); give the"),
])  # fmt: skip
def test_networks_without_weights_in_floating_point(make, text):
    for run in (lambda: layers(make(), IMAGES), lambda: Subject.of(make(), DATA)):
        with pytest.raises(SubjectError) as error:
            run()
        assert str(error.value).startswith(text)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("frozen", [False, True])
def test_torch_script_is_refused_since_hooks_do_not_reach_into_it(frozen):
    network = torch.jit.script(plain())
    with pytest.raises(SubjectError) as error:
        layers(torch.jit.freeze(network) if frozen else network, IMAGES)
    assert str(error.value).startswith("Expected a network in Python, but the network is Torch")
    assert str(error.value).endswith("give the nn.Module that it was made from.")


@pytest.mark.filterwarnings("ignore")
@SCRIPT
def test_frozen_traces_have_rows_with_the_costs_of_their_constants():
    table = layers(torch.jit.freeze(torch.jit.trace(plain(), IMAGES)), IMAGES).table()
    assert table["kind"].tolist() == ["conv2d", "conv2d", "linear"]
    assert table["params"].tolist() == [8 * 27 + 8, 6 * 72 + 6, 12 + 2]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", [
    pytest.param(lambda net: torch.jit.trace(net, IMAGES), marks=SCRIPT),
    torch.fx.symbolic_trace,
    lambda net: torch.export.export(net, (IMAGES,)).module(),
])  # fmt: skip
def test_what_torch_traced_has_the_layers_of_its_network(wrap):
    network = plain()
    expected = layers(network, IMAGES)
    assert layers(wrap(network), IMAGES).layers == expected.layers


@pytest.mark.parametrize(("network", "text"), [
    (nn.Sequential(nn.Flatten(), nn.Linear(243, 2)),
     "Expected a layer that can be cut, got none: 1: its channels are the network's outputs; "
     "choose other layers, units or ratios."),
    (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
     "Expected a convolution or linear layer, but none runs in this network; give another."),
])  # fmt: skip
def test_a_sweep_of_nothing_is_refused_and_its_study_holds_the_reasons(network, text, tmp_path):
    def value(net):
        return float(net(IMAGES).sum())

    for run in (
        lambda out: sweep(network, DATA, out, holdout=0),
        lambda out: evaluate(network, value, out, IMAGES),
    ):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.lesion"
        with pytest.raises(SubjectError) as error:
            run(out)
        assert str(error.value) == text
        with Study.open(out) as study:
            assert not study.lesions
            assert [skip.target for skip in study.skipped] == [x.name for x in study.anatomy.layers]

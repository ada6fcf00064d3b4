"""Masks: the smaller network's outputs and gradients, and what is masked learns on."""

import copy

import networks
import numpy as np
import pytest
import torch
from randomised import randomise
from slicing import shrink
from torch import nn
from torch.nn import functional as F

from lesion.engine.lesioned import Lesioned
from lesion.engine.masks import unmaskable
from lesion.engine.whole import Whole
from lesion.errors import LesionError
from lesion.lesions.edits import Weight, channels
from lesion.lesions.lesion import Target
from lesion.network.dissect import dissect
from lesion.network.graph import Call


class Kinds(nn.Module):
    """Plain, depthwise, grouped transposed and linear layers."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.up = nn.ConvTranspose2d(6, 8, 2, stride=2, groups=2)
        self.last = nn.Conv2d(8, 5, 3)
        self.hidden, self.fc = nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x):
        x = self.deep(torch.relu(self.norm(self.a(x))))
        x = F.leaky_relu(self.last(F.leaky_relu(self.up(x))))
        return self.fc(F.leaky_relu(self.hidden(x.mean((2, 3)))))


def run(network, x):
    return network(x)


def lesioned(network, x, units, count=2):
    """A copy of a network, the first channels of some units to be masked."""
    dissection = dissect(network, run, x)
    dropped = np.zeros(dissection.anatomy.channels, bool)
    for unit in units:
        for cell in dissection.anatomy.unit[unit].cells:
            dropped[list(cell)[: max(1, count // len(dissection.anatomy.unit[unit].cells))]] = True
    edit = channels(dissection, Target("", "joint", tuple(units)), dropped)
    copied = copy.deepcopy(network).train().requires_grad_(True)
    whole = Whole(dissection)
    assert not whole.obstacle(edit) and not unmaskable(edit, dissection.anatomy, whole.readers)
    return Lesioned(whole, Call(copied, run, x), edit)


def case(kind):
    """A network, images, and the units that lose channels."""
    torch.manual_seed(0)
    if kind == "kinds":
        x = torch.randn(6, 2, 6, 6, dtype=torch.float64)
        return randomise(Kinds(), x), x, ("a", "up", "last", "hidden")
    network, data = networks.resnet8(6)
    return network.double(), data.tensors[0].double(), ("layer1.0.conv1", "layer3.0.conv1")


@pytest.mark.parametrize("kind", ["kinds", "resnet8"])
def test_outputs_and_gradients_are_those_of_the_smaller_network(kind):
    """Of everything that stays; batch norms, by the batch, keep the same statistics too."""
    network, x, units = case(kind)
    cut = lesioned(network, x, units)
    anatomy, dropped = cut.anatomy, cut.dropped
    assert dropped.sum() >= 2 * len(units) - 1
    small = copy.deepcopy(shrink(network, anatomy, dropped)).train().requires_grad_(True)
    with cut.mask():
        outputs = cut.network(x)
    wanted = small(x)
    assert torch.allclose(outputs, wanted, rtol=0, atol=1e-9)
    for made in (outputs, wanted):
        F.cross_entropy(made, torch.arange(6) % 3).backward()
    gradients = copy.deepcopy(cut.network)
    for name, weight in cut.network.named_parameters():
        gradients.get_parameter(name).data = weight.grad
    sliced = shrink(gradients, anatomy, dropped)
    for name, weight in small.named_parameters():
        gradient = sliced.get_parameter(name)
        assert gradient.shape == weight.shape
        assert torch.allclose(gradient, weight.grad, rtol=0, atol=1e-10), name
    for name, value in shrink(cut.network, anatomy, dropped).named_buffers():
        assert torch.allclose(value, small.get_buffer(name)), name


@pytest.mark.parametrize("kind", ["kinds", "resnet8"])
def test_all_that_is_masked_has_gradients(kind):
    """Every filter that makes a masked channel, and every column that reads one."""
    network, x, units = case(kind)
    cut = lesioned(network, x, units)
    with cut.mask():
        F.cross_entropy(cut.network(x), torch.arange(6) % 3).backward()
    assert all(bool(weight.grad.any()) for weight in cut.network.parameters())
    labels = np.flatnonzero(cut.dropped)
    for layer in cut.anatomy.layers:
        weight = cut.network.get_parameter(layer.weight).grad
        made = np.isin(cut.anatomy.made_by(layer.name), labels)
        if made.any() and not layer.kind.startswith("transposed"):
            assert all(bool(row.any()) for row in weight[torch.from_numpy(made)])
        read = np.isin(layer.reads, labels)
        if read.any() and layer.groups == 1:
            assert all(bool(row.any()) for row in weight[:, torch.from_numpy(read)].movedim(1, 0))


def test_the_gradient_of_what_is_masked_is_that_of_its_return():
    """One channel of y = v · (w x): dL/dw and dL/dv at the masked output, by hand."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.v = nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)
            self.w.weight.data = torch.tensor([[2.0], [3.0]])
            self.v.weight.data = torch.tensor([[5.0, 7.0]])

        def forward(self, x):
            return self.v(self.w(x))

    x = torch.tensor([[1.0], [1.0]])
    cut = lesioned(Two().eval(), x, ("w",), count=1)
    with cut.mask():
        y = cut.network(x[:1])
    y.square().sum().backward()  # y = 21 where only the second channel stays; dL/dy = 42
    assert y.item() == 21
    assert cut.network.w.weight.grad.flatten().tolist() == [42 * 5, 42 * 7]
    assert cut.network.v.weight.grad.flatten().tolist() == [42 * 2, 42 * 3]


def test_other_channels_can_be_masked_and_none():
    network, x, units = case("kinds")
    cut = lesioned(network, x, units)
    masks, before = cut.mask(), cut.dropped
    none = np.zeros_like(before)
    masks.set(none)
    assert cut.edit.dropped is none
    network.train()
    with masks:
        assert torch.equal(cut.network(x), network(x))
    masks.set(before)
    cut.network.load_state_dict(network.state_dict())
    with masks, torch.no_grad():
        masked = cut.network.eval()(x)
    assert torch.allclose(cut.cut().outputs((x,)), masked, rtol=0, atol=1e-12)


class Named(nn.Linear):
    """A linear layer that gives its function names for what it takes."""

    def forward(self, x):
        return F.linear(bias=self.bias, weight=self.weight, input=x)


class Spelt(nn.Linear):
    """A linear layer that is written out."""

    def forward(self, x):
        return x @ self.weight.T + self.bias


@pytest.mark.parametrize("kind", [Named, Spelt])
def test_a_layer_is_known_by_its_function_or_refused(kind):
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), kind(5, 3)).eval(), torch.randn(4, 4)
    cut = lesioned(network, x, ("0",))
    if kind is Spelt:
        words = r"linear layers, but 2\.weight is not; recover w"
        with pytest.raises(LesionError, match=words), cut.mask():
            cut.network(x)
        return
    with cut.mask():
        y = cut.network(x)
    stay = torch.relu(network[0](x))[:, 2:]
    assert torch.allclose(y, stay @ network[2].weight[:, 2:].T + network[2].bias, atol=1e-6)


def test_an_error_within_is_not_covered_up():
    network, x, units = case("kinds")
    masks = lesioned(network, x, units).mask()
    with pytest.raises(ZeroDivisionError), masks:
        raise ZeroDivisionError


def test_weights_are_not_masked():
    network, x, _ = case("kinds")
    dissection = dissect(network, run, x)
    edit = Weight.of(dissection, "a", torch.neg, "negative")
    readers = Whole(dissection).readers
    assert unmaskable(edit, dissection.anatomy, readers) == (
        "masks are of channels, and this removes none"
    )

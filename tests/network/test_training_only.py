"""What runs in training alone is in the anatomy, and reads what is left of what it reads."""

import allocations
import pytest
import torch
from small_networks import conv
from torch import nn

from lesion import apply, cost, layers


class Auxiliary(nn.Module):
    """A second head that only training sees."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = conv(3, 8), nn.BatchNorm2d(8), conv(8, 6)
        self.head = nn.Linear(6, 5)
        self.aux = nn.Sequential(conv(8, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(6),
                                 nn.Flatten(), nn.Linear(4, 5))  # fmt: skip

    def forward(self, x):
        x = self.norm(self.a(x)).relu()
        logits = self.head(self.b(x).relu().mean((2, 3)))
        return (logits, self.aux(x)) if self.training else logits


def test_an_auxiliary_head_follows():
    torch.manual_seed(0)
    net, x = Auxiliary(), torch.randn(2, 3, 6, 6)
    modes = [module.training for module in net.modules()]
    anatomy = layers(net, x)
    assert [module.training for module in net.modules()] == modes
    assert {unit.name: (unit.kind, unit.reason) for unit in anatomy.units} == {
        "a": ("free", ""),
        "b": ("free", ""),
        "head": ("tied", "its channels are the network's outputs"),
        "aux.0": ("tied", "its layer runs in training alone"),
        "aux.5": ("tied", "its channels are the network's outputs"),
    }
    aux = anatomy.layer["aux.0"]
    assert (aux.macs, aux.number, aux.stage, aux.channels_in) == (0, None, None, 8)
    assert cost(anatomy).parameters == sum(p.numel() for p in net.parameters())
    rates = allocations.by_channels(anatomy, {"a": [1, 4, 5]})
    small = apply(rates, net, x)
    assert rates.pruned.parameters == sum(p.numel() for p in small.parameters())
    for module in (net.eval(), small.eval()):
        module.training = True  # the head runs; batch norms keep their statistics
    with torch.no_grad():
        net.b.weight[:, [1, 4, 5]] = net.aux[0].weight[:, [1, 4, 5]] = 0
        for got, wanted in zip(small(x), net(x), strict=True):
            assert torch.allclose(got, wanted, atol=1e-6)


class Activated(nn.BatchNorm2d):
    """A norm that holds its activation, as timm's do."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


class Counting(nn.Module):
    """Counts the passes of its part in training."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.register_buffer("passes", torch.zeros(1))

    def forward(self, x):
        if self.training:
            self.passes.add_(1)
        return self.norm(x)


@pytest.mark.parametrize("kind", [Activated, Counting])
def test_what_modules_write_in_training_comes_back(kind):
    net, x = Auxiliary(), torch.randn(2, 3, 6, 6)
    net.norm = kind(8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert "aux.0" in layers(net, x).layer
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())

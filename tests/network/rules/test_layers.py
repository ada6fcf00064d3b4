"""Convolutions and linear layers: the labels that they make and read."""

import torch
from anatomies import labels, net, planted
from removal import forward
from small_networks import Net, conv, fc
from torch import Tensor, nn
from torch.nn import functional as F

from lesion.engine.replay import Replay
from lesion.network.anatomy import CONSTANT
from lesion.network.cost import cost
from lesion.network.dissect import dissect


def test_the_network_reads_its_input_as_constants():
    assert planted("flattened").layer["a"].reads == (CONSTANT,) * 3


def test_a_depthwise_layer_with_multiplier_2_makes_each_label_twice():
    traced = planted("depthwise_doubled")
    assert labels(traced, "d") == [label for label in labels(traced, "a") for _ in range(2)]
    assert list(traced.layer["g"].reads) == labels(traced, "d")


def test_a_grouped_transposed_convolution_makes_labels_of_its_own_in_every_group():
    traced = planted("transposed_in_groups")
    made, read = labels(traced, "c"), labels(traced, "a")
    assert made == list(traced.unit["c"].labels)
    assert traced.unit["a"].cells == (tuple(read[:4]), tuple(read[4:]))
    assert traced.unit["c"].cells == (tuple(made[:6]), tuple(made[6:]))
    assert traced.parameter["c.weight"].axes == {0: tuple(read), 1: tuple(made[:6])}
    assert traced.parameter["c.bias"].axes == {0: tuple(made)}


def test_a_depthwise_transposed_convolution_makes_the_labels_that_it_reads():
    traced = planted("transposed_in_groups")
    made = labels(traced, "c")
    assert labels(traced, "f") == [label for label in made for _ in range(2)]
    assert traced.parameter["f.weight"].axes == {0: tuple(made)}
    assert traced.unit["c"].layers == ("c", "f")


def test_a_weight_that_is_used_in_another_way_too_ties_its_layers_and_names_the_use():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.b(F.conv2d(n.a(x), n.a.weight.mean(1, keepdim=True).expand(6, 6, 3, 3)))

    traced = net(step, a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    assert traced.unit["a"].kind == "tied"
    assert traced.unit["a"].reason == "its layer's weight is used in conv2d too, in another role"


def test_a_weight_that_is_also_a_plain_value_ties_its_layer():
    traced = net(lambda n, x: n.b(n.a(x) * n.a.weight.norm()), a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    assert (traced.unit["a"].kind, traced.unit["b"].kind) == ("tied", "free")
    assert "its layer's weight is used in " in traced.unit["a"].reason


class Standardised(nn.Conv2d):
    """Its filters are standardised in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.std((1, 2, 3), keepdim=True))


def test_what_counts_of_a_computed_weight_is_what_comes_out():
    network = Net(lambda n, x: n.b(n.a(x)), a=Standardised(3, 6, 3), b=Standardised(6, 4, 3))
    network.add_module("fc", fc(4))
    x = torch.randn(2, 3, 6, 6)
    dissection = dissect(network.eval(), forward, x)
    weight = network.a.weight
    expected = weight / weight.std((1, 2, 3), keepdim=True)
    assert torch.equal(dissection.graph.parameters["a.weight"], expected)
    assert [unit.kind for unit in dissection.anatomy.units] == ["free", "free", "tied"]
    assert [layer.name for layer in dissection.anatomy.layers] == ["a", "b", "fc"]
    assert cost(dissection.anatomy).parameters == sum(p.numel() for p in network.parameters())
    ((_, logits),) = Replay(dissection).run((x,), {})
    torch.testing.assert_close(logits, network(x))


def placed(step, makes: int, places: int):
    """A convolution `a`, and `b` behind what `step` makes of its output and of coordinates."""

    def with_places(n: nn.Module, x: Tensor) -> Tensor:
        return n.b(step(n.a(x), n.place[0].expand(len(x), -1, -1, -1)))

    place = nn.ParameterList([torch.randn(1, places, 6, 6)])
    return net(with_places, a=conv(3, makes), b=conv(makes + places, 4), fc=fc(4), place=place)


def test_coordinates_beside_channels_are_channels_that_stay():
    traced = placed(lambda y, place: torch.cat([place, y], 1), 5, 2)
    assert traced.unit["a"].kind == "free"
    assert list(traced.layer["b"].reads) == [CONSTANT] * 2 + labels(traced, "a")


def test_coordinates_that_are_added_and_stand_beside_the_channels_tie_them():
    traced = placed(lambda y, place: torch.cat([place, y + place], 1), 5, 5)
    assert traced.unit["a"].kind == "tied"


def test_a_matrix_that_is_expanded_for_a_batch_is_a_row_with_the_reason():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return torch.bmm(n.w[0].expand(len(x), 6, 5), n.a(x).flatten(2)).mean(2)

    traced = net(step, a=conv(3, 5), w=nn.ParameterList([torch.randn(6, 5)]), fc=fc(6))
    assert traced.unit["w"].reason == "its layer runs as bmm, which is not taken apart"
    assert traced.unit["a"].kind == "tied"

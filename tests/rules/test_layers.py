"""Convolutions and linear layers: the labels that they make and read."""

import torch
from anatomies import labels, net, planted
from removal import forward
from small_networks import Net, conv, fc
from torch import Tensor, nn
from torch.nn import functional as F

from lesion.anatomy import CONSTANT
from lesion.cost import cost
from lesion.dissect import dissect
from lesion.engine import Replay


def test_the_network_reads_its_input_as_constants():
    assert planted("flattened").layer["a"].reads == (CONSTANT,) * 3


def test_a_depthwise_layer_with_multiplier_2_makes_each_label_twice():
    found = planted("depthwise_doubled")
    assert labels(found, "d") == [label for label in labels(found, "a") for _ in range(2)]
    assert list(found.layer["g"].reads) == labels(found, "d")


def test_a_grouped_transposed_convolution_makes_labels_of_its_own_in_every_group():
    found = planted("transposed_in_groups")
    made, read = labels(found, "c"), labels(found, "a")
    assert made == list(found.unit["c"].labels)
    assert found.unit["a"].cells == (tuple(read[:4]), tuple(read[4:]))
    assert found.unit["c"].cells == (tuple(made[:6]), tuple(made[6:]))
    assert found.parameter["c.weight"].axes == {0: tuple(read), 1: tuple(made[:6])}
    assert found.parameter["c.bias"].axes == {0: tuple(made)}


def test_a_depthwise_transposed_convolution_makes_the_labels_that_it_reads():
    found = planted("transposed_in_groups")
    made = labels(found, "c")
    assert labels(found, "f") == [label for label in made for _ in range(2)]
    assert found.parameter["f.weight"].axes == {0: tuple(made)}
    assert found.unit["c"].layers == ("c", "f")


def test_a_weight_that_is_used_in_another_way_too_ties_its_layers_and_names_the_use():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.b(F.conv2d(n.a(x), n.a.weight.mean(1, keepdim=True).expand(6, 6, 3, 3)))

    found = net(step, a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    assert found.unit["a"].kind == "tied"
    assert found.unit["a"].reason == "its layer's weight is used in conv2d too, in another role"


def test_a_weight_that_is_also_a_plain_value_ties_its_layer():
    found = net(lambda n, x: n.b(n.a(x) * n.a.weight.norm()), a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    assert (found.unit["a"].kind, found.unit["b"].kind) == ("tied", "free")
    assert "its layer's weight is used in " in found.unit["a"].reason


class Standardised(nn.Conv2d):
    """Its filters are standardised in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.std((1, 2, 3), keepdim=True))


def test_what_counts_of_a_computed_weight_is_what_comes_out():
    network = Net(lambda n, x: n.b(n.a(x)), a=Standardised(3, 6, 3), b=Standardised(6, 4, 3))
    network.add_module("fc", fc(4))
    x = torch.randn(2, 3, 6, 6)
    dissection = dissect(network.eval(), forward, x)
    own = network.a.weight
    expected = own / own.std((1, 2, 3), keepdim=True)
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
    found = placed(lambda y, place: torch.cat([place, y], 1), 5, 2)
    assert found.unit["a"].kind == "free"
    assert list(found.layer["b"].reads) == [CONSTANT] * 2 + labels(found, "a")


def test_coordinates_that_are_added_and_stand_beside_the_channels_tie_them():
    found = placed(lambda y, place: torch.cat([place, y + place], 1), 5, 5)
    assert found.unit["a"].kind == "tied"


def test_a_matrix_that_is_expanded_for_a_batch_is_a_row_with_the_reason():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return torch.bmm(n.w[0].expand(len(x), 6, 5), n.a(x).flatten(2)).mean(2)

    found = net(step, a=conv(3, 5), w=nn.ParameterList([torch.randn(6, 5)]), fc=fc(6))
    assert found.unit["w"].reason == "its layer runs as bmm, which is not taken apart"
    assert found.unit["a"].kind == "tied"

"""Pooling and reductions: over pixels channels go through, over channels they are tied."""

import pytest
from anatomies import labels, net, planted
from small_networks import conv, fc


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (lambda x: x.softmax(1), "softmax"),
        (lambda x: x / x.norm(dim=1, keepdim=True), "linalg_vector_norm"),
        (lambda x: x - x.amax(1, keepdim=True), "amax"),
    ],
)
def test_what_is_computed_over_channels_ties_them(step, name):
    found = net(lambda n, x: n.b(step(n.a(x))), a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    assert found.unit["a"].kind == "tied"
    assert name in found.unit["a"].reason


def test_pooling_over_pixels_keeps_the_labels():
    found = planted("pooled_twice")
    assert list(found.layer["b"].reads) == 2 * labels(found, "a")


def test_the_greater_of_pixels_keeps_the_labels_and_its_places_have_none():
    found = net(lambda n, x: n.b(n.a(x).flatten(2).max(2)[0][:, :, None, None]),
                a=conv(3, 6), b=conv(6, 4, 1), fc=fc(4))  # fmt: skip
    assert list(found.layer["b"].reads) == labels(found, "a")
    assert found.unit["a"].kind == "free"

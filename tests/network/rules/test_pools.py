"""Pooling: over pixels channels go through."""

from anatomies import labels, planted


def test_pooling_over_pixels_keeps_the_labels():
    traced = planted("pooled_twice")
    assert list(traced.layer["b"].reads) == 2 * labels(traced, "a")

"""Pooling: over pixels channels go through."""

from anatomies import labels, planted


def test_pooling_over_pixels_keeps_the_labels():
    found = planted("pooled_twice")
    assert list(found.layer["b"].reads) == 2 * labels(found, "a")

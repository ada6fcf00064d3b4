"""Normalisation: parameters that follow the channels, and norms that leave them alone."""

from anatomies import labels, planted


def test_the_parameters_of_a_norm_follow_the_channels():
    for network in ("layer_norm", "rms_norm"):
        found = planted(network)
        assert list(found.parameter["norm.weight"].axes[0]) == labels(found, "a")
    found = planted("group_norm")
    assert list(found.parameter["b.bias"].axes[0]) == labels(found, "a")


def test_group_norm_asks_for_as_many_cells_as_it_has_groups():
    found = planted("group_norm")
    made = labels(found, "a")
    assert found.unit["a"].cells == tuple(tuple(made[i : i + 4]) for i in (0, 4, 8))


def test_layer_norm_over_images_has_parameters_along_the_channels():
    found = planted("layer_norm_over_images")
    assert {axis: list(one) for axis, one in found.parameter["b.weight"].axes.items()} == {
        0: labels(found, "a")
    }


def test_batch_norm_over_tokens_leaves_channels_alone():
    found = planted("norm_over_tokens")
    assert found.parameter["norm.weight"].axes == {}
    assert labels(found, "a") == list(found.layer["b"].reads)

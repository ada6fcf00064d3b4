"""Normalisation: parameters that follow the channels, and norms that leave them alone."""

from anatomies import labels, planted


def test_the_parameters_of_a_norm_follow_the_channels():
    for network in ("layer_norm", "rms_norm"):
        traced = planted(network)
        assert list(traced.parameter["norm.weight"].axes[0]) == labels(traced, "a")
    traced = planted("group_norm")
    assert list(traced.parameter["b.bias"].axes[0]) == labels(traced, "a")


def test_group_norm_asks_for_as_many_cells_as_it_has_groups():
    traced = planted("group_norm")
    made = labels(traced, "a")
    assert traced.unit["a"].cells == tuple(tuple(made[i : i + 4]) for i in (0, 4, 8))


def test_layer_norm_over_images_has_parameters_along_the_channels():
    traced = planted("layer_norm_over_images")
    assert traced.parameter["b.weight"].axes == {0: tuple(labels(traced, "a"))}


def test_batch_norm_over_tokens_leaves_channels_alone():
    traced = planted("norm_over_tokens")
    assert traced.parameter["norm.weight"].axes == {}
    assert labels(traced, "a") == list(traced.layer["b"].reads)

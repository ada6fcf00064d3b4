"""What a mask leaves of each tensor is what slicing by hand leaves of it."""

import numpy as np
import pytest
import removal
import torch
from allocations import networks
from anatomies import planted
from slicing import shrink

from lesion.network.parameter_masks import masks


def left(value: torch.Tensor, mask: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    return value[torch.from_numpy(mask).expand(value.shape)].reshape(shape)


@pytest.mark.parametrize("name", networks())
def test_each_parameter_keeps_what_slicing_keeps(name):
    case, seen = removal.small(name), 0
    anatomy = case.dissection.anatomy
    dropped = np.zeros(anatomy.channels, bool)
    for unit in case.units:  # all units at once, so that readers lose channels of several
        (falling,) = removal.drops(unit, anatomy.channels)
        dropped |= falling
    small = shrink(case.network, anatomy, dropped)
    state = {**dict(case.network.named_parameters()), **dict(case.network.named_buffers())}
    expected = {**dict(small.named_parameters()), **dict(small.named_buffers())}
    by_parameter = masks(anatomy, dropped)
    for parameter in anatomy.parameters:
        if parameter.name not in state:
            continue
        value = state[parameter.name]
        if parameter.name in by_parameter:
            value, seen = (
                left(value, by_parameter[parameter.name], parameter.kept(dropped)),
                seen + 1,
            )
        assert torch.equal(value, expected[parameter.name]), parameter.name
    assert seen > 1


def test_a_group_reads_its_own_channels_alone():
    anatomy = planted("grouped_and_shuffled")
    unit = anatomy.unit["a"]  # 8 channels; c reads 0…3 in its first group and 4…7 in its second
    dropped = np.zeros(anatomy.channels, bool)
    dropped[[unit.first + 1, unit.first + 6]] = True
    by_parameter = masks(anatomy, dropped)
    assert by_parameter["a.weight"].shape == (8, 3, 1, 1)
    assert np.flatnonzero(~by_parameter["a.weight"].any((1, 2, 3))).tolist() == [1, 6]
    expected = np.ones((8, 4), bool)
    expected[:4, 1] = expected[4:, 2] = False
    assert (by_parameter["c.weight"][:, :, 0, 0] == expected).all()


def test_what_loses_nothing_has_no_mask():
    anatomy = planted("flattened")
    assert masks(anatomy, np.zeros(anatomy.channels, bool)) == {}

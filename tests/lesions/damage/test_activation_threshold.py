"""The smallest inputs are zero: the share that was asked for, as in a hooked network."""

import numpy as np
import pytest
import torch
from compressible import opened
from hooked import read, through

from lesion.compression.footprint import Shape
from lesion.compression.value_counts import ValueCounts
from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.lesions.damage import Settings, damage, plan
from lesion.lesions.lesion import Target

KIND = damage("activation_threshold")


def known(values):
    counts = ValueCounts()
    counts.add(values)
    return KIND.calibration(counts)


@torch.no_grad()
@pytest.mark.parametrize("family", ["resnet", "depthwise"])
def test_the_share_of_the_calibration_values_is_zero(family):
    network, x, dissection = opened(family, 6)
    engine = Replay(dissection)
    for layer in dissection.anatomy.layers[1:3]:
        values = read(network, layer.name, x)
        zeros = float((values == 0).double().mean())
        amounts = (zeros / 2, 0.8, 0.95)
        target = Target(layer.name, "layer")
        lesions, skipped = plan(
            dissection.anatomy, {target: known(values)}, amounts, Settings(), KIND
        )
        assert [each.amount for each in lesions] == [0.8, 0.95]
        assert [each.reason.partition(": ")[2] for each in skipped] == [
            f"{100 * zeros:.1f} % of what it reads is zero"
        ]
        for lesion in lesions:
            edit = KIND.edit(dissection, lesion, known(values))
            threshold = np.quantile(values.abs().numpy(), lesion.amount)
            share = float((edit.before(values) == 0).double().mean())
            assert share == pytest.approx(lesion.amount, abs=2e-3)
            off = abs(values.abs().numpy() - threshold)
            assert off[(edit.before(values) == 0) != (values.abs() < threshold)].max(initial=0) < (
                2e-3 * float(values.abs().max())
            )
            with through(network, layer.name, edit.before):
                wanted = network(x)
            output = dict(engine.run((x,), {lesion: Cut(edit)}))[lesion]
            effect = float((wanted - network(x)).abs().max())
            assert effect > 0
            assert float((output - wanted).abs().max()) < 1e-5 * effect


def test_four_values():
    change = KIND.change(0.5, known(torch.tensor([1.0, -2.0, 3.0, -4.0])))
    assert change(torch.tensor([1.0, -2.0, 3.0, -4.0])).tolist() == [0, 0, 3, -4]


def test_zeros_save_multiplications_but_none_of_dense_kernels():
    conv = Shape(128, 64, (3, 3), (16, 16), (16, 16))
    left = KIND.left(conv, 0.75)
    assert left.macs == 18_874_368 // 4 and left.bops == 1024 * left.macs
    assert (left.dense_macs, left.bits) == (18_874_368, conv.intact().bits)

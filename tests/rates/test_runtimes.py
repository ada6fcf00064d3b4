"""Times from other runtimes: what they are given, and what becomes of what they say."""

import numpy as np
import pytest
import torch
from small_networks import chain, conv
from torch import nn

import lesion
from lesion import LesionError
from lesion.rates import runtimes, whole_times


def network():
    torch.manual_seed(0)
    return chain(conv(3, 8), nn.ReLU(), conv(8, 12), nn.ReLU(), out=12).eval()


def planted(module, images):
    """Milliseconds by a law: of a layer 0.5 + 0.01 · reads · makes, of the network 100."""
    assert not module.training and len(images) == 4
    if isinstance(module, nn.Conv2d):
        assert images.shape[1] == module.in_channels and module.padding == (1, 1)
        return 0.5 + 0.01 * module.in_channels * module.out_channels
    if isinstance(module, nn.Linear):
        return 0.5 + 0.01 * module.in_features * module.out_features
    return 100.0


def test_a_runtime_of_ones_own_is_given_layers_at_their_widths_and_the_network():
    times = lesion.time(network(), torch.randn(2, 3, 6, 6), batch=4, runtime=planted)
    assert times.whole == 100.0
    assert (times.start, times.scale, times.each) == pytest.approx((100, 0, 0), abs=1e-6)
    for timed, (reads, makes) in zip(times.layers, [(3, 8), (8, 12), (12, 5)], strict=True):
        assert timed.at(reads, makes) == pytest.approx(0.5 + 0.01 * reads * makes, rel=1e-6)
        assert timed.at(2, 2) == pytest.approx(0.54, rel=1e-6)


def failing(module, images):
    raise NotImplementedError("no such operation")


@pytest.mark.parametrize(("runtime", "text"), [
    (failing, r"runs Conv2d on \(4, 1, 6, 6\), but it fails \(NotImplementedError: no such oper"),
    (lambda module, images: 0.0, "Expected milliseconds from the runtime for Conv2d, got 0"),
    (lambda module, images: float("nan"), "Expected milliseconds from the runtime for Conv2d, got"),
    ("tvm", "Expected a runtime, torch or onnxruntime or a function, got 'tvm'"),
])  # fmt: skip
def test_runtimes_that_fail_or_are_not_known(runtime, text):
    with pytest.raises(LesionError, match=text):
        lesion.time(network(), torch.randn(2, 3, 6, 6), batch=4, runtime=runtime)


LAYERS = {
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "conv2d": (nn.Conv2d(4, 6, (3, 5), padding=(1, 2), dilation=(1, 2), bias=False), (2, 4, 9, 12)),
    "grouped": (nn.Conv2d(4, 8, 3, groups=2), (2, 4, 6, 6)),
    "same": (nn.Conv2d(4, 8, 3, padding="same"), (2, 4, 6, 6)),
    "conv3d": (nn.Conv3d(2, 3, 3, padding=1), (2, 2, 4, 4, 4)),
    "linear": (nn.Linear(5, 7), (2, 3, 5)),
    "linear_without_bias": (nn.Linear(5, 7, bias=False), (2, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_onnx_gives_what_it_gives_in_torch(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    module, shape = LAYERS[name]
    x = torch.randn(shape)
    content = runtimes._layer_as_onnx(module, x)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {"x": x.numpy()})
    assert torch.allclose(torch.from_numpy(given), module(x), atol=1e-5)


def test_times_in_onnx_runtime(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(runtimes, "TURN", 0.001)
    monkeypatch.setattr(whole_times, "RATES", (0.5,))
    monkeypatch.setattr(whole_times, "DRAWN", 1)
    times = lesion.time(network(), torch.randn(2, 3, 6, 6), batch=4, runtime="onnxruntime")
    assert [timed.layer for timed in times.layers] == ["a", "c", "fc"] and times.whole > 0
    assert all(timed.at(8, 8) > 0 for timed in times.layers)
    assert times.networks == 2 and np.isfinite(times.miss)

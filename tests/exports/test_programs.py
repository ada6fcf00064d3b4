"""Pruned networks as programs of torch.export and ONNX."""

import json

import allocations
import pytest
import torch
from small_networks import NETWORKS
from torch import nn
from torches import since

from lesion import layers
from lesion.errors import LesionError
from lesion.exports import programs
from lesion.exports.programs import export_pruned
from lesion.exports.pruned import apply
from lesion.subject.adapter import BatchAdapter, Unlabelled


class Named:
    """An adapter for batches that hold more than images and labels."""

    def forward(self, network, batch):
        return network(batch["views"][:, 0])

    def targets(self, batch):
        return None


def test_as_a_program_of_torch_export(case, rates, tmp_path):
    path = tmp_path / "small.pt2"
    small = apply(rates, case.network, case.x).train()
    export_pruned(small, rates, path, case.x)
    assert small.training and vars(case.x) == {}
    extra = {"lesion.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    small.eval()
    other = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    for images in (case.x, other):  # of any number of images
        assert torch.allclose(program(images), small(images), atol=1e-12)
    said = json.loads(extra["lesion.json"])
    assert (said["subject"], said["guarantee"]) == (allocations.SUBJECT, allocations.GUARANTEE)


@pytest.mark.parametrize(("batch", "adapter", "arguments"), [
    (lambda x: (x, torch.zeros(2).long()), None, lambda x: x),
    (lambda x: [x, torch.zeros(2).long()], BatchAdapter(), lambda x: x),
    (lambda x: x, Unlabelled(), lambda x: x),
    (lambda x: {"views": x.unsqueeze(1)}, Named(), lambda x: x.unsqueeze(1)),
])  # fmt: skip
def test_programs_for_batches_of_any_kind(batch, adapter, arguments, case, rates, tmp_path):
    path = tmp_path / "small.pt2"
    small = apply(rates, case.network, batch(case.x), adapter)
    export_pruned(small, rates, path, batch(case.x), adapter)
    program = torch.export.load(path).module()
    assert torch.allclose(program(arguments(case.x)), small(case.x), atol=1e-12)


def test_a_network_that_torch_cannot_export(rates, tmp_path):
    class Choosy(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(LesionError, match=r"that torch\.export can trace, but it refuses Choosy"):
        export_pruned(Choosy(), rates, tmp_path / "a.pt2", torch.ones(2, 3))


@since("2.7", "torch's converter to ONNX fails at batch norm")
def test_as_onnx(tmp_path):
    """Run by ONNX Runtime when it is written, for any number of images afterwards."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = NETWORKS["flattened"]().eval()
    x, path = torch.randn(2, 3, 6, 6), tmp_path / "small.onnx"
    rates = allocations.by_channels(layers(network, x), {"a": [1, 4], "f": [0, 2, 9]})
    small = apply(rates, network, x)
    export_pruned(small, rates, path, x)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    other = torch.randn(5, 3, 6, 6)
    for images in (x, other):
        (given,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        assert torch.allclose(torch.from_numpy(given), small(images), atol=1e-5)
    said = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(said["lesion"])["subject"] == allocations.SUBJECT


def test_a_program_that_gives_other_outputs_is_not_written(case, rates, tmp_path, monkeypatch):
    path = tmp_path / "small.pt2"
    small = apply(rates, case.network, case.x)
    real = programs._exported

    def otherwise(network, module, tensors):
        with torch.no_grad():
            module.f.bias += 1.0
        return real(network, module, tensors)

    monkeypatch.setattr(programs, "_exported", otherwise)
    with pytest.raises(LesionError, match=r"to give what the network gives, but its outputs diff"):
        export_pruned(small, rates, path, case.x)
    assert not path.exists()


def test_onnx_that_is_not_installed(case, rates, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    with pytest.raises(LesionError, match=r"Expected onnx and onnxscript for an \.onnx file; pip"):
        export_pruned(case.network, rates, tmp_path / "small.onnx", case.x)


def test_what_onnx_lacks_is_told_by_its_cause(case, rates, tmp_path, monkeypatch):
    """The converter's own errors say how far it came, and the cause stands behind them."""
    pytest.importorskip("onnx")

    def export(program, **options):
        try:
            raise AssertionError("only 4D query, key, and value are supported.")
        except AssertionError as error:
            raise RuntimeError("\x1b[96mThis is step 3/3\x1b[0m of exporting the model.") from error

    monkeypatch.setattr(torch.onnx, "export", export)
    small = apply(rates, case.network, case.x)
    with pytest.raises(LesionError, match=r"cannot convert it \(only 4D query, key, and value"):
        export_pruned(small, rates, tmp_path / "small.onnx", case.x)
    assert not (tmp_path / "small.onnx").exists()

"""Networks of transformers from folders, with what their image processors do."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import lesion
from lesion.errors import SubjectError
from lesion.zoo import open_network

hf = pytest.importorskip("transformers")


def photo(height=80, width=100):
    """Smooth, so that the kinds of resizing differ by little."""
    rows, columns = np.mgrid[0:height, 0:width]
    values = np.stack([rows * 255 / height, columns * 255 / width, rows + columns], -1)
    return Image.fromarray(values.astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hub") / "resnet"
    config = hf.ResNetConfig(num_labels=5, depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 12, 12],
                             embedding_size=8, layer_type="basic")  # fmt: skip
    hf.ResNetForImageClassification(config).save_pretrained(path)
    return path


def test_a_folder_gives_its_class_and_its_weights(folder):
    network, preprocessing = open_network(f"hf:{folder}", "default")
    assert type(network) is hf.ResNetForImageClassification and preprocessing is None
    saved = hf.ResNetForImageClassification.from_pretrained(folder)
    assert all(
        torch.equal(value, network.state_dict()[name]) for name, value in saved.state_dict().items()
    )
    anatomy = lesion.layers(network.eval(), torch.randn(2, 3, 32, 32))
    assert {unit.kind for unit in anatomy.units} == {"free", "coupled", "tied"}


def test_random_weights_and_another_number_of_classes(folder):
    network, _ = open_network(f"hf:{folder}", "random", classes=3)
    assert network.classifier[1].out_features == 3


PROCESSORS = {
    "shorter_side_and_crop": {"size": {"shortest_edge": 40}, "crop_size": 32, "resample": 3,
                              "do_center_crop": True},
    "both_sides": {"size": {"height": 32, "width": 24}, "resample": 2, "do_center_crop": False},
    "convnext": {"size": {"shortest_edge": 28}, "crop_pct": 0.875, "resample": 3},
    "convnext_large": {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3},
    "not_normalised": {"size": {"height": 32, "width": 32}, "do_normalize": False,
                       "do_center_crop": False},
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_processors_preprocessing(folder, name):
    kind = hf.ConvNextImageProcessor if name.startswith("convnext") else hf.CLIPImageProcessor
    processor = kind(**PROCESSORS[name], image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.25, 0.3])
    processor.save_pretrained(folder)
    try:
        _, preprocessing = open_network(f"hf:{folder}", "random")
    finally:
        (folder / "preprocessor_config.json").unlink()
    (expected,) = processor(photo(), return_tensors="pt")["pixel_values"]
    prepared = preprocessing(photo())
    assert prepared.shape == expected.shape
    assert torch.allclose(prepared, expected, atol=0.05)  # torchvision's resizing beside Pillow's


def test_what_is_no_network_of_transformers(tmp_path, monkeypatch):
    with pytest.raises(SubjectError, match=r"Expected a network of transformers .* at /nowhere"):
        open_network("hf:/nowhere", "random")
    with pytest.raises(SubjectError, match="Expected weights for hf:x, which is only a name"):
        open_network("hf:x")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SubjectError, match="Expected transformers, which hf:NAME needs"):
        open_network(f"hf:{tmp_path}", "random")

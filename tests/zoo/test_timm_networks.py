import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lesion.errors import SubjectError
from lesion.subject.weights import fingerprint
from lesion.zoo import open_network, timm_networks

timm = pytest.importorskip("timm")


def photo(height=50, width=70):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "tf_efficientnet_b0",
                                  "inception_v3", "eva02_tiny_patch14_224"])  # fmt: skip
def test_timms_configuration_is_understood_exactly(name):
    network = timm.create_model(name, pretrained=False)
    config = timm.data.resolve_data_config({}, model=network)
    expected = timm.data.create_transform(**config, is_training=False)(photo(260, 330))
    prepared = timm_networks.preprocessing(network)(photo(260, 330))
    assert torch.equal(prepared, expected)


def test_timms_squashed_images_are_understood_exactly():
    network = timm.create_model("resnet10t", pretrained=False)
    network.pretrained_cfg = {**network.pretrained_cfg, "crop_mode": "squash", "crop_pct": 1.0}
    config = timm.data.resolve_data_config({}, model=network)
    assert config["crop_mode"] == "squash"
    expected = timm.data.create_transform(**config, is_training=False)(photo())
    assert torch.equal(timm_networks.preprocessing(network)(photo()), expected)


def test_an_unknown_crop_of_timm_is_an_error():
    network = timm.create_model("resnet10t", pretrained=False)
    network.pretrained_cfg = {**network.pretrained_cfg, "crop_mode": "border"}
    with pytest.raises(SubjectError, match=r"got crop mode 'border'; give the data by FILE"):
        timm_networks.preprocessing(network)


def test_a_random_network_follows_the_seed():
    prints = [fingerprint(open_network("timm:resnet10t", "random", seed=s)[0]) for s in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_weights_come_from_a_file(tmp_path):
    source = timm.create_model("resnet10t", num_classes=7)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    file = str(tmp_path / "w.safetensors")
    network, preprocessing = open_network("timm:resnet10t", file, classes=7)
    assert fingerprint(network) == fingerprint(source)
    assert preprocessing == timm_networks.preprocessing(source)


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """timm finds all pretrained weights in a file here; returns the names it was asked for."""
    create, asked = timm.create_model, []
    save_file(create("resnet10t").state_dict(), tmp_path / "w.safetensors")

    def local(name, pretrained=False, **options):
        asked.append((name, pretrained))
        overlay = {"file": str(tmp_path / "w.safetensors")} if pretrained else {}
        return create(name, pretrained, pretrained_cfg_overlay=overlay, **options)

    monkeypatch.setattr(timm, "create_model", local)
    return asked


@pytest.mark.parametrize(
    ("name", "weights", "asked"),
    [
        ("resnet10t", "default", "resnet10t"),
        ("resnet10t.c3_in1k", "default", "resnet10t.c3_in1k"),
        ("resnet10t", "c3_in1k", "resnet10t.c3_in1k"),
    ],
)
def test_default_and_tags_ask_timm_for_weights(fetched, tmp_path, name, weights, asked):
    network, _ = open_network(f"timm:{name}", weights)
    assert fetched == [(asked, True)]
    expected = timm_networks.checkpoints.read(tmp_path / "w.safetensors")
    assert all(torch.equal(network.state_dict()[key], value) for key, value in expected.items())


def test_pretrained_weights_keep_their_classes(fetched):
    with pytest.raises(SubjectError, match=r"Expected 1000 classes, .*resnet10t.*got 7; leave"):
        open_network("timm:resnet10t", "default", classes=7)


def test_an_unknown_tag_shows_the_known_ones():
    with pytest.raises(SubjectError, match=r"of the tags: c3_in1k\).*Invalid pretrained tag \(no"):
        open_network("timm:resnet10t", "nonsense")


def test_an_unknown_name_is_an_error():
    with pytest.raises(SubjectError, match=r"network of timm [\d.]+, got 'resnet17';.*list_models"):
        open_network("timm:resnet17", "random")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SubjectError, match=r'not installed; run pip install "lesion\[timm\]"'):
        open_network("timm:resnet18", "random")

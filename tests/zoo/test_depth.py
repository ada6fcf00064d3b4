"""Images of any depth and number of channels, in files, against numpy."""

import os
import socket

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from lesion.errors import SubjectError
from lesion.zoo import open_data, open_evaluation, open_subject

RNG = np.random.default_rng(3)
DEEP = RNG.integers(0, 65536, (6, 5)).astype(np.uint16)
SHARES = RNG.random((6, 5)).astype(np.float32)
GREY = RNG.integers(0, 256, (6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 3), np.uint8)
FOUR = RNG.integers(0, 256, (6, 5, 4), np.uint8)


def one(folder, image, name="a.png", **options):
    """What a folder with that one image gives."""
    target = folder / "val" / "one"
    target.mkdir(parents=True, exist_ok=True)
    image.save(target / name, **options)
    dataset, _ = open_data(f"imagefolder:{folder / 'val'}")
    return dataset[0][0]


def palette() -> Image.Image:
    image = Image.fromarray(GREY % 4, "P")
    image.putpalette([9, 8, 7, 200, 100, 50, 0, 255, 0, 1, 2, 3])
    return image


def painted() -> np.ndarray:
    colours = np.array([[9, 8, 7], [200, 100, 50], [0, 255, 0], [1, 2, 3]])
    return colours[GREY % 4].transpose(2, 0, 1) / 255


def repeated(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3)


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (Image.fromarray(DEEP), "a.png", repeated(DEEP / 65535)),
        (Image.fromarray(DEEP), "a.tif", repeated(DEEP / 65535)),
        (Image.fromarray(DEEP), "a.pgm", repeated(DEEP / 65535)),
        (Image.fromarray(DEEP.astype(np.int32)), "a.tif", repeated(DEEP / 65535)),
        (Image.fromarray(SHARES), "a.tiff", repeated(SHARES)),
        (Image.fromarray(GREY), "a.png", repeated(GREY / 255)),
        (Image.fromarray(GREY > 99), "a.png", repeated((GREY > 99) * 1.0)),
        (Image.fromarray(COLOUR), "a.png", COLOUR.transpose(2, 0, 1) / 255),
        (Image.fromarray(FOUR, "RGBA"), "a.png", FOUR[..., :3].transpose(2, 0, 1) / 255),
        (Image.fromarray(FOUR[..., :2], "LA"), "a.png", repeated(FOUR[..., 0] / 255)),
        (palette(), "a.png", painted()),
        (
            Image.fromarray(FOUR, "CMYK"), "a.tif",  # what PIL makes of it, as in torchvision
            np.asarray(Image.fromarray(FOUR, "CMYK").convert("RGB")).transpose(2, 0, 1) / 255,
        ),
    ],
    ids=["16 bits", "16 bits tif", "16 bits pgm", "32 bits", "floats", "grey", "1 bit", "colour",
         "alpha", "grey alpha", "palette", "cmyk"],
)  # fmt: skip
def test_each_depth_has_its_scale(tmp_path, image, name, expected):
    tensor = one(tmp_path, image, name)
    assert tensor.shape == expected.shape and tensor.dtype == torch.float32
    assert np.allclose(tensor.numpy(), expected, rtol=0, atol=1e-7)


def test_eight_bits_are_what_torchvision_gives(tmp_path):
    """Also of cameras that were held upright."""
    note = Image.Exif()
    note[0x0112] = 6
    tensor = one(tmp_path, Image.fromarray(COLOUR), "a.jpg", exif=note)
    image, _ = datasets.ImageFolder(str(tmp_path / "val"))[0]
    assert np.array_equal(tensor.numpy(), np.asarray(image).transpose(2, 0, 1).astype("f4") / 255)


def test_sixteen_bits_are_resized_as_eight_are(tmp_path):
    values = np.kron(GREY, np.ones((4, 4), np.uint8))
    for name, image in (("8", values), ("16", values.astype(np.uint16) * 257)):
        (tmp_path / name / "one").mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / name / "one" / "a.png")
    few, many = (
        open_data(f"imagefolder:{tmp_path / name}", resize=9, crop=12)[0][0][0]
        for name in ("8", "16")
    )
    assert few.shape == many.shape == (3, 12, 12)
    assert float((few - many).abs().max()) < 1.1 / 255  # eight bits are rounded


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (DEEP.astype(np.int32) + 9, r"its integers go from \d+ to 65\d+, not from 0 to 65535"),
        (-DEEP.astype(np.int32), "not from 0 to 65535"),
        (SHARES * 255, r"its floats go from .* to .*, not from 0 to 1"),
        (SHARES - 0.5, "not from 0 to 1"),
        (np.where(SHARES > 0.5, np.nan, SHARES).astype(np.float32), "its floats go from nan"),
    ],
)
def test_a_scale_that_nobody_knows_is_refused(tmp_path, values, text):
    if values.dtype == np.int32 and values.min() >= 0:
        values[0, 0] = 65536
    with pytest.raises(SubjectError, match=rf"image in .*a\.tif, .*{text}.*take it out\.$"):
        one(tmp_path, Image.fromarray(values), "a.tif")


NETWORKS = """
import torch
from torch import nn


class Bright(nn.Module):
    \"\"\"Class 1 where the mean of the first channel is above a half.\"\"\"

    def __init__(self, channels):
        super().__init__()
        self.head = nn.Conv2d(channels, 2, 1)
        self.head.weight.data.zero_()
        self.head.weight.data[1, 0] = 1.0
        self.head.bias.data.copy_(torch.tensor([0.5, 0.0]))

    def forward(self, x):
        return self.head(x).mean((2, 3))


def grey():
    return Bright(1)


def colour():
    return Bright(3)


def evaluate(network):
    return float(network(torch.full((1, 1, 4, 4), 0.7))[0, 1])
"""


@pytest.fixture
def bright(tmp_path):
    """Six images of 16 bits: three dark ones and three bright ones, none near black or white."""
    (tmp_path / "nets.py").write_text(NETWORKS)
    for place in range(6):
        low = 40_000 if place % 2 else 8_000
        values = RNG.integers(low, low + 9_000, (4, 4)).astype(np.uint16)
        target = tmp_path / "val" / ("bright" if place % 2 else "dark")
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values if place < 4 else (values >> 8).astype(np.uint8)).save(
            target / f"{place}.png"
        )
    return tmp_path


@pytest.mark.parametrize(("network", "channels"), [("grey", 1), ("colour", 3)])
def test_a_network_gets_as_many_channels_as_it_takes(bright, network, channels):
    data = f"imagefolder:{bright}/val"
    subject = open_subject(f"{bright}/nets.py:{network}", None, data, train=data)
    assert subject.preprocessing == ("grey, " if channels == 1 else "") + "scale to [0, 1]"
    for place, (path, _) in enumerate(subject.images.dataset.samples):
        image, label = subject.images.dataset[place]
        stored = np.asarray(Image.open(path))
        most = 65535 if stored.dtype == np.uint16 else 255
        assert image.shape == (channels, 4, 4)
        assert np.allclose(image.numpy(), stored / most, rtol=0, atol=1e-7)
        right = {"bright": 0, "dark": 1}[os.path.basename(os.path.dirname(path))]
        assert label == right
    assert subject.train is not None and subject.train.dataset[0][0].shape == (channels, 4, 4)


def test_colours_become_grey_for_one_channel_as_pil_weighs_them(bright):
    Image.fromarray(COLOUR[:4, :4]).save(bright / "val" / "dark" / "0.png")
    subject = open_subject(f"{bright}/nets.py:grey", None, f"imagefolder:{bright}/val")
    paths = [path for path, _ in subject.images.dataset.samples]
    (place,) = (i for i, path in enumerate(paths) if path.endswith("dark/0.png"))
    expected = COLOUR[:4, :4].astype(float) @ (0.299, 0.587, 0.114)
    assert np.allclose(255 * subject.images.dataset[place][0].numpy(), expected, rtol=0, atol=0.51)


def test_the_images_of_a_folder_without_classes_are_grey_too(bright):
    data = f"imagefolder:{bright}/val/bright"
    subject = open_subject(f"{bright}/nets.py:grey", None, data, score="agreement")
    assert subject.images.dataset[0].shape == (1, 4, 4)


def test_an_evaluation_sees_grey_images(bright):
    data = f"imagefolder:{bright}/val"
    _, _, example = open_evaluation(
        f"{bright}/nets.py:grey", None, data, f"{bright}/nets.py:evaluate"
    )
    assert example[0].shape == (2, 1, 4, 4)


def test_grey_sets_of_torchvision_feed_colour_networks(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(NETWORKS)

    class Digits:
        def __init__(self, root, train, transform):
            self.transform = transform

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return self.transform(Image.fromarray(GREY)), index % 2

    monkeypatch.setattr(datasets, "MNIST", Digits)
    for network, channels in (("grey", 1), ("colour", 3)):
        subject = open_subject(
            f"{tmp_path}/nets.py:{network}", None, f"torchvision:MNIST:{tmp_path}"
        )
        expected = np.stack([GREY / 255] * channels)
        assert np.allclose(subject.images.dataset[0][0].numpy(), expected, rtol=0, atol=1e-7)
        assert subject.preprocessing == "scale to [0, 1]"


# --- what is no image


def test_a_pipe_among_images_is_not_waited_for(tmp_path):
    one(tmp_path, Image.fromarray(GREY))
    os.mkfifo(tmp_path / "val" / "one" / "b.png")
    dataset, _ = open_data(f"imagefolder:{tmp_path}/val")
    with pytest.raises(SubjectError, match=r"image in .*b\.png, .*no regular file.*take it out"):
        dataset[1]


def test_sockets_devices_and_broken_links_are_named(tmp_path, monkeypatch):
    folder = tmp_path / "val"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("a.png")
    os.symlink("/dev/zero", folder / "b.png")
    os.symlink("nowhere", folder / "c.png")
    dataset, _ = open_data(f"imagefolder:{folder}")
    assert len(dataset) == 3
    for place, text in enumerate(["no regular file", "no regular file", "No such file"]):
        with pytest.raises(SubjectError, match=f"image in .*{'abc'[place]}.png, .*{text}"):
            dataset[place]


def test_a_link_that_leads_back_is_named(tmp_path):
    one(tmp_path, Image.fromarray(GREY))
    os.symlink("..", tmp_path / "val" / "one" / "loop")
    with pytest.raises(
        SubjectError, match=r"but .*one/loop leads back to .*val, .*remove the link"
    ):
        open_data(f"imagefolder:{tmp_path}/val")
    (tmp_path / "val" / "one" / "loop").unlink()
    os.symlink(tmp_path / "val" / "one", tmp_path / "val" / "two")  # a class with the same images
    assert len(open_data(f"imagefolder:{tmp_path}/val")[0]) == 2

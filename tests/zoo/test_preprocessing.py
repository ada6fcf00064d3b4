from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms import functional as F

from lesion.errors import SubjectError
from lesion.zoo import fashion_mnist
from lesion.zoo.preprocessing import Preprocessing
from lesion.zoo.torchvision_networks import _preprocessing


def photo(height=50, width=70, mode="RGB"):
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8), mode)


ENUMS = [weights for name in models.list_models(module=models)
         for weights in models.get_model_weights(name)]  # fmt: skip


def test_every_torchvision_preset_is_understood_exactly():
    """One image through each kind of preset; the presets' sizes are a quarter, for speed."""
    seen = set()
    for weights in ENUMS:
        preset, preprocessing = weights.transforms(), _preprocessing(weights)
        if preprocessing in seen:
            continue
        seen.add(preprocessing)
        resize, crop = preprocessing.resize // 4, preprocessing.crop // 4
        small = replace(preprocessing, resize=resize, crop=crop)
        preset.resize_size, preset.crop_size = [resize], [crop]
        assert torch.equal(small(photo()), preset(photo())), weights
    assert len(seen) > 20


def test_the_demo_images_become_what_the_networks_were_trained_on():
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8)
    preprocessing = Preprocessing(mean=(fashion_mnist.MEAN,), std=(fashion_mnist.STD,))
    prepared = torch.stack([preprocessing(image) for image in images.unsqueeze(1)])
    assert torch.equal(prepared, fashion_mnist.normalise(images))


def test_without_parts_an_image_is_scaled_only():
    assert torch.equal(Preprocessing()(photo()), F.to_tensor(photo()))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("CMYK", 3)])
def test_pictures_become_grey_or_colour(mode, channels):
    assert Preprocessing()(photo(mode=mode)).shape == (channels, 50, 70)


def test_grey_images_are_repeated_for_colour_networks():
    preprocessing, grey = Preprocessing(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)), photo(mode="L")
    prepared = preprocessing(grey)
    assert torch.equal(prepared, preprocessing(F.pil_to_tensor(grey)))
    assert torch.allclose(prepared + torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), F.to_tensor(grey))


def test_floats_are_not_scaled():
    assert torch.equal(Preprocessing()(torch.full((1, 2, 2), 7.0)), torch.full((1, 2, 2), 7.0))


def test_parts_that_are_given_replace_the_others():
    base = Preprocessing(256, 224, (0.5,), (0.25,), "bicubic")
    changed = base.changed(crop=200, mean=[0.1], std=[0.2])
    assert changed == Preprocessing(256, 200, (0.1,), (0.2,), "bicubic")
    assert base.changed() == base


def test_equal_texts_are_equal_preprocessing():
    texts = {_preprocessing(weights): _preprocessing(weights).text for weights in ENUMS}
    assert len(set(texts.values())) == len(texts)


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [((0.5,), (), "got 1 and 0; give --mean and --std together"), ((0.5,), (0.0,), "above 0")],
)
def test_mean_and_std_must_fit(mean, std, text):
    with pytest.raises(SubjectError, match=text):
        Preprocessing(mean=mean, std=std)

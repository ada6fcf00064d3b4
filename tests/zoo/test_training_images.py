"""Training images and recoveries by name."""

import gzip
import struct

import numpy as np
import pytest
from torchvision import datasets

from lesion.errors import LesionError, SubjectError
from lesion.zoo import open_data, open_recovery, open_subject
from lesion.zoo.torchvision_sets import SETS, TRAINING


@pytest.fixture
def fashion(tmp_path):
    """Five training and three test images as Fashion-MNIST lies on disk."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 5), ("t10k", 3)):
        images = np.full((count, 28, 28), count, np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", np.zeros(count, np.uint8))):
            head = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
            content = head + array.tobytes()
            (raw / f"{split}-{kind}-ubyte").write_bytes(content)
            (raw / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    return tmp_path


def test_a_set_has_training_and_test_images(fashion):
    place = f"torchvision:FashionMNIST:{fashion}"
    train, text = open_data(f"{place}:train")
    test, same = open_data(place)
    assert (len(train), len(test)) == (5, 3) and text == same
    assert float(train[0][0].max()) == pytest.approx(5 / 255)
    subject = open_subject("demo:resnet20", None, place, train=f"{place}:train")
    assert (len(subject.images), len(subject.train)) == (3, 5)
    image, _ = subject.train.dataset[0]
    assert float(image.max()) == pytest.approx((5 / 255 - 0.2860) / 0.3530, abs=1e-6)
    assert open_subject("demo:resnet20", None, place).train is None


def test_every_set_with_a_split_names_its_training_images(monkeypatch, tmp_path):
    asked = {}
    for name in SETS:
        monkeypatch.setattr(
            datasets, name, lambda root, transform, name=name, **given: asked.update({name: given})
        )
    for name, options in SETS.items():
        where = f"torchvision:{name}:{tmp_path}:train"
        if "train" in options or "split" in options:
            open_data(where)
        else:
            with pytest.raises(SubjectError, match=f"training images of their own, got {name}, wh"):
                open_data(where)
    assert asked["CIFAR10"] == {"train": True} and asked["SVHN"] == {"split": "train"}
    assert asked["ImageNet"] == {"split": "train"}
    assert asked["OxfordIIITPet"] == {"split": "trainval"}
    assert asked["Places365"] == {"split": "train-standard"} and set(TRAINING) <= asked.keys()


def test_a_recovery_is_a_text_or_a_users_function(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def mend(network, batches):\n    pass\n")
    assert open_recovery("bn") == "bn" and open_recovery("finetune:3,lr=1") == "finetune:3,lr=1"
    assert open_recovery(f"{file}:mend").__name__ == "mend"
    with pytest.raises(LesionError, match=r"Expected a function 'break' in .* found mend"):
        open_recovery(f"{file}:break")

"""The forms of --data, on small files of the real formats."""

import gzip
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from lesion.errors import SubjectError
from lesion.zoo import fashion_mnist, open_data, open_subject
from lesion.zoo.arrays import read_npz
from lesion.zoo.preprocessing import Preprocessing
from lesion.zoo.torchvision_sets import SETS

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)


def refused(data, text, **options):
    with pytest.raises(SubjectError, match=text) as caught:
        dataset, _ = open_data(str(data), **options)
        list(dataset)
    assert "\n" not in str(caught.value)


# --- the bundled images


def test_the_bundled_images_are_the_test_images_of_fashion_mnist():
    images, labels = fashion_mnist.bundled()
    assert images.shape == (10_000, 28, 28) and images.dtype == torch.uint8
    assert torch.equal(labels.bincount(), torch.full((10,), 1000))
    assert labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    path = Path(fashion_mnist.__file__).parent / "data" / "t10k-images-idx3-ubyte.gz"
    raw = gzip.decompress(path.read_bytes())  # four numbers of four bytes, then pixels by row
    assert raw[16 + 784 * 9999 :] == images[9999].numpy().tobytes()


# --- imagefolder


@pytest.fixture
def folder(tmp_path):
    """Two classes and three images; one grey, one in a subfolder."""
    root = tmp_path / "photos"
    for place, name in enumerate(["cat/a.png", "cat/deep/b.JPEG", "dog/c.bmp"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[place][..., 0] if place == 0 else PIXELS[place]).save(path)
    (root / "readme.txt").write_text("no class")
    return root


def test_a_folder_gives_images_in_colour_and_labels_by_alphabet(folder):
    dataset, text = open_data(f"imagefolder:{folder}")
    assert [label for _, label in dataset] == [0, 0, 1]
    expected = torch.from_numpy(PIXELS[2]).permute(2, 0, 1) / 255
    assert torch.equal(dataset[2][0], expected)
    assert dataset[0][0].shape == (3, 32, 32) and text == "scale to [0, 1]"


def test_empty_class_folders_count_and_hidden_ones_do_not(folder):
    (folder / ".checkpoints").mkdir()
    (folder / "cow").mkdir()
    dataset, _ = open_data(f"imagefolder:{folder}")
    assert dataset.classes == ["cat", "cow", "dog"]
    assert [label for _, label in dataset] == [0, 0, 2]


def test_a_folder_without_images_is_an_error(tmp_path):
    refused(f"imagefolder:{tmp_path / 'none'}", r"folder of images at .*none, found none")
    refused(f"imagefolder:{tmp_path}", r"one folder a class in .*, found none; .*CLASS/IMAGE")
    (tmp_path / "cat").mkdir()
    refused(f"imagefolder:{tmp_path}", r"\.png.* in the 1 class folders of .*, found none")


@pytest.mark.parametrize("content", [b"no image", b""])
def test_a_damaged_image_is_named(folder, content):
    (folder / "cat" / "a.png").write_bytes(content)
    refused(f"imagefolder:{folder}", r"an image in .*a\.png, but it cannot be read .*take it out")


def test_an_image_that_ends_early_is_named(folder):
    path = folder / "cat" / "a.png"
    path.write_bytes(path.read_bytes()[:-500])
    refused(f"imagefolder:{folder}", r"an image in .*a\.png")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_by_workers_too(folder, workers):
    (folder / "dog" / "c.bmp").write_bytes(b"BM")
    options = {"classes": 2, "workers": workers}
    subject = open_subject(
        "torchvision:squeezenet1_1", "random", f"imagefolder:{folder}", **options
    )
    with pytest.raises(SubjectError, match=r"^Expected an image in .*c\.bmp, .*take it out\.$"):
        list(subject.images.batches([[0, 1], [2]]))


def test_the_number_of_folders_must_be_that_of_the_outputs(folder):
    data = f"imagefolder:{folder}"
    with pytest.raises(SubjectError, match=r"Expected 3 classes in .*, found 2 \(cat, dog\); say"):
        open_subject("torchvision:squeezenet1_1", "random", data, classes=3)
    subject = open_subject("torchvision:squeezenet1_1", "random", data, classes=2)
    assert subject.class_map == ""


# --- npz


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (PIXELS, PIXELS.transpose(0, 3, 1, 2)),
        (PIXELS.transpose(0, 3, 1, 2), PIXELS.transpose(0, 3, 1, 2)),
        (PIXELS[..., 0], PIXELS[:, None, :, :, 0]),
        (PIXELS[..., :1], PIXELS[:, None, :, :, 0]),
    ],
)
@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y")])
def test_bytes_in_npz_become_channels_first_and_are_scaled(tmp_path, images, expected, names):
    labels = np.array([[3], [0], [1], [2]], np.uint8)
    np.savez(tmp_path / "a.npz", **dict(zip(names, (images, labels), strict=True)))
    dataset, text = open_data(f"npz:{tmp_path / 'a.npz'}")
    assert torch.equal(torch.stack([x for x, _ in dataset]), torch.tensor(expected) / 255)
    assert [label for _, label in dataset] == [3, 0, 1, 2]
    assert text == "scale to [0, 1]"


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 2, 16), (4, 7)])
def test_floats_in_npz_are_taken_as_they_are(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=shape)
    np.savez(tmp_path / "a.npz", x=values, y=np.arange(4))
    preprocessing = Preprocessing(crop=4, mean=(9.0,), std=(9.0,))
    dataset, text = open_data(f"npz:{tmp_path / 'a.npz'}", preprocessing)
    assert torch.equal(dataset[3][0], torch.tensor(values[3], dtype=torch.float32))
    assert text == "floats as they are"


def test_floats_in_npz_are_preprocessed_when_asked(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((1, 1, 4, 4), 3.0), y=np.arange(1))
    dataset, text = open_data(f"npz:{tmp_path / 'a.npz'}", crop=2, mean=[1.0], std=[2.0])
    assert torch.equal(dataset[0][0], torch.full((1, 2, 2), 1.0))
    assert text == "crop 2, scale to [0, 1], mean 1, std 2"


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"y": np.arange(4)}, r"named 'images' or 'x' in .*a\.npz, found y; rename"),
        ({"x": np.uint8(3), "y": np.arange(1)}, r"Expected several images in .*a\.npz"),
        ({"x": PIXELS, "y": np.arange(4.0)}, r"class numbers .* got float64 \(4,\)"),
        ({"x": PIXELS, "y": np.eye(4, dtype=int)}, r"class numbers .* got int64 \(4, 4\)"),
        ({"x": PIXELS, "y": np.arange(3)}, r"as many images as labels .* \(4,\) and \(3,\)"),
        ({"x": PIXELS[..., [0, 1]], "y": np.arange(4)}, r"got uint8 \(4, 32, 32, 2\)"),
        ({"x": PIXELS.astype(int), "y": np.arange(4)}, r"of uint8 .* got int64 \(4, 32"),
        ({"x": np.array([{}] * 4), "y": np.arange(4)}, r"an npz file of plain arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_an_error(tmp_path, arrays, text):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(SubjectError, match=text):
        read_npz(tmp_path / "a.npz")


def test_images_in_npz_without_labels_are_alone(tmp_path):
    np.savez(tmp_path / "a.npz", x=PIXELS, names=np.arange(4))
    dataset, _ = open_data(f"npz:{tmp_path / 'a.npz'}")
    assert len(dataset) == 4
    assert torch.equal(dataset[2], torch.from_numpy(PIXELS[2]).permute(2, 0, 1) / 255)
    message = r"named 'labels' or 'y' in .*, found x, names; rename it, or use --score agreement"
    with pytest.raises(SubjectError, match=message):
        open_subject("demo:resnet20", "random", f"npz:{tmp_path / 'a.npz'}")


def test_a_folder_without_folders_is_of_images_alone(tmp_path):
    for name in ("b.png", "a.JPG", "c.jpeg"):
        image = Image.fromarray(PIXELS[ord(name[0]) - ord("a")])
        image.save(tmp_path / name, "PNG" if name == "b.png" else "JPEG", quality=95)
    (tmp_path / "list.csv").write_text("a,b")
    dataset, text = open_data(f"imagefolder:{tmp_path}", crop=8)
    assert text == "crop 8, scale to [0, 1]" and len(dataset) == 3
    assert [file.name for file in dataset.files] == ["a.JPG", "b.png", "c.jpeg"]
    expected = torch.from_numpy(PIXELS[1]).permute(2, 0, 1)[:, 12:20, 12:20] / 255
    assert torch.equal(dataset[1], expected) and dataset[0].shape == (3, 8, 8)
    with pytest.raises(SubjectError, match=r"found images without one; .* --score agreement"):
        open_subject("demo:resnet20", "random", f"imagefolder:{tmp_path}")


def test_files_that_are_no_npz_are_an_error(tmp_path):
    refused(f"npz:{tmp_path / 'a.npz'}", r"an npz file at .*a\.npz, found none")
    for content in (b"", b"hello", b"PK\x03\x04 and no more"):
        (tmp_path / "a.npz").write_bytes(content)
        refused(f"npz:{tmp_path / 'a.npz'}", r"an npz file of plain arrays, but .*numpy\.savez")
    np.save(tmp_path / "b.npy", np.zeros(3))
    refused(f"npz:{tmp_path / 'b.npy'}", r"an npz file of plain arrays, but .*numpy\.savez")


def test_an_empty_npz_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=PIXELS[:0], y=np.zeros(0, int))
    with pytest.raises(SubjectError, match="at least one image"):
        open_subject("demo:resnet20", "random", f"npz:{tmp_path / 'a.npz'}")


# --- torchvision's sets


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Test images as CIFAR-10's files hold them: rows of 3 × 32 × 32 bytes in a pickle."""
    base = tmp_path / datasets.CIFAR10.base_folder
    base.mkdir()
    rows = PIXELS.transpose(0, 3, 1, 2).reshape(4, -1)
    (base / "test_batch").write_bytes(pickle.dumps({"data": rows, "labels": [6, 9, 9, 4]}))
    names = {"label_names": [str(label) for label in range(10)]}
    (base / "batches.meta").write_bytes(pickle.dumps(names))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return tmp_path


def test_cifar_gives_its_test_images(cifar):
    dataset, _ = open_data(f"torchvision:CIFAR10:{cifar}")
    assert [label for _, label in dataset] == [6, 9, 9, 4]
    expected = torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255
    assert torch.equal(torch.stack([image for image, _ in dataset]), expected)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist_gives_its_test_images(tmp_path, name):
    raw = tmp_path / name / "raw"
    raw.mkdir(parents=True)
    grey = PIXELS[:, :28, :28, 0]
    for part, number in (("train", 3), ("t10k", 4)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(grey[:number]))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(number)))
    dataset, _ = open_data(f"torchvision:{name}:{tmp_path}", mean=[0.5], std=[0.5])
    assert [label for _, label in dataset] == [0, 1, 2, 3]
    expected = (torch.tensor(grey[3]) / 255 - 0.5) / 0.5
    assert torch.equal(dataset[3][0], expected[None])


def test_svhn_gives_its_test_images(tmp_path, monkeypatch):
    scipy_io = pytest.importorskip("scipy.io")
    content = {"X": PIXELS.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [2], [3]])}
    scipy_io.savemat(tmp_path / "test_32x32.mat", content)
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda _: True)
    dataset, _ = open_data(f"torchvision:SVHN:{tmp_path}")
    assert [int(label) for _, label in dataset] == [0, 1, 2, 3]
    assert torch.equal(dataset[1][0], torch.from_numpy(PIXELS[1]).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_set_that_is_not_there_is_an_error_and_nothing_is_fetched(tmp_path, name, monkeypatch):
    def fetch(*_, **__):
        raise AssertionError("it downloads")

    monkeypatch.setattr("urllib.request.urlopen", fetch)
    text = rf"Expected the files of {name} in .*{tmp_path.name}, but torchvision cannot use them"
    refused(f"torchvision:{name}:{tmp_path}", text)


def test_how_to_get_a_set_is_said(tmp_path):
    root = tmp_path / "none"
    refused(f"torchvision:CIFAR10:{root}", r"found no folder; torchvision\.datasets\.CIFAR10\("
            r'".*none", download=True\) fetches it\.')  # fmt: skip
    refused(f"torchvision:ImageNet:{root}", r"found no folder; put its archives there as the doc")


def test_an_unknown_set_shows_the_known_ones(tmp_path):
    refused(f"torchvision:CIFAR11:{tmp_path}", r"\(CIFAR10, CIFAR100, .*\), got 'CIFAR11'")


# --- the training script reads what the package stores


def test_idx_files_are_read_gzipped_or_not(tmp_path):
    (tmp_path / "a-ubyte").write_bytes(idx(PIXELS[:, :, :, 1]))
    (tmp_path / "a-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS[:, :, :, 1])))
    for name in ("a-ubyte", "a-ubyte.gz"):
        images = fashion_mnist.read_idx(tmp_path / name)
        assert np.array_equal(images.numpy(), PIXELS[:, :, :, 1])


# --- npz files that are not what they claim


def archive(path, **members):
    """An npz file of these raw members; a number is written as the size that it claims."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return f"npz:{path}"


def head(shape, dtype="|u1") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"shape": shape, "fortran_order": False, "descr": dtype}
    )
    return buffer.getvalue()


def test_an_array_that_claims_more_than_it_holds(tmp_path):
    """Refused by its head, before memory is asked for."""
    data = archive(tmp_path / "a.npz", images=head((2**40, 8, 8)) + b"\0" * 100)
    refused(data, rf"'images\.npy' claims {2**46} bytes and holds 100")
    data = archive(tmp_path / "b.npz", images=head((-1, 8, 8)) + b"\0" * 100)
    refused(data, "claims -64 bytes and holds 100|cannot be read")


def test_arrays_that_do_not_fit_into_memory(tmp_path, monkeypatch):
    """A megabyte that grows a thousandfold, on a machine that has less."""
    monkeypatch.setattr("lesion.zoo.npz.free", lambda device: 2**20)
    data = archive(tmp_path / "a.npz", images=head((2**21, 1, 1)) + bytes(2**21))
    assert (tmp_path / "a.npz").stat().st_size < 2**14
    refused(data, r"its arrays take 0\.00195 GiB, more than is free")


def test_members_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("images", "these are none")
    refused(f"npz:{tmp_path / 'a.npz'}", "cannot be read as one .*'images' is no array")
    refused(archive(tmp_path / "b.npz", images=b"nor these"), "cannot be read as one")
    refused(archive(tmp_path / "c.npz", images=b""), "cannot be read as one")


def test_members_that_nobody_asked_for_are_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for name, array in (("images", PIXELS), ("labels", np.arange(4))):
            buffer = io.BytesIO()
            np.save(buffer, array)
            file.writestr(f"{name}.npy", buffer.getvalue())
        file.writestr("notes.txt", "taken in spring")
        file.writestr("more.npy", head((2**50,)))
    assert len(read_npz(tmp_path / "a.npz")) == 4


@pytest.mark.parametrize(
    "images", [np.array([None, {}]), np.array(["a", "b"]), np.zeros(2, "M8[s]"), np.zeros(2, "c8")]
)
def test_arrays_of_other_things_are_refused(tmp_path, images):
    np.savez(tmp_path / "a.npz", images=images)
    refused(f"npz:{tmp_path / 'a.npz'}", "Object arrays cannot be loaded|Expected images of floats")

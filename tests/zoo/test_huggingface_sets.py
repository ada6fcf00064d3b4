"""Data sets of datasets in folders of the formats that it writes and reads."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from lesion.errors import SubjectError
from lesion.zoo import open_data, open_subject
from lesion.zoo.preprocessing import Preprocessing

hf = pytest.importorskip("datasets", reason="datasets is not installed: pip install lesion[hf]")

PIXELS = np.random.default_rng(1).integers(0, 256, (6, 12, 10, 3), np.uint8)
IMAGES = [Image.fromarray(pixels) for pixels in PIXELS]
LABELS = [0, 1, 1, 0, 1, 0]


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    """What datasets keeps of folders lies beside them."""
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def rows():
    """Two classes, a 0/1 vector, names, and a number an image."""
    kinds = {
        "image": hf.Image(),
        "label": hf.ClassLabel(names=["cat", "dog"]),
        "tags": hf.Sequence(hf.Value("float32")),
        "name": hf.Value("string"),
        "angle": hf.Value("float64"),
    }
    columns = {
        "image": IMAGES,
        "label": LABELS,
        "tags": [[0.0, 1.0, 1.0]] * 6,
        "name": ["zebra", "ape"] * 3,
        "angle": [0.1 * place for place in range(6)],
    }
    return hf.Dataset.from_dict(columns, features=hf.Features(kinds))


def expected(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def check(dataset, labels=tuple(LABELS)):
    assert [label for _, label in dataset] == list(labels)
    assert all(torch.equal(dataset[place][0], expected(PIXELS[place])) for place in (0, 5))


# --- the formats


def test_a_split_that_save_to_disk_wrote(rows, tmp_path):
    rows.save_to_disk(tmp_path / "one")
    dataset, text = open_data(f"hf:{tmp_path / 'one'}")
    check(dataset)
    assert dataset.classes == ("cat", "dog") and text == "scale to [0, 1]"


def test_the_test_split_is_taken_or_the_one_that_is_named(rows, tmp_path):
    hf.DatasetDict(train=rows.select(range(4)), test=rows).save_to_disk(tmp_path / "both")
    check(open_data(f"hf:{tmp_path / 'both'}")[0])
    assert len(open_data(f"hf:{tmp_path / 'both'}:train")[0]) == 4
    validated = hf.DatasetDict(train=rows, validation=rows.select(range(3)))
    validated.save_to_disk(tmp_path / "validated")
    assert len(open_data(f"hf:{tmp_path / 'validated'}")[0]) == 3


def test_a_folder_of_parquet_files(rows, tmp_path):
    rows.to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    rows.select(range(2)).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    check(open_data(f"hf:{tmp_path / 'data'}")[0])
    assert len(open_data(f"hf:{tmp_path / 'data'}:train")[0]) == 2


def test_parquet_files_of_others_hold_the_images_bytes(tmp_path):
    import io

    import pyarrow
    from pyarrow import parquet

    def png(image):
        file = io.BytesIO()
        image.save(file, "png")
        return {"bytes": file.getvalue(), "path": None}

    table = pyarrow.table({"img": [png(image) for image in IMAGES], "target": LABELS})
    (tmp_path / "data").mkdir()
    parquet.write_table(table, tmp_path / "data" / "a.parquet")
    dataset, _ = open_data(f"hf:{tmp_path / 'data'}")
    check(dataset)
    assert dataset.classes == ()


def test_a_folder_of_images(tmp_path):
    for place, label in enumerate(LABELS):
        path = tmp_path / "data" / "test" / ("cat", "dog")[label] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        IMAGES[place].save(path)
    dataset, _ = open_data(f"hf:{tmp_path / 'data'}")
    assert dataset.classes == ("cat", "dog")
    assert sorted(label for _, label in dataset) == sorted(LABELS)


# --- columns


@pytest.fixture
def saved(rows, tmp_path):
    rows.save_to_disk(tmp_path / "one")
    return f"hf:{tmp_path / 'one'}"


def test_labels_may_be_names_or_numbers_or_vectors(saved):
    dataset, _ = open_data(f"{saved}::image,name")
    assert dataset.classes == ("ape", "zebra")
    check(dataset, [1, 0, 1, 0, 1, 0])
    dataset, _ = open_data(f"{saved}::image,tags")
    assert torch.equal(dataset[0][1], torch.tensor([0.0, 1.0, 1.0]))
    dataset, _ = open_data(f"{saved}::image,angle")
    assert dataset[3][1].dtype == torch.float32 and float(dataset[3][1]) == pytest.approx(0.3)


def test_preprocessing_and_training_images(saved):
    preprocessing = Preprocessing(crop=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    dataset, text = open_data(saved, preprocessing)
    middle = expected(PIXELS[0])[:, 2:10, 1:9]
    assert torch.allclose(dataset[0][0], (middle - 0.5) / 0.5, atol=1e-6)
    assert text == preprocessing.text
    subject = open_subject("torchvision:squeezenet1_1", "random", saved, classes=2, crop=32,
                           train=f"{saved}::image,label")  # fmt: skip
    assert len(subject.train) == 6 and subject.class_map == ""


def test_one_channel_for_a_network_of_one(saved):
    subject = open_subject("demo:resnet20", "random", saved, classes=2, mean=[0.5], std=[0.5])
    assert subject.example[0].shape == (2, 1, 12, 10)


def test_the_classes_of_a_data_set_go_by_name_too(rows, tmp_path):
    names = rows.cast_column("label", hf.ClassLabel(names=["n02102040", "n01440764"]))
    names.save_to_disk(tmp_path / "nette")
    subject = open_subject("torchvision:squeezenet1_1", "random", f"hf:{tmp_path / 'nette'}",
                           crop=32)  # fmt: skip
    assert [label for _, label in subject.images.dataset] == [(217, 0)[x] for x in LABELS]


def test_a_network_of_the_hub_says_how_its_images_are_made(saved, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(depths=[1], hidden_sizes=[8], embedding_size=8,
                                       layer_type="basic", num_labels=2)  # fmt: skip
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "net")
    size = {"height": 16, "width": 16}
    processor = transformers.ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.1] * 3)
    processor.save_pretrained(tmp_path / "net")
    subject = open_subject(f"hf:{tmp_path / 'net'}", "default", saved)
    assert subject.preprocessing.startswith("resize 16×16 bilinear, scale to [0, 1], mean 0.5 0.5")
    assert subject.example[0].shape == (2, 3, 16, 16)
    assert list(subject.images.batches([[0, 1], [2]]))[1][1].tolist() == [1]


def test_processes_read_a_data_set(saved):
    subject = open_subject("torchvision:squeezenet1_1", "random", saved, classes=2, crop=32,
                           workers=1)  # fmt: skip
    assert [labels.tolist() for _, labels in subject.images.batches([[0, 1], [2]])] == [[0, 1], [1]]


# --- what is refused


def refused(data, text, network="torchvision:squeezenet1_1", **options):
    with pytest.raises(SubjectError, match=text) as caught:
        open_subject(network, "random", str(data), crop=32, **{"classes": 2, **options})
    assert "\n" not in str(caught.value)


def test_what_cannot_be_found(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(
        f"hf:{tmp_path}/empty", r"a data set of datasets .* at hf:.*empty, .* but: The director"
    )
    refused(f"hf:{tmp_path}/nowhere", "but: Couldn't find any data file at")
    refused("hf:", "Expected the data as .*, got 'hf:'; check the name")
    refused(f"{saved}:train", "Expected the split 'train' in .*, found one set of images without")


def test_splits_and_columns_that_are_not_there(rows, tmp_path):
    hf.DatasetDict(a=rows, b=rows).save_to_disk(tmp_path / "d")
    place = f"hf:{tmp_path / 'd'}"
    refused(place, r"Expected a split of .* \(a, b\), got ''; name one: hf:.*/d:a\.")
    refused(f"{place}:test", r"\(a, b\), got 'test'")
    refused(
        f"{place}:a:photo,label", "of the columns image, label, tags, name, angle, got 'photo,l"
    )
    refused(f"{place}:a:image,label,name", "one column of images and one of labels in")
    refused(f"{place}:a:angle,label", "Expected images in the column 'angle' of .*, but its first")
    refused(f"{place}:a:name,label", "Expected images in the column 'name' of .*, but its first")


def test_labels_that_are_no_classes(saved):
    refused(f"{saved}::image,angle", r"Expected labels that are class numbers .*got float32 \(2,\)")
    refused(f"{saved}::image,tags", r"class numbers .*float32 \(2, 3\).*--score FILE.py:FUNCTION")
    refused(f"{saved}::image", "Expected a column of labels in .*, found image; name it")
    subject = open_subject("torchvision:squeezenet1_1", "random", f"{saved}::image", crop=32,
                           classes=2, score="agreement")  # fmt: skip
    assert subject.tally.labelled is False


def test_labels_that_are_not_public(rows, tmp_path):
    hidden = rows.remove_columns("label").add_column("label", [-1] * 6)
    kinds = hidden.features.copy()
    kinds["label"] = hf.ClassLabel(names=["cat", "dog"])
    hidden.cast(kinds).save_to_disk(tmp_path / "hidden")
    refused(f"hf:{tmp_path / 'hidden'}", "got -1 for every image, which says that they are not pub")


def test_columns_that_cannot_be_told(rows, tmp_path):
    two = hf.Features(a=hf.Image(), b=hf.Image(), label=hf.Value("int64"))
    columns = {"a": IMAGES, "b": IMAGES, "label": LABELS}
    hf.Dataset.from_dict(columns, features=two).save_to_disk(tmp_path / "two")
    place = f"hf:{tmp_path / 'two'}"
    refused(
        place, "Expected columns of images and labels that can be told in .*, found a, b, label"
    )
    check(open_data(f"{place}::b,label")[0])


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SubjectError, match="Expected datasets, which --data hf:NAME needs, but it"):
        open_data("hf:x")

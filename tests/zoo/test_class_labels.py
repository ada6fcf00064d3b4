"""Which output each class of the data is: by a map, by name, by order, or refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import models
from torchvision.datasets import imagenette

from lesion.errors import SubjectError
from lesion.zoo import class_names, open_subject

WNIDS = tuple(sorted(imagenette.Imagenette._WNID_TO_CLASS))
OUTPUTS = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)  # as fast.ai lists them
NETWORK = """
import torch
def make(outputs={}):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(4, outputs))
"""


@pytest.fixture
def make(tmp_path):
    """A function that makes data of these class folders, and the text of a network."""

    def folders(*names, images=1):
        root = tmp_path / "data"
        for place, name in enumerate(names):
            (root / name).mkdir(parents=True)
            for number in range(images):
                pixels = np.full((8, 8, 3), 8 * place + number, np.uint8)
                Image.fromarray(pixels).save(root / name / f"{number}.png")
        return f"imagefolder:{root}"

    return folders


@pytest.fixture
def network(tmp_path):
    def of(outputs):
        file = tmp_path / f"net{outputs}.py"
        file.write_text(NETWORK.format(outputs))
        return f"{file}:make"

    return of


@pytest.fixture
def mapped(tmp_path):
    def written(content, suffix="json"):
        file = tmp_path / f"map.{suffix}"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    return written


def labels(subject):
    return [label for _, label in subject.images.dataset]


# --- by name


def test_imagenets_folders_are_the_outputs_that_torchvisions_categories_say(make, network):
    pytest.importorskip("timm")
    subject = open_subject(network(1000), None, make(*WNIDS))
    categories = models.get_model_weights("resnet18")["DEFAULT"].meta["categories"]
    names = [imagenette.Imagenette._WNID_TO_CLASS[wnid] for wnid in WNIDS]
    pairs = zip(labels(subject), names, strict=True)
    assert all(categories[output] in synonyms for output, synonyms in pairs)
    assert tuple(labels(subject)) == OUTPUTS
    assert subject.class_map == " ".join(map(str, OUTPUTS))


def test_without_timm_imagenets_folders_ask_for_it_or_for_a_map(make, network, monkeypatch, mapped):
    monkeypatch.setitem(sys.modules, "timm", None)
    data = make(*WNIDS)
    with pytest.raises(SubjectError, match=r"found 10 \(n01440764, n02102040, n02979186, …\); ins"
                       r"tall timm, .*\[timm\]\"\), say with --class-map FILE which"):  # fmt: skip
        open_subject(network(1000), None, data)
    file = mapped(dict(zip(WNIDS, OUTPUTS, strict=True)))
    assert tuple(labels(open_subject(network(1000), None, data, class_map=file))) == OUTPUTS


def test_folders_are_the_networks_classes_however_they_are_written(make):
    subject = open_subject("demo:resnet20", None, make("Ankle_Boot", "bag"))
    assert labels(subject) == [9, 8]  # of Fashion-MNIST's classes


def test_a_folder_that_is_no_class_of_the_networks_is_named(make):
    data = make("bag", "t-shirt")
    with pytest.raises(SubjectError, match=r"'t-shirt' in .* is none of them; did you mean"):
        open_subject("demo:resnet20", None, data)


def test_as_many_folders_as_outputs_still_go_by_name(make):
    names = [name for name in class_names.FASHION_MNIST if "/" not in name]
    data = make(*names)
    assert labels(open_subject("demo:resnet20", None, data)) == [
        class_names.FASHION_MNIST.index(name) for name in sorted(names)
    ]
    make_more = Path(data.partition(":")[2]) / "top"
    make_more.mkdir()
    (make_more / "0.png").write_bytes((make_more.parent / "bag" / "0.png").read_bytes())
    with pytest.raises(SubjectError, match=r"'top' in .* is none of them; rename it, or say"):
        open_subject("demo:resnet20", None, data)


def test_the_classes_of_a_configuration_of_transformers(make, tmp_path):
    hf = pytest.importorskip("transformers")
    config = hf.ResNetConfig(
        depths=[1], hidden_sizes=[8], embedding_size=8, layer_type="basic",
        id2label={0: "tabby, tabby cat", 1: "dog", 2: "bird"},
        label2id={"tabby, tabby cat": 0, "dog": 1, "bird": 2},
    )  # fmt: skip
    hf.ResNetForImageClassification(config).save_pretrained(tmp_path / "net")
    subject = open_subject(f"hf:{tmp_path / 'net'}", "default", make("bird", "tabby_cat"))
    assert labels(subject) == [2, 0] and subject.class_map == "2 0"


@pytest.mark.parametrize("count", [2, 4])
def test_folders_are_missed_only_where_there_are_too_few(make, network, count):
    with pytest.raises(SubjectError, match=f"Expected 3 classes in .* found {count} ") as caught:
        open_subject(network(3), None, make(*"abcd"[:count]))
    assert ("add the missing folders" in str(caught.value)) == (count < 3)


def test_a_name_of_several_classes_is_none(make, network):
    pytest.importorskip("timm")
    data = make("crane", "tench")  # a bird, and a machine
    with pytest.raises(SubjectError, match=r"Expected 1000 classes in .*'crane' is no class that"):
        open_subject(network(1000), None, data)


def test_folders_without_images_are_no_classes_beside_named_ones(make):
    data = make("bag", "coat")
    (Path(data.partition(":")[2]) / "__MACOSX").mkdir()
    assert labels(open_subject("demo:resnet20", None, data)) == [8, 4]


# --- by a map


MAPS = {
    "names": ({"a": 4, "b": 0}, "json"),
    "by_output": ({"0": "b", "4": ["n0", "a"]}, "json"),
    "list": (["b", "x", "y", "z", "a"], "json"),
    "csv": ("folder,output\na,4\nb,0\n", "csv"),
    "bare_csv": ("a,4\n\nb,0", "csv"),
    "lines": ("b something, else\n\n\n\na\n", "txt"),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_says_which_outputs_the_folders_are(make, network, mapped, name):
    file = mapped(*MAPS[name])
    subject = open_subject(network(5), None, make("a", "b"), class_map=file)
    assert labels(subject) == [4, 0] and subject.class_map == "4 0"
    assert subject.example[1].tolist() == [4, 0]


def test_training_images_are_mapped_alike(make, network, mapped):
    data = make("a", "b")
    file = mapped({"a": 4, "b": 0})
    subject = open_subject(network(5), None, data, class_map=file, train=data)
    assert [label for _, label in subject.train.dataset] == [4, 0]


def test_many_classes_are_told_by_a_digest(make, network, mapped):
    names = [f"c{place:02}" for place in range(30)]
    file = mapped({name: 31 - place for place, name in enumerate(names)})
    subject = open_subject(network(40), None, make(*names), class_map=file)
    assert subject.class_map.startswith("30 classes, ") and labels(subject)[:2] == [31, 30]


BAD_MAPS = {
    "missing": ({"a": 0}, "json", "one output for the class 'b' in the class map .*, found none;"),
    "beyond": ({"a": 0, "b": 5}, "json", "outputs from 0 to 4 in .*, got 5 for the class 'b'"),
    "below": ("a,0\nb,-1", "csv", "outputs from 0 to 4 in .*, got -1 for the class 'b'"),
    "twice": ("a,0\na,1\nb,2", "csv", "class 'a' in .*, found the outputs 0, 1; drop the others"),
    "damaged": ("{", "json", "Expected a class map as a .json .*, but .* cannot be read as one"),
    "fraction": ({"a": 0.5, "b": 1}, "json", r"\(\{\"a\": 0.5\} is neither"),
    "number": ("7", "json", "it holds no names"),
    "columns": ("a,1,2", "csv", "'a,1,2' is no folder,output"),
    "empty": ("", "csv", "it holds no names"),
    "blank": ("\n\n", "txt", "it holds no names"),
    "bytes": ("a\0,1\nb,2", "csv", "class 'a'"),
    "yaml": ("a: 1", "yaml", "got .*map.yaml; rename or convert it"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MAPS)
def test_a_map_that_is_none_is_refused(make, network, mapped, name):
    content, suffix, text = BAD_MAPS[name]
    with pytest.raises(SubjectError, match=text) as caught:
        open_subject(network(5), None, make("a", "b"), class_map=mapped(content, suffix))
    assert "\n" not in str(caught.value)


def test_a_map_needs_a_file_and_classes_with_names(make, network, mapped, tmp_path):
    with pytest.raises(SubjectError, match=r"Expected a class map at nowhere.json, found no file"):
        open_subject(network(5), None, make("a", "b"), class_map="nowhere.json")
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3, 8, 8), np.float32), y=np.arange(2))
    with pytest.raises(SubjectError, match="Expected data whose classes have names for the class"):
        open_subject(network(5), None, f"npz:{tmp_path}/a.npz", class_map=mapped({"a": 1}))


def test_a_score_of_the_users_takes_folders_by_order_where_there_is_no_map(
    make, network, mapped, tmp_path
):
    (tmp_path / "score.py").write_text(
        "def near(outputs, targets):\n    return 1 / (1 + (outputs.argmax(1) - targets).abs())\n"
    )
    data, score = make("a", "b"), f"{tmp_path / 'score.py'}:near"
    assert labels(open_subject(network(5), None, data, score=score)) == [0, 1]
    file = mapped({"a": 4, "b": 2})
    assert labels(open_subject(network(5), None, data, score=score, class_map=file)) == [4, 2]

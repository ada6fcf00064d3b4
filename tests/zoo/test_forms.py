"""The forms of --network and --weights, and what they have in common with --data."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from torchvision.transforms import functional as F

from lesion.errors import SubjectError
from lesion.subject.subject import Subject
from lesion.subject.weights import fingerprint
from lesion.zoo import demo, fashion_mnist, networks, open_data, open_network, open_subject

NETWORK = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
    def forward(self, x):
        return self.fc(x.flatten(1))

def make():
    return Net()

def data():
    return TensorDataset(torch.arange(20.).view(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1]))

def loader():
    return DataLoader(data(), batch_size=2, num_workers=1)

def pairs():
    return [(torch.zeros(1, 2, 2), 2)]

def stream():
    return iter(())

def fails():
    raise KeyError("nothing here")

def needs(argument):
    return Net()

network = Net()
number = 5
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(NETWORK)
    return path


def refused(text, network="demo:resnet20", weights="random", data="demo:fashion-mnist", **options):
    with pytest.raises(SubjectError, match=text) as caught:
        open_subject(network, weights, data, **options)
    assert "\n" not in str(caught.value)


# --- bundled networks


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """Weights in place of the shipped ones."""
    for name, make in demo.NETWORKS.items():
        save_file(make(channels=1).state_dict(), tmp_path / f"{name}.safetensors")
    monkeypatch.setattr(demo, "weights_file", lambda name: tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.mark.parametrize("weights", [None, "default"])
@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_bundled_networks_bring_weights_and_preprocessing(shipped, name, weights):
    network, preprocessing = open_network(f"demo:{name}", weights)
    expected = demo.NETWORKS[name](channels=1)
    demo.checkpoints.load(expected, shipped / f"{name}.safetensors")
    assert fingerprint(network) == fingerprint(expected)
    assert (preprocessing.mean, preprocessing.std) == ((fashion_mnist.MEAN,), (fashion_mnist.STD,))


def test_the_place_of_shipped_weights_is_in_the_package():
    assert demo.weights_file("resnet20").parent.parent == Path(demo.__file__).parent


def test_a_whole_bundled_subject(shipped):
    subject = open_subject("demo:resnet20", None, "demo:fashion-mnist")
    images, labels = fashion_mnist.bundled()
    batch = subject.images.batch([9999, 5])
    assert torch.equal(batch[0], fashion_mnist.normalise(images[[9999, 5]]))
    assert torch.equal(subject.targets(batch), labels[[9999, 5]])
    assert subject.name == "demo:resnet20 on demo:fashion-mnist"
    assert subject.preprocessing == "scale to [0, 1], mean 0.286, std 0.353"
    assert (len(subject.images), subject.classes) == (10_000, 10)


def test_a_bundled_network_takes_other_weights(tmp_path):
    source = networks.resnet20(channels=1, classes=4)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    network, _ = open_network("demo:resnet20", str(tmp_path / "w.pt"), classes=4)
    assert fingerprint(network) == fingerprint(source)


def test_an_unknown_bundled_network_is_an_error():
    refused(r"Expected demo:resnet20 or demo:resnet56, got demo:resnet18", "demo:resnet18")


# --- torchvision


def test_a_named_network_needs_weights():
    refused(
        r"Expected weights for torchvision:resnet18, .* got none; add --weights default",
        "torchvision:resnet18", weights=None,
    )  # fmt: skip
    refused(r"Expected weights for timm:resnet18, .* got none", "timm:resnet18", weights=None)


def test_random_weights_follow_the_seed_and_leave_torchs_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    seeds = (0, 0, 1)
    opened = [open_network("torchvision:squeezenet1_1", "random", seed=s) for s in seeds]
    prints = [fingerprint(network) for network, _ in opened]
    assert prints[0] == prints[1] != prints[2]
    assert torch.equal(torch.rand(1), expected)
    assert opened[0][1] is None


def test_a_file_of_weights_for_a_named_network(tmp_path):
    source = models.squeezenet1_1(num_classes=4)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "w.pth")
    file = str(tmp_path / "w.pth")
    network, preprocessing = open_network("torchvision:squeezenet1_1", file, classes=4)
    assert fingerprint(network) == fingerprint(source) and preprocessing is None
    refused(r"do not fit: 'classifier.1.weight' is \(4, 512, 1, 1\) instead of \(1000",
            "torchvision:squeezenet1_1", file)  # fmt: skip


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Random weights of SqueezeNet where torch keeps what it fetched."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    path.parent.mkdir()
    torch.save(models.squeezenet1_1().state_dict(), path)
    return path


@pytest.mark.parametrize("weights", ["default", "DEFAULT", "IMAGENET1K_V1"])
def test_pretrained_weights_bring_their_preprocessing(cached, weights):
    network, preprocessing = open_network("torchvision:squeezenet1_1", weights)
    state = torch.load(cached, weights_only=True)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
    photo = F.to_pil_image(torch.randint(0, 256, (3, 300, 270), dtype=torch.uint8))
    expected = models.SqueezeNet1_1_Weights.DEFAULT.transforms()(photo)
    assert torch.equal(preprocessing(photo), expected)


def test_a_cached_pickle_with_code_does_not_run(cached, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "traces"), "w"))

    torch.save({"x": Bomb()}, cached)
    with pytest.raises(
        SubjectError, match=r"plain weights from https:.*b8a52dc0.*can run code; rem"
    ):
        open_network("torchvision:squeezenet1_1", "default")
    assert not (tmp_path / "traces").exists()


def test_weights_that_cannot_be_fetched_are_an_error(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    refused(r"Expected to fetch https:.*no route to host; put the file into",
            "torchvision:squeezenet1_1", "default")  # fmt: skip


def test_pretrained_weights_keep_their_classes():
    refused(
        r"Expected 1000 classes, .*got 10; leave", "torchvision:resnet18", "default", classes=10
    )


def test_unknown_weights_show_the_known_ones():
    refused(r"Expected weights for resnet50: default, random, IMAGENET1K_V1, IMAGENET1K_V2 or a "
            r"file, got 'IMAGENET1K_V3', which is no file", "torchvision:resnet50",
            "IMAGENET1K_V3")  # fmt: skip


def test_an_unknown_torchvision_network_shows_close_names():
    refused(r"network of torchvision, got 'resnet19'; did you mean resnet1", "torchvision:resnet19")
    refused(r"got 'deeplabv3_resnet50'", "torchvision:deeplabv3_resnet50")


@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18", "file.py", "a:", ""])
def test_an_unknown_form_of_network_shows_the_forms(name):
    refused(r"Expected the network as demo:resnet20, .*PACKAGE\.MODULE:FACTORY, got '", name)


def test_a_bare_name_of_torchvision_is_recognised():
    refused(r"did you mean torchvision:resnet18\?", "resnet18")


def test_a_file_without_its_function_is_told_how_to_name_it():
    hint = r"name its function behind a colon, such as my_model\.py:make\.$"
    refused(hint, "my_model.py")
    refused(hint, data="my_model.py")


# --- factories


@pytest.mark.parametrize("name", ["make", "Net", "network"])
def test_a_network_from_a_file(file, name):
    network, preprocessing = open_network(f"{file}:{name}")
    assert type(network).__name__ == "Net" and preprocessing is None


def test_a_file_runs_once_and_its_random_weights_follow_the_seed(file):
    first, again, reseeded = (open_network(f"{file}:make", seed=seed)[0] for seed in (0, 0, 1))
    assert type(first) is type(again) is type(reseeded)
    assert fingerprint(first) == fingerprint(again) != fingerprint(reseeded)


def test_a_network_and_data_from_a_file_with_weights(file, tmp_path):
    state = {"fc.weight": torch.eye(3, 4), "fc.bias": torch.zeros(3)}
    save_file(state, tmp_path / "w.safetensors")
    subject = open_subject(f"{file}:make", str(tmp_path / "w.safetensors"), f"{file}:data")
    outputs = subject.outputs(subject.network, subject.images.batch([1]))
    assert outputs.tolist() == [[4.0, 5.0, 6.0]]
    assert subject.preprocessing == f"as {file}:data gives them"


def test_a_loader_from_a_file_keeps_its_workers(file):
    assert open_subject(f"{file}:make", None, f"{file}:loader").images.workers == 1
    assert open_subject(f"{file}:make", None, f"{file}:loader", workers=0).images.workers == 0
    assert open_subject(f"{file}:make", None, f"{file}:data", workers=2).images.workers == 2


def test_anything_with_an_index_is_data(file):
    assert len(open_subject(f"{file}:make", None, f"{file}:pairs").images) == 1


def test_a_package_is_found_from_the_current_folder(tmp_path, monkeypatch):
    package = tmp_path / "planted_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    subject = open_subject("planted_package.nets:make", None, "planted_package.nets:data")
    assert isinstance(subject, Subject) and isinstance(subject.network, nn.Module)
    assert sys.path == before


def test_a_file_imports_its_neighbours(file):
    (file.parent / "neighbour_of_mine.py").write_text(NETWORK)
    file.write_text("from neighbour_of_mine import make")
    assert type(open_network(f"{file}:make")[0]).__name__ == "Net"


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("nowhere.py:make", r"Expected a Python file at .*nowhere\.py, found none"),
        ("no.such.module:make", r"no\.such\.module raised ModuleNotFoundError: No module named"),
        ("{}:mak", r"Expected a function 'mak' in .*, found .*make, data, loader"),
        ("{}:fails", r"but it raised KeyError: 'nothing here'; mend the function"),
        ("{}:needs", r"callable without arguments, but it raised TypeError: .*'argument'"),
        ("{}:number", r"to return a torch\.nn\.Module, got int"),
        ("{}:data", r"to return a torch\.nn\.Module, got TensorDataset"),
    ],
)
def test_a_factory_that_does_not_work_is_an_error(file, reference, text):
    refused(text, reference.format(file), None)


def test_a_file_that_fails_can_be_mended_and_read_again(file):
    file.write_text("1 / 0")
    refused(r"mine\.py raised ZeroDivisionError: division by zero; mend it", f"{file}:make", None)
    file.write_text(NETWORK)
    assert isinstance(open_network(f"{file}:make")[0], nn.Module)


def test_options_that_mean_nothing_for_a_factory_are_errors(file):
    refused(r"for named networks only, got 5", f"{file}:make", None, classes=5)
    refused(r"Expected a file of weights for .*, got 'random'; leave", f"{file}:make", "random")
    refused(r"Expected no preprocessing for .*items are taken as they are",
            f"{file}:make", None, f"{file}:data", crop=2)  # fmt: skip


def test_data_that_cannot_be_read_by_index_are_refused(file):
    refused(r"images are read by index", f"{file}:make", None, f"{file}:stream")


# --- data forms in general


@pytest.mark.parametrize(
    "data",
    ["demo:mnist", "fashion-mnist", "imagefolder:", "torchvision:CIFAR10", "npz:", "x.npz", ""],
)
def test_an_unknown_form_of_data_shows_the_forms(data):
    refused(r"Expected the data as demo:fashion-mnist, .*FILE\.py:FACTORY .*, got '", data=data)


def test_data_that_are_only_a_path_are_told_their_form(tmp_path):
    refused(rf"got '{tmp_path}'; did you mean imagefolder:{tmp_path}\?$", data=str(tmp_path))
    refused(r"did you mean npz:x\.npz\?$", data="x.npz")


def test_whose_preprocessing_it_is(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 8, 8), np.uint8), y=np.arange(2))
    npz, plain, bundled = f"npz:{tmp_path / 'a.npz'}", "scale to [0, 1]", demo.PREPROCESSING.text
    assert open_data(npz)[1] == plain
    assert open_data(npz, demo.PREPROCESSING)[1] == bundled
    assert open_data("demo:fashion-mnist")[1] == bundled
    flags = {"resize": 9, "crop": 8, "mean": [0.5], "std": [0.5]}
    assert open_data("demo:fashion-mnist", demo.PREPROCESSING, **flags)[1] == (
        "resize 9 bilinear, crop 8, scale to [0, 1], mean 0.5, std 0.5"
    )


def test_flags_reach_the_images():
    subject = open_subject("demo:resnet20", "random", "demo:fashion-mnist", resize=36, crop=20)
    assert subject.example[0].shape == (2, 1, 20, 20)
    assert subject.preprocessing.startswith("resize 36 bilinear, crop 20, ")

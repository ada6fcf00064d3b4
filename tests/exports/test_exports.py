"""One body over all targets, and how targets are found."""

import json
import sys
from importlib import invalidate_caches

import allocations
import pytest
import removal
from safetensors import safe_open

from lesion.errors import LesionError
from lesion.exports.export import export
from lesion.exports.targets import Handover, names, target

BUILT_IN = [
    "csv", "fasterai", "json", "markdown", "masks", "nni", "torch-prune", "torch-pruning", "yaml",
]  # fmt: skip
ON_THE_NETWORK = ["torch-prune", "torch-pruning"]
QUANTISERS = ["aimet", "modelopt", "nncf", "onnxruntime", "tensorrt", "torchao"]
ALL = sorted(BUILT_IN + QUANTISERS)


@pytest.fixture(scope="module")
def case():
    return removal.small("one_dimension")


@pytest.fixture(scope="module")
def rates(case):
    return allocations.by_channels(case.dissection.anatomy, {"a": [1, 4, 6], "d": [0]})


def test_the_targets():
    assert names() == ALL
    assert all(target(name).SUFFIX.startswith(".") for name in names())


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_export_carries_subject_and_guarantee(name, case, rates, tmp_path):
    path = tmp_path / f"rates{target(name).SUFFIX}"
    before = {key: value.clone() for key, value in case.network.state_dict().items()}
    content = export(rates, name, path, network=case.network, example=case.x)
    written = path.read_bytes()
    assert written == (content if isinstance(content, bytes) else content.encode())
    if isinstance(content, bytes):
        with safe_open(path, "np") as file:
            said = file.metadata()
        assert json.loads(said["subject"]) == allocations.SUBJECT
        assert said["guarantee"] == allocations.GUARANTEE
    else:
        assert allocations.GUARANTEE in content
        assert "3f5a" in content
    after = case.network.state_dict()
    assert before.keys() == after.keys()
    assert all((value == after[key]).all() for key, value in before.items())


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in ON_THE_NETWORK])
def test_what_needs_only_the_rates(name, rates):
    assert export(rates, name)


@pytest.mark.parametrize("name", ON_THE_NETWORK)
def test_what_needs_the_network(name, rates):
    with pytest.raises(LesionError) as error:
        export(rates, name)
    assert str(error.value) == (
        f"Expected the network and a batch for an export to {name}, because it is resolved on the "
        "network itself; give network=… and example=… (--network, --data)."
    )


def test_an_unknown_target(rates):
    with pytest.raises(LesionError) as error:
        export(rates, "torchpruning")
    assert str(error.value) == (
        f"Expected an export target ({', '.join(ALL)}), got 'torchpruning'; did you mean "
        "torch-pruning?"
    )


def test_a_file_that_cannot_be_written(rates, tmp_path):
    with pytest.raises(LesionError, match=r"but there is no folder .*nowhere; make it"):
        export(rates, "json", tmp_path / "nowhere" / "rates.json")


def install(folder, monkeypatch, module):
    """A package as pip leaves it: a module, and metadata with entry points."""
    (folder / "their_pruner.py").write_text(module)
    metadata = folder / "their_pruner-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-pruner\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[lesion.exports]\ntheirs = their_pruner\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "their_pruner", raising=False)
    invalidate_caches()


def test_a_target_of_another_package(rates, tmp_path, monkeypatch):
    install(
        tmp_path,
        monkeypatch,
        """
SUFFIX = ".txt"
def content(given):
    return " ".join(given.allocation.filters)
""",
    )
    assert "theirs" in names()
    assert export(rates, "theirs", tmp_path / "rates.txt") == "a d"
    assert target("theirs").content(Handover(rates)) == "a d"


@pytest.mark.parametrize(("module", "text"), [
    ("import nothing_of_that_name", "theirs of their_pruner to load, but it fails (ModuleNotFound"),
    ("SUFFIX = '.txt'", "theirs to have SUFFIX and content, but their_pruner lacks one of them"),
])  # fmt: skip
def test_a_broken_target_of_another_package(module, text, rates, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, module)
    with pytest.raises(LesionError) as error:
        export(rates, "theirs")
    assert text in str(error.value)

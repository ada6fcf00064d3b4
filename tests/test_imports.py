"""Imports go one way along the pipeline, and what judges needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lesion

ROOT = Path(lesion.__file__).parent
# each station may import those above it, and others on its own line as long as no circle arises
PIPELINE = (
    "harmless",
    "errors",
    "texts",
    "arguments",
    "boundary",
    "writing",
    "anatomy outcomes intervals wording question",
    "aim amounts process",
    "plan cost",
    "betting growth inversion",
    "strata beliefs",
    "adaptive",
    "sequential",
    "adapter copying functional graph ground_truth images snapshot tally tracing weights",
    "chance",
    "alike changeable readiness",
    "subject",
    "training recording",
    "recovery",
    "rewriting",
    "constants",
    "lowering sharing unseen",
    "channels signatures",
    "walk",
    "lost rules",
    "coupling terms",
    "stages units parameter_axes",
    "dissect plugins",
    "criteria replay statistics",
    "removal scoring rows",
    "keeping memory readers",
    "edits",
    "damage engine",
    "hooks",
    "cells database header seals",
    "ledger catalogue notes",
    "study measure recovered schedule",
    "activations spending drops runners workers",
    "deciding",
    "merging identity reading advice",
    "curves evidence goals",
    "classes comparison judging",
    "budget candidates allocation",
    "accounting",
    "solving",
    "knobs",
    "shifts",
    "predicting searching",
    "calibration within",
    "allocating verification",
    "choices plots",
    "running",
    "preparing",
    "sweeping",
    "together",
    "interactions verifier refining calibrating rivals latency",
    "closed_loop levelling",
    "verifying frontier",
    "evaluation outlook",
    "shares masking matching",
    "ownership",
    "grouping",
    "exports",
    "applying",
    "zoo",
    "options",
    "showing",
    "attended",
    "commands",
    "cli",
)
LEVEL = {name: level for level, line in enumerate(PIPELINE) for name in line.split()}
# inside a folder, where its modules build on each other
FOLDERS = {
    "rules": (
        "__init__",
        "opaque",
        "elementwise",
        "layers moves norms pooling products reductions",
    ),
    "options": (
        "values",
        "files goals joint lesions means rates recovery subject",
        "__init__",
    ),
    "commands": ("__init__", "records", "rates recalling", "rating reading", "handing measuring"),
}
NO_TORCH = [
    "harmless", "errors", "texts", "writing", "arguments", "boundary", "anatomy", "outcomes",
    "aim", "amounts", "plan", "cost", "cells", "seals", "database", "header", "ledger", "study",
    "catalogue", "notes",
    "merging", "intervals", "question", "process", "betting", "strata", "growth", "beliefs",
    "adaptive", "inversion", "sequential", "schedule", "spending", "drops", "deciding",
    "reading", "goals", "curves", "classes", "comparison", "evidence", "wording", "advice",
    "judging", "budget", "candidates", "calibration", "allocation", "accounting", "solving",
    "knobs", "shifts", "predicting", "searching", "within", "allocating", "shares", "masking",
    "exports", "plots",
]  # fmt: skip
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imported(file):
    """The modules that a file imports, dotted; those for types alone left out."""
    tree = ast.parse((ROOT / file).read_text())
    typing = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            yield node.module
            if node.module == "lesion":
                yield from (f"lesion.{name.name}" for name in node.names)


def station(module):
    """The part of the pipeline that a dotted name belongs to; "" for none."""
    parts = [*module.split("."), ""]
    return parts[1] if parts[0] == "lesion" and parts[1] in LEVEL else ""


def test_every_module_has_its_place():
    stations = {file.parts[0].removesuffix(".py") for file in FILES} - {"__init__", "__main__"}
    assert stations - LEVEL.keys() == set(), "add it to the pipeline"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_go_one_way(file):
    own = file.parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    for module in imported(file):
        other = station(module)
        if other and other != own:
            assert LEVEL[other] <= LEVEL[own], f"{file} imports {module}, which lies behind it"


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_go_one_way_inside_a_folder(folder):
    level = {name: n for n, line in enumerate(FOLDERS[folder]) for name in line.split()}
    files = [file for file in FILES if file.parts[0] == folder]
    assert {file.stem for file in files} == level.keys(), "add it to the folder's order"
    for file in files:
        for module in imported(file):
            *parents, name = module.split(".")
            if parents == ["lesion", folder]:
                assert level[name] < level[file.stem], f"{file} imports {module}"


def test_there_is_no_circle():
    reads = {}
    for file in FILES:
        own = file.parts[0].removesuffix(".py")
        others = {station(module) for module in imported(file)} - {"", own}
        reads.setdefault(own, set()).update(others)
    reads.pop("__init__", None)
    while reads:
        free = {own for own, others in reads.items() if not others & reads.keys()}
        assert free, f"a circle among {sorted(reads)}"
        reads = {own: others for own, others in reads.items() if own not in free}


def naming(package):
    """The files that import a package."""
    return [file for file in FILES if any(name.split(".")[0] == package for name in imported(file))]


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_only_the_zoo_knows_the_subjects_packages(package):
    assert {file.parts[0] for file in naming(package)} <= {"zoo"}


def test_optional_packages_are_named_in_one_file_each():
    for package in ("timm", "torch_pruning", "ray"):
        assert len(naming(package)) <= 1, package


BLOCKED = """
import importlib, sys, types
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Refusing())
package = types.ModuleType("lesion")  # without its __init__, which offers everything
package.__path__ = [sys.argv[1]]
sys.modules["lesion"] = package
for name in sys.argv[2:]:
    importlib.import_module(f"lesion.{name}")
try:
    importlib.import_module("lesion.engine")
except ImportError:
    print("blocked")
"""


def test_what_judges_needs_no_torch():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(ROOT), *NO_TORCH], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("blocked\n", "")

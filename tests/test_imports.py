"""The shape of the code: imports go one way, reading a study needs no torch, files stay small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lesion
from lesion import zoo

ROOT = Path(lesion.__file__).parent
# from the ground up: a package imports those above it; those on one line know nothing of each other
ORDER = (
    "harmless",
    "errors methods words",
    "boundary",
    "compression plugins",
    "subject sequential",
    "network",
    "lesions",
    "study engine",
    "results sweeps",
    "rates",
    "joint",
    "exports",
    "reports zoo",
    "cli",
    "__main__",
)
LEVEL = {name: level for level, line in enumerate(ORDER) for name in line.split()}
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
TREES = {file: ast.parse((ROOT / file).read_text()) for file in FILES}
FACES = {"__init__", "sequential", "zoo"}  # packages that offer names of their modules
# packages that need torch nowhere, and modules of others that do not
NO_TORCH = (
    "boundary sequential study results reports",
    "subject.outcomes subject.set_score network.anatomy network.cost",
    "compression.footprint lesions.layer_damage lesions.weight_damage lesions.input_damage",
    "lesions.amounts lesions.lesion lesions.damage lesions.pruned_cost lesions.ratios",
    "lesions.targets sweeps.goals sweeps.work",
    "rates.allocate rates.allocation rates.budget rates.calibration rates.candidates rates.costs",
    "rates.knobs rates.latency rates.local_search rates.margins rates.milp rates.optimise",
    "rates.prediction rates.recommend",
    "exports.export exports.layer_ratios exports.origin exports.targets exports.widths",
    "network.parameter_masks",
)


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, dotted: early, late, and for types alone."""
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            yield node.module
            if (ROOT.parent / node.module.replace(".", "/")).is_dir():
                yield from (f"{node.module}.{name.name}" for name in node.names)


def package(name: str) -> str:
    """The package (or module at the top) that a dotted name belongs to; "" for none of these."""
    first, *rest = name.split(".")
    return rest[0] if first == "lesion" and rest and rest[0] in LEVEL else ""


def own(file: Path) -> str:
    """The package (or module at the top) that a file belongs to."""
    return file.parts[0].removesuffix(".py")


def module(file: Path) -> str:
    """A file's dotted name."""
    return ".".join(["lesion", *file.with_suffix("").parts]).removesuffix(".__init__")


def test_the_order_is_short_and_every_package_has_its_place():
    assert len(ORDER) <= 20
    assert {own(file) for file in FILES} - {"__init__"} == LEVEL.keys(), "mend the order"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_go_one_way(file):
    if own(file) == "__init__":
        return
    for name in imported(file):
        other = package(name)
        if other and other != own(file):
            assert LEVEL[other] < LEVEL[own(file)], f"{file} imports {name}, which lies behind it"


def test_there_is_no_circle():
    names = {module(file) for file in FILES}
    reads = {
        module(file): {name for name in imported(file) if name in names} - {module(file)}
        for file in FILES if file.stem != "__init__"
    }  # fmt: skip
    while reads:
        free = {name for name, others in reads.items() if not others & reads.keys()}
        assert free, f"a circle among {sorted(reads)}"
        reads = {name: others for name, others in reads.items() if name not in free}


def test_packages_import_nothing_when_they_are_entered():
    full = [
        str(file) for file in FILES
        if file.stem == "__init__" and own(file) not in FACES
        and any(
            package(node.module or "") not in ("", own(file), "errors", "harmless", "boundary")
            for node in TREES[file].body if isinstance(node, ast.ImportFrom)
        ) and file.parts[-2] not in ("criteria", "targets", "damage", "runners", "logs")
    ]  # fmt: skip
    assert not full


def naming(name: str) -> list[Path]:
    """The files that import a package of others."""
    return [file for file in FILES if any(one.split(".")[0] == name for one in imported(file))]


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_only_the_zoo_knows_the_subjects_packages(name):
    assert {file.parts[0] for file in naming(name)} <= {"zoo"}


def test_optional_packages_are_named_in_one_file_each():
    for name in ("timm", "torch_pruning", "datasets", "ray", "tqdm", "wandb", "mlflow"):
        assert len(naming(name)) <= 1, name


BLOCKED = """
import importlib, sys, types
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Refusing())
for name in sys.argv[1:]:
    importlib.import_module(name)
try:
    importlib.import_module("lesion.engine.replay")
except ImportError:
    print("blocked")
"""


def test_what_judges_needs_no_torch():
    chosen = {f"lesion.{name}" for name in " ".join(NO_TORCH).split()}
    names = [
        module(file) for file in FILES
        if module(file) in chosen or ".".join(module(file).split(".")[:2]) in chosen
    ]  # fmt: skip
    assert chosen <= {*names}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *names], capture_output=True, text=True, cwd=ROOT.parent
    )
    assert (done.stdout, done.stderr) == ("blocked\n", "")


def functions(file: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions and methods of a file, with their names as one calls them."""
    for node in TREES[file].body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def test_no_file_is_long():
    lengths = {str(file): len((ROOT / file).read_text().splitlines()) for file in FILES}
    assert {file: lines for file, lines in lengths.items() if lines > 300} == {}


def test_the_formatter_breaks_lines():
    assert sum((ROOT / file).read_text().count("# fmt: skip") for file in FILES) <= 20


def test_local_names_tell_what_they_hold():
    vague = [
        f"{file}: {name}"
        for file in FILES for name, node in functions(file)
        if any(
            isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            and one.id in ("found", "own", "one") for one in ast.walk(node)
        )
    ]  # fmt: skip
    assert len(vague) <= 40, f"{len(vague)}: {vague}"


def test_functions_have_few_parameters():
    faces = {*lesion.__all__, *zoo.__all__}
    many = [
        f"{file}: {name}"
        for file in FILES if own(file) != "cli"
        for name, node in functions(file)
        if name.split(".")[0] not in faces
        and len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
        - ("." in name) > 8
    ]  # fmt: skip
    assert not many


def test_modules_bear_nouns_or_verbs():
    names = {file for file in FILES if file.parent.name != "targets"}  # these are other tools'
    assert len([file for file in names if file.stem.endswith("ing")]) <= 2

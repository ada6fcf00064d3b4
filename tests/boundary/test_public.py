"""Python callers: what plainly means something is taken, anything else is one sentence."""

import pickle
from enum import Enum
from fractions import Fraction
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cli import netz
from torch import nn
from torch.utils.data import Subset, TensorDataset

import lesion
from lesion.boundary.public import KINDS


def kind_of(value):
    """A name for a case that is the same in every process."""
    return type(value).__name__


@pytest.fixture(scope="module")
def network():
    return netz.trained()


@pytest.fixture(scope="module")
def data():
    """Bright in the channel of the class, as netz.py has it."""
    images = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 3
    images[torch.arange(30), 2 - labels] += 1
    return TensorDataset(images, labels)


@pytest.fixture(scope="module")
def study(network, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("boundary") / "s.lesion"
    with lesion.sweep(network, data, out, ratios=(0.5, 0.75), full=True) as made:
        yield made


def one_sentence(caught) -> str:
    text = str(caught.value)
    assert text.startswith("Expected ") and "\n" not in text and text.endswith(".")
    return text


class Ratio(Enum):
    """What people keep their settings in."""

    layer = "eingang"


RATIOS = (0.25, 0.5, 0.75)


@pytest.mark.parametrize(
    ("ratios", "taken"),
    [
        (np.linspace(0.25, 0.75, 3), RATIOS), (np.array(RATIOS, np.float32), RATIOS),
        (torch.tensor(RATIOS), RATIOS), (pd.Series(RATIOS), RATIOS),
        (pd.Series(RATIOS, ["a", "b", "c"]), RATIOS), ((one for one in RATIOS), RATIOS),
        (set(RATIOS), RATIOS), (dict.fromkeys(RATIOS).keys(), RATIOS), (0.5, (0.5,)),
        (np.float64(0.5), (0.5,)), (torch.tensor(0.5), (0.5,)), (np.array(0.5), (0.5,)),
        (Fraction(1, 2), (0.5,)), ([np.float32(0.3)], (0.3,)), (torch.tensor([0.3]), (0.3,)),
    ],
    ids=kind_of,
)  # fmt: skip
def test_ratios_of_any_kind(network, data, tmp_path, ratios, taken):
    with lesion.sweep(network, data, tmp_path / "s.lesion", ratios=ratios, full=True) as made:
        covered = {cell.amount for cell in made.lesions} | {
            float(row.reason.split(" %")[0]) / 100
            for row in made.skipped
            if "rounded" in row.reason
        }
    assert sorted(covered) == list(taken)


@pytest.mark.parametrize(
    ("ratios", "text"),
    [
        ("0.5", "numbers between 0 and 1, got '0.5', for ratios of lesion.sweep; it takes network"),
        ([None], "got list"), (["0.5"], "got list"), ([[0.5]], "got list"),
        (True, "got True"), ({0.5: 1}, "got dict"), (np.eye(2), r"got ndarray (2, 2)"),
        (iter(()), "at least one pruning ratio, got none"), ([], "at least one pruning ratio"),
        ([0.5, float("nan")], "between 0 and 1, got nan"), (2, "between 0 and 1, got 2"),
    ],
)  # fmt: skip
def test_ratios_that_are_none(network, data, tmp_path, ratios, text):
    with pytest.raises(lesion.LesionError) as caught:
        lesion.sweep(network, data, tmp_path / "s.lesion", ratios=ratios)
    assert text in one_sentence(caught) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layers", "units"),
    [
        ("e*", {"eingang"}), ("eingang, zweig.rein", {"eingang", "zweig.rein"}),
        (["e*"], {"eingang"}), (np.array(["eingang"]), {"eingang"}), ({"eingang"}, {"eingang"}),
        ((name for name in ["eingang"]), {"eingang"}), (np.str_("eingang"), {"eingang"}),
        (pd.Series(["eingang"]), {"eingang"}), ([Ratio.layer], {"eingang"}),
        (None, {"eingang", "zweig.rein"}), ((), {"eingang", "zweig.rein"}),
    ],
)  # fmt: skip
def test_layers_of_any_kind(network, data, tmp_path, layers, units):
    out = tmp_path / "s.lesion"
    with lesion.sweep(network, data, out, ratios=0.5, layers=layers, full=True) as made:
        assert {lesion.target for lesion in made.lesions} == units


@pytest.mark.parametrize("layers", [3, [3], b"e*", nn.ReLU(), [None], {"eingang": 1}])
def test_layers_that_are_none(network, data, tmp_path, layers):
    with pytest.raises(lesion.LesionError, match="Expected names or patterns of layers, got "):
        lesion.sweep(network, data, tmp_path / "s.lesion", layers=layers)
    with pytest.raises(lesion.LesionError, match="Expected names or patterns of layers, got "):
        lesion.Budget(macs=0.5, skip=layers)


@pytest.mark.parametrize("layers", ["", "x*", ["x"]])
def test_layers_that_are_not_there(network, data, tmp_path, layers):
    with pytest.raises(lesion.LesionError, match=r"Expected the pattern of a layer, got 'x?"):
        lesion.sweep(network, data, tmp_path / "s.lesion", layers=layers)


@pytest.mark.parametrize("criterion", [nn.ReLU, 3, None, ["l1"]])
def test_a_criterion_is_a_name(network, data, tmp_path, criterion):
    with pytest.raises(lesion.LesionError) as caught:
        lesion.sweep(network, data, tmp_path / "s.lesion", criterion=criterion)
    text = one_sentence(caught)
    assert "Expected the name of a criterion, got" in text and "or a function of" in text


@pytest.mark.parametrize(("name", "text"), [("damage", "a damage"), ("runner", "a runner")])
@pytest.mark.parametrize("given", [3, None, nn.ReLU, ["here"]])
def test_a_damage_and_a_runner_are_names_or_objects(network, data, tmp_path, name, text, given):
    with pytest.raises(lesion.LesionError) as caught:
        lesion.sweep(network, data, tmp_path / "s.lesion", **{name: given})
    assert f"Expected the name of {text}, got" in one_sentence(caught)


def test_an_unknown_damage_or_runner_is_told_the_known_ones(network, data, tmp_path):
    with pytest.raises(
        lesion.LesionError,
        match=r"a damage \(activation_threshold, .*, weight_threshold\), got 'bits'; choose",
    ):
        lesion.sweep(network, data, tmp_path / "s.lesion", damage="bits")
    with pytest.raises(lesion.LesionError, match=r"a runner \(here, ray\), got 'spark'; choose"):
        lesion.sweep(network, data, tmp_path / "s.lesion", runner="spark")


# --- batches


def kinds(anatomy):
    return [(unit.name, unit.kind, unit.channels) for unit in anatomy.units]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_arrays_are_batches(network, dtype):
    expected = kinds(lesion.layers(network, torch.rand(2, 3, 8, 8)))
    images = np.random.default_rng(0).random((2, 3, 8, 8)).astype(dtype)
    assert kinds(lesion.layers(network, images)) == expected
    assert kinds(lesion.layers(network, (images, np.zeros(2, int)))) == expected


@pytest.mark.parametrize(
    ("example", "text"),
    [
        ((2, 3, 8, 8), "a shape is none: give torch.zeros(2, 3, 8, 8)"),
        (torch.Size([2, 3, 8, 8]), "a shape is none: give torch.zeros(2, 3, 8, 8)"),
        (torch.rand(3, 8, 8), "got one image (3, 8, 8), without an axis for the images"),
        (np.zeros((3, 8, 8)), "got one image (3, 8, 8)"),
        ([torch.rand(3, 8, 8), torch.rand(3, 8, 8)], "got one image (3, 8, 8)"),
        (None, "Expected one batch of two images or more, got None"), (3, "got 3, for example"),
        ("val/a.png", "got 'val/a.png'"), (torch.tensor(1.0), "got Tensor ()"), ([], "got list"),
        (torch.rand(2, 5, 8, 8), "Expected data that the network takes, got batches of float32"),
        (Subset([torch.rand(3, 8, 8)], [0]), "next(iter(torch.utils.data.DataLoader(data, 2)))"),
        (torch.rand(2), "Expected data that the network takes"), (nn.ReLU(), "got ReLU"),
    ],
    ids=kind_of,
)  # fmt: skip
def test_what_is_no_batch(network, example, text):
    with pytest.raises(lesion.LesionError) as caught:
        lesion.layers(network, example)
    assert text in one_sentence(caught)


def test_images_without_an_axis_for_channels_are_batches():
    """The network makes that axis itself: three axes are no single image here."""

    class Spectrum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(self.a(x.unsqueeze(1)).mean((2, 3)))

    assert lesion.layers(Spectrum(), torch.rand(2, 8, 8)).unit["a"].kind == "free"


# --- numbers, and everything in the wrong place


@pytest.mark.parametrize("drop", [np.float32(50), np.int64(50), torch.tensor(50.0), Fraction(50)])
def test_numbers_of_any_kind(study, drop):
    plain = lesion.recommend(study, 50)
    assert lesion.recommend(study, drop) == plain
    assert lesion.recommend(study, max_drop=50, confidence=np.float64(95)) == plain


@pytest.mark.parametrize("drop", ["1", [1], True, 1j, object()])
def test_numbers_that_are_none(study, drop):
    with pytest.raises(
        lesion.LesionError, match=r"Expected a number, got .*for max_drop of lesion"
    ):
        lesion.recommend(study, max_drop=drop)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True, float("nan")])
def test_counts_that_are_none(network, data, tmp_path, limit):
    with pytest.raises(lesion.LesionError, match="a whole number of at least 1, got"):
        lesion.sweep(network, data, tmp_path / "s.lesion", images=limit)


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 0.5, "0", None])
def test_seeds_that_are_none(network, data, tmp_path, seed):
    with pytest.raises(lesion.LesionError, match="a seed from 0 to 9223372036854775807, got"):
        lesion.sweep(network, data, tmp_path / "s.lesion", seed=seed)


def test_budgets_are_read_as_on_the_command_line():
    made = lesion.Budget(
        macs="50%", params=np.float32(0.3), skip="fc,conv1", pins=pd.Series({"a": 0.2}), align=8.0
    )
    expected = lesion.Budget(
        macs=0.5, params=0.3, skip=("fc", "conv1"), pins={"a": 0.2}, align=8
    )  # fmt: skip
    assert made == expected and isinstance(made.align, int)


@pytest.mark.parametrize(
    "options",
    [
        {"macs": True}, {"macs": [0.5]}, {"pins": ["a"]}, {"pins": {"a": "x"}},
        {"align": 1.5}, {"least": True}, {"per": None}, {"per": 3}, {"pins": None},
        {"max_drop": "1"},
    ],
)  # fmt: skip
def test_budgets_that_are_none(options):
    with pytest.raises(lesion.LesionError, match=f"for {next(iter(options))} of lesion.Budget"):
        lesion.Budget(**options)


def test_a_share_that_is_none():
    with pytest.raises(lesion.LesionError, match="Expected a share such as 50% or"):
        lesion.Budget(macs="half")


def calls(study, network, data, tmp_path):
    """Every public function with two arguments or more, called well; by name."""
    example = data[:2][0]
    anatomy = lesion.layers(network, example)
    allocation = lesion.recommend(study, budget=lesion.Budget(macs=0.8))
    budget, bench = lesion.Budget(macs=0.8), lesion.bench(study, network, data)
    curves, advice = lesion.curves(study), lesion.recommend(study, 50)
    values = {
        "study": study, "network": network, "data": data, "example": example, "small": network,
        "anatomy": anatomy, "allocation": allocation, "budget": budget, "bench": bench,
        "curves": curves, "advice": advice, "out": tmp_path / "x.lesion", "path": tmp_path / "x",
        "evaluate": len, "to": "json", "after": "bn", "rates": {"eingang": 0.5},
        "paths": [study.path], "norms": study.norms, "frame": curves, "interactions": object(),
        "agreement": object(),
    }  # fmt: skip
    for name in lesion.__all__:
        function = getattr(lesion, name)
        if isinstance(function, type) or not hasattr(function, "__wrapped__"):
            continue
        needed = [
            parameter.name for parameter in signature(function).parameters.values()
            if parameter.default is parameter.empty
        ]  # fmt: skip
        yield name, function, {parameter: values[parameter] for parameter in needed}


def test_arguments_in_the_wrong_place_are_a_sentence(study, network, data, tmp_path):
    """Each two needed arguments of each function swapped."""
    count = 0
    for name, function, given in calls(study, network, data, tmp_path):
        names = list(given)
        for first in names:
            for second in names[names.index(first) + 1 :]:
                swapped = {**given, first: given[second], second: given[first]}
                with pytest.raises(lesion.LesionError) as caught:
                    function(**swapped)
                assert f"of lesion.{name}; " in one_sentence(caught), (name, first, second)
                assert f"it takes {names[0]}" in str(caught.value)
                count += 1
    assert count > 30 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [None, 3, "nowhere/x", object(), [], b"x", float("nan")],
    ids=kind_of,
)
def test_nothing_else_is_taken_for_what_is_needed(study, network, data, tmp_path, value):
    for _, function, given in calls(study, network, data, tmp_path):
        for argument in given:
            with pytest.raises(lesion.LesionError) as caught:
                function(**{**given, argument: value})
            one_sentence(caught)


def test_files_by_name_and_by_path(study, tmp_path):
    for path in (study.path, str(study.path)):
        lesion.Study.open(path).close()
    lesion.merge(str(study.path), str(tmp_path / "merged.lesion"))
    assert (tmp_path / "merged.lesion").exists()
    for path in (None, 3, "", "a\0b", [study.path]):
        with pytest.raises(lesion.LesionError, match="Expected the path of a file, got"):
            lesion.Study.open(path)
        with pytest.raises(lesion.LesionError, match="Expected the path of a file, got"):
            lesion.Allocation.load(path)


def test_arrays_of_another_length(study):
    anatomy = study.anatomy
    nothing = np.zeros(anatomy.channels, bool)
    assert lesion.cost(anatomy, nothing) == lesion.cost(anatomy, list(nothing))
    for dropped in (nothing[1:], nothing.astype(int), 3, True, "x"):
        with pytest.raises(lesion.LesionError, match="Expected booleans"):
            lesion.cost(anatomy, dropped)
    with pytest.raises(lesion.LesionError, match=r"each of the 8 channels of eingang, got shape"):
        lesion.cost_at(anatomy, {"eingang": 0.5}, scores={"eingang": [1, 2]})


def test_the_public_functions_are_themselves():
    assert pickle.loads(pickle.dumps(lesion.sweep)) is lesion.sweep
    assert pickle.loads(pickle.dumps(lesion.curves)) is lesion.curves
    assert "ratios" in signature(lesion.sweep).parameters
    assert lesion.sweep.__doc__ is not None and Path(lesion.__file__).exists()


def test_every_argument_has_its_kind():
    free = {"decisions", "dropped", "evaluate"}  # which only one function has
    for name in lesion.__all__:
        function = getattr(lesion, name)
        if hasattr(function, "__wrapped__"):
            assert set(signature(function).parameters) - free <= KINDS.keys(), name


@pytest.mark.parametrize(
    ("options", "what"),
    [({}, "missing a required argument: 'to'"), ({"to": "json", "macs": 1}, "argument 'macs'")],
)
def test_a_call_that_does_not_fit_names_the_function_and_all_that_it_takes(options, what):
    with pytest.raises(TypeError) as caught:
        lesion.export(None, **options)
    text, every = str(caught.value), ", ".join(signature(lesion.export).parameters)
    assert text.startswith("lesion.export: ") and text.endswith(f"; it takes {every}")
    assert what in text

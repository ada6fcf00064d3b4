"""Methods of records that are functions behind them."""

import inspect
import subprocess
import sys
from pathlib import Path

import planted
import pytest

import lesion
from lesion.methods import Bound


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with planted.study(tmp_path_factory.mktemp("s") / "s", images=600) as made:
        yield made


class Number:
    """A record with a method of another module."""

    root = Bound("sqrt", "math")

    def __float__(self):
        return 9.0


def test_a_method_is_the_function_with_the_record_in_front():
    assert Number().root() == 3.0
    assert Number.root(16) == 4.0


def test_a_studys_methods_are_the_functions_of_their_names(study):
    assert study.curves().equals(lesion.curves(study))
    assert study.curves(damage="filters", confidence=90).equals(
        lesion.curves(study, damage="filters", confidence=90)
    )
    assert study.recommend(3.0, 90) == lesion.recommend(study, 3.0, 90)
    budget = lesion.Budget(macs=0.8)
    assert study.recommend(budget=budget) == lesion.recommend(study, budget=budget)
    for name in ("curves", "recommend", "plot", "report"):
        method, function = getattr(study, name), getattr(lesion, name)
        assert method.__func__ is function and method.__doc__ == function.__doc__
        assert (
            list(inspect.signature(method).parameters)
            == [*inspect.signature(function).parameters][1:]
        )


def test_errors_are_those_of_the_function(study):
    with pytest.raises(lesion.LesionError, match=r"for max_drop of lesion\.recommend"):
        study.recommend("much")


def test_the_package_and_a_study_import_none_of_them():
    code = (
        "import sys, lesion; lesion.Study; heavy = ('torch', 'matplotlib', 'tqdm', 'rich', "
        "'lesion.results', 'lesion.rates', 'lesion.reports'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(lesion.__file__).parent.parent,
    )
    assert ran.stdout == "[]\n", ran.stderr

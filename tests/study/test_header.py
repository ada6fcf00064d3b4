"""What a study is of: everything that outcomes and claims depend on must be the same."""

from dataclasses import fields, replace

import planted
import pytest

from lesion.errors import StudyError
from lesion.study.header import UNSAID, Header, conflicts
from lesion.study.merge import merge
from lesion.study.study import Study

BASE = planted.header(images=300)
LAYERS = BASE.anatomy.layers
CHANGES = {
    "subject": [{**BASE.subject, "weights": "other"}, {**BASE.subject, "output": "1"}],
    "anatomy": [
        replace(BASE.anatomy, layers=LAYERS[:-1]),
        replace(BASE.anatomy, layers=(replace(LAYERS[0], unit=LAYERS[-1].unit), *LAYERS[1:])),
        replace(BASE.anatomy, units=(replace(BASE.anatomy.units[0], kind="tied"),)),
    ],
    "order": [BASE.order[::-1]],
    "holdout": [BASE.holdout[:-1]],
    "columns": [BASE.columns[:3]],
    "classes": [BASE.classes + 1],
    "settings": [
        {**BASE.settings, "order": "uniform"},
        {**BASE.settings, "estimand": "population"},
        {**BASE.settings, "score": "agreement"},
        {**BASE.settings, "anything else": 1},
    ],
    "environment": [],  # it only warns
}
EVERY = [(name, value) for name, values in CHANGES.items() for value in values]
FREE = [
    ("environment", {"torch": "3", "device": "cuda"}),
    ("settings", {**BASE.settings, "name": "by another name"}),
    ("settings", {"name": "made before settings were kept"}),
    ("anatomy", replace(BASE.anatomy, notes=("told otherwise",))),
]


def test_every_field_is_looked_at():
    assert set(CHANGES) == {field.name for field in fields(Header)}
    assert set(UNSAID.items()) <= set(BASE.settings.items())


@pytest.mark.parametrize(("name", "value"), EVERY)
def test_what_claims_depend_on_must_be_the_same(tmp_path, name, value):
    other = replace(BASE, **{name: value})
    (phrase,) = conflicts(BASE, other)
    for path, header in (("a", BASE), ("b", other)):
        Study.create(tmp_path / path, header).close()
    with Study.open(tmp_path / "a") as study, pytest.raises(StudyError) as refusal:
        study.check_same(other)
    assert f"but another came: {phrase}; give" in str(refusal.value)
    with pytest.raises(StudyError, match=r"merge those of one network, images and settings\."):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("name", "value"), FREE)
def test_what_they_do_not_depend_on_may_differ(tmp_path, name, value):
    other = replace(BASE, **{name: value})
    for path, header in (("a", BASE), ("b", other)):
        Study.create(tmp_path / path, header).close()
    with Study.open(tmp_path / "a") as study:
        assert len(study.check_same(other)) == (2 if name == "environment" else 0)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")


def test_both_values_are_told():
    other = replace(BASE, settings={**BASE.settings, "estimand": "population"})
    assert conflicts(BASE, other) == ["estimand (set there, population here)"]
    assert conflicts(replace(BASE, settings={}), other) == ["estimand (set there, population here)"]


@pytest.mark.parametrize("settings", [
    {"seed": "0 | 1"}, {"seed": -1}, {"seed": 2**70}, {"seed": True}, {"holdout": None},
    {"holdout": 2}, {"order": 5}, {"score": ["a"]}, {"source": [1, 2]}, {"source": {"code": 5}},
    {"source": {"options": {"network": 5}}}, {"source": {"options": {"crop": "x"}}},
    {"source": {"options": {"resize": 10**30}}}, {"source": {"options": {"output": ["x"]}}},
])  # fmt: skip
def test_settings_that_no_sweep_remembers_are_damage(tmp_path, settings):
    with pytest.raises(StudyError, match="damaged"):
        Study.create(tmp_path / "s", replace(BASE, settings={**BASE.settings, **settings}))

"""What other packages add by entry points is found under its name, and what fails is told."""

import pytest
import torch

from lesion.errors import LesionError
from lesion.lesions import criteria, damage
from lesion.lesions.criteria import Filters
from lesion.sweeps import runners

MODULES = {
    "criteria": "def score(filters):\n    return filters.weight.flatten(1).sum(1)\n",
    "damage": "from lesion import Amounts, Damage\n\nclass Bent(Damage):\n    name = 'bent'\n"
    "    amounts = Amounts((1.0,), 'angle', 'angle')\n\ndamage = Bent()\n",
    "runners": "class Runner:\n    def run(self, tasks, open):\n        yield from ()\n",
}
REGISTRIES = {
    "criteria": (criteria, criteria.criterion),
    "damage": (damage, damage.damage),
    "runners": (runners, runners.runner),
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with an entry point of each group, and one of each that cannot be loaded."""
    folder = tmp_path / "added-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    lines = []
    for group, source in MODULES.items():
        (tmp_path / f"added_{group}.py").write_text(source)
        lines += [f"[lesion.{group}]", f"bent = added_{group}", "broken = not_there"]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("group", MODULES)
def test_an_entry_point_is_found_beside_the_built_in_ones(installed, group):
    module, get = REGISTRIES[group]
    before = {"criteria": "l1", "damage": "filters", "runners": "here"}[group]
    assert {before, "bent", "broken"} <= set(module.names())
    added = get("bent")
    if group == "criteria":
        weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        assert added.scores(Filters("a", weight, None, 0)).tolist() == [3, 7]
    else:
        assert type(added).__module__ == f"added_{group}"


@pytest.mark.parametrize("group", MODULES)
def test_one_that_fails_is_told(installed, group):
    kind = {"criteria": "criterion", "damage": "damage", "runners": "runner"}[group]
    with pytest.raises(LesionError, match=rf"Expected the {kind} broken of not_there to load"):
        REGISTRIES[group][1]("broken")


def test_an_object_of_another_class_is_no_damage():
    with pytest.raises(LesionError, match=r"of a subclass of lesion\.Damage, got int"):
        damage.damage(3)

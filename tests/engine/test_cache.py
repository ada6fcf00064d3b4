"""Values kept at a few pauses: whatever is kept or forgotten, the outputs are the same."""

import networks
import numpy as np
import pytest
import torch

from lesion.engine.base import Cut
from lesion.engine.cache import Kept, Shelf, alive, places
from lesion.engine.replay import Replay
from lesion.lesions.criteria import criterion
from lesion.lesions.damage import Settings, plan
from lesion.lesions.damage.filters import damage as filters
from lesion.lesions.lesion import Target
from lesion.lesions.scores import Scorer
from lesion.network.dissect import dissect
from lesion.network.program import Run

IMAGES = 12


def opened(family):
    """An engine, the images, and what each of some lesions does."""
    network, data = networks.FAMILIES[family](IMAGES)
    images = data.tensors[0]
    with torch.no_grad():
        found = dissect(network, lambda net, x: net(x), images[:2])
    free = [Target(unit.name, "free") for unit in found.anatomy.units if unit.kind == "free"]
    scorer = Scorer(found, criterion("l1"))
    known = {target: scorer.scores(target) for target in free}
    lesions, _ = plan(found.anatomy, known, (0.25, 0.75), Settings(), filters)
    edits = {lesion: filters.edit(found, lesion, known[lesion.at]) for lesion in lesions}
    return Replay(found, most=5), images, edits


def of_targets(edits):
    """One edit a target."""
    return list({lesion.at: edit for lesion, edit in edits.items()}.values())


@torch.no_grad()
def whole(engine, images, edits):
    """Every lesion's outputs on all images, straight through."""
    found = engine.run((images,), {lesion: Cut(edit) for lesion, edit in edits.items()})
    return {one: outputs.clone() for one, outputs in found if one is not None}


@pytest.mark.parametrize("family", ["vgg", "densenet", "mobilenet", "vit"])
@pytest.mark.parametrize("room", [IMAGES, 5, 0])
@torch.no_grad()
def test_outputs_do_not_depend_on_what_is_kept(family, room):
    engine, images, edits = opened(family)
    expected = whole(engine, images, edits)
    engine.keep(of_targets(edits), IMAGES, 1 << 30)
    if engine.kept is not None:
        engine.kept.room = room
    rng = np.random.default_rng(0)
    for _ in range(4):
        keys = np.sort(rng.permutation(IMAGES)[: rng.integers(1, IMAGES + 1)])
        cuts = {}
        for lesion in edits:
            rows = np.flatnonzero(rng.random(len(keys)) < 0.5)
            if len(rows):
                cuts[lesion] = Cut(edits[lesion], rows)
        found = dict(engine.run((images[keys],), cuts, False, keys))
        assert set(found) == set(cuts)
        for lesion, outputs in found.items():
            want = expected[lesion][keys[cuts[lesion].rows]]
            assert torch.allclose(outputs, want, atol=1e-4 * float(want.abs().max()))


@torch.no_grad()
def test_the_first_pass_fills_what_there_is_room_for_and_nothing_runs_again():
    engine, images, edits = opened("vgg")
    engine.keep(of_targets(edits), IMAGES, 1 << 30)
    assert engine.kept is not None and engine.kept.early
    keys = np.random.default_rng(0).permutation(IMAGES)
    for some in np.split(keys, 3):
        list(engine.run((images[some],), {}, True, some))
    nowhere = torch.full_like(images, float("nan"))  # would spoil the values if it were run
    for place in engine.kept.alive:
        values = engine.kept.at(place, (nowhere,), np.arange(IMAGES))
        run = Run(engine.program, (images,))
        run.forward(place)
        for index, value in values.items():
            assert torch.allclose(*map(torch.as_tensor, (value, run.values[index])), atol=1e-5)


@pytest.mark.parametrize("parts", [[range(4), range(4), range(4, 8), range(8, 12)],
                                   [range(6), range(3, 9), range(12)]])  # fmt: skip
@torch.no_grad()
def test_images_that_are_seen_again_push_no_others_out(parts):
    engine, images, edits = opened("vgg")
    expected = whole(engine, images, edits)
    engine.keep(of_targets(edits), IMAGES, 1 << 30)
    for part in parts:
        keys = np.array(part)
        list(engine.run((images[keys],), {}, True, keys))
    every = np.arange(IMAGES)
    nowhere = torch.full_like(images, float("nan"))  # would spoil the outputs if it were run
    cuts = {lesion: Cut(edit) for lesion, edit in edits.items()}
    for lesion, outputs in engine.run((nowhere,), cuts, False, every):
        want = expected[lesion]
        assert torch.allclose(outputs, want, atol=1e-4 * float(want.abs().max()))


@torch.no_grad()
def test_images_beyond_the_room_run_anew_beside_those_that_are_kept():
    engine, images, edits = opened("vgg")
    engine.keep(of_targets(edits), IMAGES, 1 << 30)
    kept, place = engine.kept, max(engine.kept.alive)
    kept.room = 5
    (index,) = (one for one in kept.alive[place] if kept.ways[one] == "image")
    first = kept.at(place, (images[:4],), np.arange(4))[index]
    spoilt = images.clone()
    spoilt[:4] = float("nan")
    for _ in range(2):  # what is run anew is not kept the second time either
        found = kept.at(place, (spoilt,), np.arange(IMAGES))[index]
        run = Run(engine.program, (images[4:],))
        run.forward(place)
        assert torch.equal(found[:4], first)
        assert torch.allclose(found[4:], run.values[index], atol=1e-5)


@pytest.mark.parametrize(
    "value",
    [
        torch.randn(4, 3, 5, 2),
        torch.randn(4, 3, 5, 2).contiguous(memory_format=torch.channels_last),
        torch.randn(3, 4, 5).transpose(0, 1),
        torch.arange(4),
        torch.rand(4, 7) < 0.5,
    ],
    ids=["channels first", "channels last", "images inside", "a number", "booleans"],
)
def test_a_shelf_gives_rows_back_in_the_layout_in_which_they_came(value):
    shelf = Shelf(value, 9)
    shelf.put(0, value.flip(0))
    shelf.put(4, value)
    found = shelf.take(torch.tensor([6, 1, 4]))
    assert torch.equal(found, value[[2, 2, 0]])
    last = found.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
    kind = torch.channels_last if last else torch.contiguous_format
    assert found.is_contiguous(memory_format=kind)


@pytest.mark.parametrize("share", [1.0, 0.5])
@torch.no_grad()
def test_what_is_kept_stays_within_the_budget(share):
    engine, images, edits = opened("densenet")
    targets = of_targets(edits)
    engine.keep(targets, IMAGES, 1 << 30)
    needed = IMAGES * sum(
        engine.dissection.sizes[index]
        for place, indices in engine.kept.alive.items()
        for index in indices
        if engine._ways[index] == "image"
    )
    budget = int(share * needed)
    engine.keep(targets, IMAGES, budget)
    assert engine.kept.early
    list(engine.run((images,), {}, True, np.arange(IMAGES)))
    shelves = [one for one in engine.kept._found.values() if isinstance(one, Shelf)]
    assert 0.5 * budget < sum(shelf.rows.nbytes for shelf in shelves) <= budget


def test_places_go_where_least_is_alive_and_no_further_than_the_budget():
    engine, _, edits = opened("vgg")
    pauses = [engine.behind(edit).pause for edit in edits.values()]
    trial, sizes = engine._trial, engine.dissection.sizes
    none = places(engine.program, trial.ways, sizes, trial.costs, pauses, 0)
    some = places(engine.program, trial.ways, sizes, trial.costs, pauses, 1 << 30)
    assert none == {} and some
    assert max(some) <= max(pauses)
    for place, size in some.items():
        assert size == sum(
            sizes[index] for index in alive(engine.program, place) if trial.ways[index] == "image"
        )


def test_a_value_that_does_not_go_by_the_image_is_no_place():
    engine, _, edits = opened("vgg")
    pauses = [engine.behind(edit).pause for edit in edits.values()]
    assert places(engine.program, {}, engine.dissection.sizes, [1.0] * 99, pauses, 1 << 30) == {}
    assert Kept(engine.program, {}, (), 0).before(5) is None

"""Values kept at a few pauses: whatever is kept or forgotten, the outputs are the same."""

import networks
import numpy as np
import pytest
import torch

from lesion.dissect import dissect
from lesion.engine import Cutting, Replay
from lesion.keeping import Kept, alive, places
from lesion.plan import Target, dropped, plan
from lesion.replay import Run
from lesion.scoring import scores

IMAGES = 12


def opened(family):
    """An engine, the images, and what each of some lesions drops."""
    network, data = networks.FAMILIES[family](IMAGES)
    images = data.tensors[0]
    with torch.no_grad():
        found = dissect(network, lambda net, x: net(x), images[:2])
    free = [Target(unit.name, "free") for unit in found.anatomy.units if unit.kind == "free"]
    known = {target: scores(found, target.name, "free", "l1") for target in free}
    lesions, _ = plan(found.anatomy, known, "l1", (0.25, 0.75))
    gone = {lesion: dropped(found.anatomy, lesion, known[lesion.at]) for lesion in lesions}
    return Replay(found, most=5), images, gone


@torch.no_grad()
def whole(engine, images, gone):
    """Every lesion's outputs on all images, straight through."""
    found = engine.run((images,), {one: Cutting(own) for one, own in gone.items()})
    return {one: outputs.clone() for one, outputs in found if one is not None}


@pytest.mark.parametrize("family", ["vgg", "densenet", "mobilenet", "vit"])
@pytest.mark.parametrize("room", [1 << 30, 60_000, 0], ids=["all", "some", "none"])
@torch.no_grad()
def test_outputs_do_not_depend_on_what_is_kept(family, room):
    engine, images, gone = opened(family)
    expected = whole(engine, images, gone)
    engine.keep({one.at for one in gone}, IMAGES, 1 << 30)
    if engine.kept is not None:
        engine.kept.room = room
    rng = np.random.default_rng(0)
    for _ in range(4):
        keys = np.sort(rng.permutation(IMAGES)[: rng.integers(1, IMAGES + 1)])
        cuts = {}
        for lesion in gone:
            rows = np.flatnonzero(rng.random(len(keys)) < 0.5)
            if len(rows):
                cuts[lesion] = Cutting(gone[lesion], rows)
        found = dict(engine.run((images[keys],), cuts, False, keys))
        assert set(found) == set(cuts)
        for lesion, outputs in found.items():
            want = expected[lesion][keys[cuts[lesion].rows]]
            assert torch.allclose(outputs, want, atol=1e-4 * float(want.abs().max()))


@torch.no_grad()
def test_the_first_pass_fills_what_there_is_room_for_and_nothing_runs_again():
    engine, images, gone = opened("vgg")
    engine.keep({one.at for one in gone}, IMAGES, 1 << 30)
    assert engine.kept is not None and engine.kept.early
    before = engine.kept.room
    list(engine.run((images,), {}, True, np.arange(IMAGES)))
    assert engine.kept.room < before
    place = max(engine.kept.alive)
    nowhere = torch.full_like(images, float("nan"))  # would spoil the values if it were run
    values = engine.kept.at(place, (nowhere,), np.arange(IMAGES))
    run = Run(engine.program, (images,))
    run.forward(place)
    for index, value in values.items():
        if isinstance(value, torch.Tensor):
            assert torch.allclose(value, run.values[index], atol=1e-5)


def test_places_go_where_least_is_alive_and_no_further_than_the_budget():
    engine, _, gone = opened("vgg")
    pauses = [engine.cut(one).behind.pause for one in gone]
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
    engine, _, gone = opened("vgg")
    pauses = [engine.cut(one).behind.pause for one in gone]
    assert places(engine.program, {}, engine.dissection.sizes, [1.0] * 99, pauses, 1 << 30) == {}
    assert Kept(engine.program, {}, (), 0).before(5) is None

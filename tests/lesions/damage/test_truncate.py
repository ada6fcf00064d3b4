"""Truncated stages: a replayed lesion gives what a network gives whose stages are shorter."""

import pytest
from shortened import assert_shortened, opened, planned, saved

from lesion.lesions.damage import damage
from lesion.lesions.kept_cost import kept_cost
from lesion.network.anatomy import Anatomy, Block, Layer

LAST = {
    "cifar": [
        (f"stage {stage}", count, [f"layer{stage}.1", f"layer{stage}.0"][:count])
        for stage in (1, 2, 3)
        for count in (1, 2)
    ],
    "bottleneck": [
        ("stage 1", 1, ["layer1.1"]),
        ("stage 1", 2, ["layer1.1", "layer1.0"]),
        ("stage 2", 1, ["layer2.0"]),
        ("stage 3", 1, ["layer3.0"]),
    ],
    "densenet": [
        (
            f"stage {part}",
            count,
            [f"features.denseblock{part}.denselayer{place}" for place in (2, 1)][:count],
        )
        for part in (1, 2)
        for count in (1, 2)
    ],
}


@pytest.mark.parametrize("family", LAST)
def test_replays_and_savings_are_those_of_the_shortened_network(family):
    edits, _ = planned(family, "truncate", [1, 2, 3])
    assert [(lesion.target, lesion.amount) for lesion in edits] == [
        (stage, count) for stage, count, _ in LAST[family]
    ]
    named = zip(edits.items(), LAST[family], strict=True)
    assert_shortened(family, {lesion: (edit, names) for (lesion, edit), (*_, names) in named})
    assert len({edit.key for edit in edits.values()}) == len(edits)


def test_a_saving_is_a_share_of_the_stage():
    anatomy = opened("cifar")[2].anatomy
    for lesion in planned("cifar", "truncate", [1, 2])[0]:
        layers = [layer.name for layer in anatomy.stages[lesion.target]]
        assert saved(opened("cifar")[2], lesion)[1] == kept_cost(anatomy, layers)


def test_amounts_and_layers_without_lesion_have_a_reason():
    reasons = [(skip.target, skip.reason) for skip in planned("cifar", "truncate", [2, 3])[1]]
    assert reasons == [
        ("fc", "it belongs to no stage"),
        ("stage 1", "3 blocks: it ends in 2 blocks, behind conv1, which no stream passes"),
        ("stage 2", "3 blocks: it ends in 2 blocks"),
        ("stage 3", "3 blocks: it ends in 2 blocks"),
    ]


def stage_of(*blocks: str, **kernels: int) -> Anatomy:
    """A stage of layers in order, some of which are a block by themselves."""
    layers = tuple(
        Layer(name, 1, "conv2d", 4, 4, 1, (size, size), (), 1, 1, "", None, "", "", 1)
        for name, size in kernels.items()
    )
    return Anatomy(layers, (), (), blocks=tuple(Block(name, (name,), stage=1) for name in blocks))


@pytest.mark.parametrize(
    ("anatomy", "reason"),
    [
        (stage_of(a=3, b=3), "it ends in no block that a stream passes"),
        (stage_of("a", a=3, down=3), "it ends in no block that a stream passes"),
        (stage_of("a", a=3, down=3, transition=1), "it ends in no block that a stream passes"),
    ],
)
def test_a_stage_whose_last_blocks_no_stream_passes_has_a_reason(anatomy, reason):
    targets, skipped = damage("truncate").targets(anatomy)
    assert not targets
    assert [(skip.target, skip.kind, skip.reason) for skip in skipped] == [
        ("stage 1", "stage", reason)
    ]


def test_layers_behind_that_keep_to_their_position_stay():
    targets, skipped = damage("truncate").targets(stage_of("a", a=3, transition=1))
    assert [target.key for target in targets] == ["stage/stage 1"] and not skipped


def test_layers_choose_the_stages_that_hold_them():
    anatomy, kind = opened("cifar")[2].anatomy, damage("truncate")
    targets, skipped = kind.targets(anatomy, "free", ["layer2.0.conv2", "fc"])
    assert [target.name for target in targets] == ["stage 2"]
    assert [skip.target for skip in skipped] == ["fc"]

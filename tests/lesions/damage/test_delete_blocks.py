"""Blocks deleted together: draws are nested, and each lesion is a network without its blocks."""

from collections import Counter

import anatomies
import pytest
from shortened import BLOCKS, assert_shortened, opened, planned, saved
from small_networks import conv, fc

from lesion.errors import LesionError
from lesion.lesions.block_damage import BlockDamage
from lesion.lesions.damage import Settings, damage
from lesion.lesions.kept_cost import kept_cost
from lesion.lesions.lesion import Lesion, Target
from lesion.network.anatomy import Anatomy, Block


def deleted(anatomy, draw, amount, seed=0):
    """The blocks that a draw deletes."""
    kind = damage("delete_blocks")
    lesion = kind.lesion(anatomy, Target(draw, "network"), amount, None, Settings(seed=seed))
    return [block.name for block in kind.blocks(anatomy, lesion)]


@pytest.mark.parametrize("family", ["cifar", "densenet", "transformer"])
def test_replays_and_savings_are_those_of_the_shortened_network(family):
    edits, _ = planned(family, "delete_blocks:draws=2", [1, 2, 4])
    anatomy = opened(family)[2].anatomy
    named = {
        lesion: (edit, deleted(anatomy, lesion.target, lesion.amount))
        for lesion, edit in edits.items()
    }
    assert [(lesion.target, lesion.amount) for lesion in edits] == [
        (draw, amount) for draw in ("draw 1", "draw 2") for amount in (1, 2, 4)
    ]
    assert_shortened(family, named)


def test_all_blocks_are_one_lesion_whatever_the_draw_and_a_share_of_the_network():
    dissection = opened("cifar")[2]
    whole = kept_cost(dissection.anatomy, dissection.anatomy.layer)
    edits, _ = planned("cifar", "delete_blocks:draws=3", [6])
    assert [lesion.target for lesion in edits] == ["draw 1", "draw 2", "draw 3"]
    assert len({edit.key for edit in edits.values()}) == 1
    assert all(saved(dissection, lesion)[1] == whole for lesion in edits)


def test_what_is_gone_at_one_amount_is_gone_at_all_larger_ones():
    anatomy = opened("cifar")[2].anatomy
    for seed in range(3):
        orders = [deleted(anatomy, f"draw {number}", 6, seed) for number in range(1, 5)]
        assert all(sorted(order) == BLOCKS["cifar"] for order in orders)
        for number, order in enumerate(orders, 1):
            for amount in range(1, 6):
                assert deleted(anatomy, f"draw {number}", amount, seed) == order[:amount]


def test_orders_depend_on_draw_and_seed_alone_and_favour_no_block():
    blocks = tuple(Block(name, (name,)) for name in "abcd")
    anatomy = Anatomy((), (), (), blocks=blocks)
    firsts, orders = Counter(), Counter()
    for seed in range(60):
        for number in range(1, 21):
            order = deleted(anatomy, f"draw {number}", 4, seed)
            firsts[order[0]] += 1
            orders[tuple(order)] += 1
    assert all(abs(count - 300) < 4 * (300 * 0.75) ** 0.5 for count in firsts.values())
    assert len(orders) == 24 and max(orders.values()) < 50 + 4.5 * 50**0.5
    again = Anatomy((), (), (), blocks=blocks[::-1])
    assert deleted(again, "draw 7", 4, 3) == deleted(anatomy, "draw 7", 4, 3)


def test_more_draws_leave_the_first_as_they_are():
    anatomy = opened("cifar")[2].anatomy
    few, many = (damage(f"delete_blocks:draws={count}") for count in (2, 7))
    assert (few.name, many.name) == ("delete_blocks", "delete_blocks")
    first, more = few.targets(anatomy)[0], many.targets(anatomy)[0]
    assert more[:2] == first and len(more) == 7
    assert len(damage("delete_blocks").targets(anatomy)[0]) == 5


def test_amounts_and_layers_without_lesion_have_a_reason():
    _, skipped = planned("cifar", "delete_blocks:draws=1", [6, 7])
    alone = "no stream passes beside it that could take its place"
    assert [(skip.target, skip.kind, skip.reason) for skip in skipped] == [
        ("conv1", "layer", alone),
        ("fc", "layer", alone),
        ("draw 1", "network", "7 blocks: the network has 6 that a stream passes"),
    ]


def test_a_draw_is_of_all_blocks():
    anatomy, kind = opened("cifar")[2].anatomy, damage("delete_blocks")
    with pytest.raises(LesionError, match=r"of all layers.*got layer1.*; leave the patterns out"):
        kind.targets(anatomy, "free", ["layer1.*"])
    assert kind.targets(anatomy, "free", ["*"]) == kind.targets(anatomy)
    with pytest.raises(LesionError, match="Expected draws of 1 or more, got 0"):
        damage("delete_blocks:draws=0")


def test_a_layer_that_all_its_blocks_lose_is_gone_and_another_runs_less_often():
    def step(n, x):
        x = n.stem(x).relu()
        for _ in range(3):
            x = x + n.a(x).relu()
        return x + n.b(n.c(x))

    convs = {name: conv(4, 4) for name in "abc"}
    anatomy = anatomies.net(step, stem=conv(3, 4), fc=fc(4), **convs)
    one, *_, last = anatomy.blocks
    assert [block.shared for block in anatomy.blocks] == [("a",)] * 3 + [()]

    class Chosen(BlockDamage):
        def blocks(self, anatomy: Anatomy, lesion: Lesion) -> list[Block]:
            shared = [block for block in anatomy.blocks if block.shared]
            return [*shared[: int(lesion.amount)], last]

    for count in (1, 2, 3):
        lesion = Lesion("x", "network", "", count, 0, 0)
        saving = Chosen().footprint(anatomy, lesion)
        rest = 0 if count == 3 else kept_cost(anatomy, ["a"]).parameters
        assert saving.left.parameters == rest
        assert saving.left.macs == (3 - count) * one.macs
        assert saving.whole == kept_cost(anatomy, ["a", "b", "c"])

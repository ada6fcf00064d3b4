"""Products of matrices: channels that are kept, and channels that are summed or multiplied out."""

import pytest
import torch
from anatomies import labels, net
from small_networks import Net, conv, fc
from test_reductions import compare
from torch import Tensor, nn
from torch.nn import functional as F


def mask(n: nn.Module, y: Tensor) -> Tensor:
    """Which pixels count, of one channel."""
    return n.mask(y).flatten(2).softmax(2)


def pooled(how):
    """Features summed over pixels with a mask."""

    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x)
        return n.b(how(y.flatten(2), mask(n, y)).reshape(len(x), -1, 1, 1))

    torch.manual_seed(0)
    return Net(step, a=conv(3, 6), mask=conv(6, 1, 1), b=conv(6, 4, 1), fc=fc(4))


HOW = {
    "matmul": lambda y, m: y @ m.transpose(1, 2),
    "from the left": lambda y, m: m @ y.transpose(1, 2),
    "with heads": lambda y, m: y[:, None] @ m[:, None].transpose(2, 3),
    "bmm": lambda y, m: torch.bmm(y, m.transpose(1, 2)),
    "einsum": lambda y, m: torch.einsum("ncp, nop -> nc", y, m),
}


@pytest.mark.parametrize("name", HOW)
def test_a_product_that_sums_over_pixels_keeps_the_channels(name):
    traced = compare(pooled(HOW[name]))
    assert (traced.unit["a"].kind, traced.unit["mask"].kind) == ("free", "tied")
    assert list(traced.layer["b"].reads) == labels(traced, "a")


def test_channels_of_queries_and_keys_fall_together_and_values_by_themselves():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x)
        q, k, v = (layer(y).flatten(2) for layer in (n.q, n.k, n.v))
        weights = (q.transpose(1, 2) @ k).softmax(2)
        return n.b((weights @ v.transpose(1, 2)).transpose(1, 2).reshape(len(x), -1, 6, 6))

    torch.manual_seed(0)
    traced = compare(Net(step, a=conv(3, 6), q=conv(6, 4, 1), k=conv(6, 4, 1), v=conv(6, 6, 1),
                        b=conv(6, 4), fc=fc(4)))  # fmt: skip
    assert (traced.unit["q"].kind, traced.unit["q"].layers) == ("free", ("q", "k"))
    assert labels(traced, "q") == labels(traced, "k")
    assert (traced.unit["v"].kind, traced.unit["v"].layers) == ("free", ("v",))


HEADS = 2


def divided(y: Tensor, heads: int = HEADS) -> Tensor:
    """(images, heads, tokens, channels)."""
    return y.view(*y.shape[:2], heads, -1).transpose(1, 2)


def fused(n: nn.Module, y: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values that one layer makes."""
    return n.qkv(y).view(*y.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)


def apart(n: nn.Module, y: Tensor) -> tuple[Tensor, ...]:
    return tuple(divided(layer(y)) for layer in (n.q, n.k, n.v))


def joined(y: Tensor) -> Tensor:
    return y.transpose(1, 2).flatten(2)


def by_hand(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return joined(((0.5 * q) @ k.transpose(-2, -1) + bias).softmax(-1) @ v)


def in_one_batch(n: nn.Module, y: Tensor) -> Tensor:
    q, k, v = (part.flatten(0, 1) for part in apart(n, y))
    out = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(-1), v)
    return joined(out.view(y.shape[0], HEADS, *out.shape[1:]))


def by_letters(n: nn.Module, y: Tensor) -> Tensor:
    q, k, v = (layer(y).view(*y.shape[:2], HEADS, -1) for layer in (n.q, n.k, n.v))
    weights = torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)


def turned(x: Tensor, n: nn.Module) -> Tensor:
    """Rotary position embedding: the second half of the channels turns with the first."""
    first, second = x.chunk(2, -1)
    return x * n.cos + torch.cat([-second, first], -1) * n.sin


def rotary(n: nn.Module, y: Tensor) -> Tensor:
    q, k, v = apart(n, y)
    return joined(F.scaled_dot_product_attention(turned(q, n), turned(k, n), v))


def normed(n: nn.Module, y: Tensor) -> Tensor:
    q, k, v = apart(n, y)
    return joined(F.scaled_dot_product_attention(n.nq(q), n.nk(k), v))


def of_one_head(n: nn.Module, y: Tensor) -> Tensor:
    """Multi-query attention."""
    q, k, v = divided(n.q(y)), divided(n.kk(y), 1), divided(n.vv(y), 1)
    return joined(F.scaled_dot_product_attention(q, k, v))


def of_each_group(n: nn.Module, y: Tensor) -> Tensor:
    """Two of four heads read one of two."""
    q, k, v = divided(n.q(y), 4), divided(n.kk(y)), divided(n.vv(y))
    return joined(F.scaled_dot_product_attention(q, k, v, enable_gqa=True))


def repeated(n: nn.Module, y: Tensor) -> Tensor:
    q, k, v = divided(n.q(y), 4), divided(n.kk(y)), divided(n.vv(y))
    return by_hand(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))


ATTENTION = {  # with its layers, and of the units the channels and the cells
    "fused": (lambda n, y: by_hand(*fused(n, y)), "qkv", {"qkv": (16, 4)}),
    "fused, by torch": (
        lambda n, y: joined(F.scaled_dot_product_attention(*fused(n, y))), "qkv",
        {"qkv": (16, 4)}),
    "apart": (lambda n, y: by_hand(*apart(n, y)), "q k v", {"q": (8, 2), "v": (8, 2)}),
    "with a scale": (
        lambda n, y: joined(F.scaled_dot_product_attention(*apart(n, y), scale=0.3)), "q k v",
        {"q": (8, 2), "v": (8, 2)}),
    "with a bias": (
        lambda n, y: by_hand(*apart(n, y), n.table), "q k v table", {"q": (8, 2), "v": (8, 2)}),
    "with a bias, by torch": (
        lambda n, y: joined(F.scaled_dot_product_attention(*apart(n, y), n.table)), "q k v table",
        {"q": (8, 2), "v": (8, 2)}),
    "in one batch": (in_one_batch, "q k v", {"q": (8, 2), "v": (8, 2)}),
    "einsum": (by_letters, "q k v", {"q": (8, 2), "v": (8, 2)}),
    "rotary": (rotary, "q k v cos sin", {"q": (2, 1), "v": (8, 2)}),
    "normed": (normed, "q k v nq nk", {"q": (4, 1), "v": (8, 2)}),
    "of one head": (of_one_head, "q kk vv", {"q": (4, 1), "vv": (4, 1)}),
    "of each group": (of_each_group, "q kk vv", {"q": (4, 2), "vv": (4, 2)}),
    "repeated": (repeated, "q kk vv", {"q": (4, 2), "vv": (4, 2)}),
}  # fmt: skip


SIZES = {"q": 8, "k": 8, "v": 8, "kk": 4, "vv": 4, "qkv": 24}


def block(how, names: str) -> Net:
    """A residual block of attention, between a convolution and another."""

    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x).flatten(2).transpose(1, 2)
        y = y + n.proj(how(n, n.norm(y)))
        return n.b(y.transpose(1, 2).unflatten(2, (6, 6)))

    torch.manual_seed(0)
    network = Net(step, a=conv(3, 8), norm=nn.LayerNorm(8), proj=nn.Linear(8, 8), b=conv(8, 4),
                  fc=fc(4))  # fmt: skip
    angles = torch.arange(36.0)[:, None] * torch.tensor([1.0, 0.1, 1.0, 0.1])
    for name in names.split():
        if name in SIZES:
            network.add_module(name, nn.Linear(8, SIZES[name]))
        elif name == "table":
            network.table = nn.Parameter(torch.randn(HEADS, 36, 36))
        elif name in ("nq", "nk"):
            network.add_module(name, nn.LayerNorm(4))
        else:
            network.register_buffer(name, getattr(torch, name)(angles))
    return network


@pytest.mark.parametrize("name", ATTENTION)
def test_every_head_loses_equally_many_channels_as_in_the_smaller_network(name):
    how, names, expected = ATTENTION[name]
    traced = compare(block(how, names))
    found = {unit: (traced.unit[unit].channels, len(traced.unit[unit].cells)) for unit in expected}
    assert found == expected
    shared = {"q"} if name == "rotary" else set()  # which meet in the tables of angles
    coupled = {unit for unit in expected if traced.unit[unit].kind == "coupled"}
    assert coupled == shared and all(traced.unit[unit].kind != "tied" for unit in expected)
    assert not any(traced.unit[unit].held for unit in [*expected, "a"])
    assert (traced.unit["a"].kind, traced.unit["a"].layers) == ("coupled", ("a", "proj"))


def test_channels_that_are_multiplied_with_channels_are_tied():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x).flatten(2)
        return n.b((y @ n.c(x).flatten(2).transpose(1, 2)).reshape(len(x), 24, 1, 1))

    traced = net(step, a=conv(3, 6), c=conv(3, 4), b=conv(24, 4, 1), fc=fc(4))
    assert {traced.unit[name].reason for name in "ac"} == {"is multiplied out in matmul"}

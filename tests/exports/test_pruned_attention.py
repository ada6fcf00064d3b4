"""Transformers made smaller, beside one that is built smaller and given its weights by hand."""

import allocations
import pytest
import torch
from randomised import randomise
from torch import Tensor, nn
from torch.nn import functional as F

from lesion import apply, layers

WIDTH, HEADS, DEPTH, HIDDEN = 10, 2, 4, 12


class Attention(nn.Module):
    """by_torch: whether torch's own attention runs; fixed: whether the code holds a number"""

    def __init__(self, width: int, size: int, by_torch: bool, fixed: bool) -> None:
        super().__init__()
        self.size, self.by_torch, self.fixed = size, by_torch, fixed
        self.scale = DEPTH**-0.5
        self.qkv, self.proj = nn.Linear(width, 3 * HEADS * size), nn.Linear(HEADS * size, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).reshape(*x.shape[:2], 3, HEADS, self.size).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.by_torch:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            x = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        wide = HEADS * DEPTH if self.fixed else -1
        return self.proj(x.transpose(1, 2).reshape(x.shape[0], x.shape[2], wide))


class Block(nn.Module):
    def __init__(self, width: int, size: int, hidden: int, *how) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, size, *how)
        self.norm2, self.fc1, self.fc2 = (
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """A vision transformer of two blocks on four patches."""

    def __init__(self, width: int, sizes: list[int], hidden: list[int], *how) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 3, 3)
        self.first, self.places = (
            nn.Parameter(torch.randn(1, tokens, width)) for tokens in (1, 5))  # fmt: skip
        blocks = zip(sizes, hidden, strict=True)
        self.blocks = nn.Sequential(*(Block(width, *block, *how) for block in blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


def made(by_torch: bool, fixed: bool = False) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network = Transformer(WIDTH, [DEPTH] * 2, [HIDDEN] * 2, by_torch, fixed)
    x = torch.randn(2, 3, 6, 6).double()
    return randomise(network, x), x


def sliced(network: nn.Module, stream, keys, values, hidden, by_torch: bool) -> nn.Module:
    """keys, values: of the first block, by head, what stays; hidden: of the second"""
    small = Transformer(len(stream), [len(keys[0]), DEPTH], [HIDDEN, len(hidden)], by_torch, False)
    small.double()
    qk, v = (
        [head * DEPTH + place for head in range(HEADS) for place in several[head]]
        for several in (keys, values)
    )
    made_by = [row + start for start, rows in ((0, qk), (8, qk), (16, v)) for row in rows]
    state = {}
    for name, value in network.state_dict().items():
        if name.startswith("blocks.0.attn.qkv"):
            value = value[made_by]
        if name == "blocks.0.attn.proj.weight":
            value = value[:, v]
        if name.startswith("blocks.1.fc1"):
            value = value[hidden]
        if name == "blocks.1.fc2.weight":
            value = value[:, hidden]
        for axis, size in enumerate(value.shape):
            if size == WIDTH:
                value = value.index_select(axis, torch.tensor(stream))
        state[name] = value
    small.load_state_dict(state)
    return small.eval()


def rates_of(anatomy, stream, keys, values, hidden):
    def gone(layer: str, kept: list[int]) -> list[int]:
        unit, labels = anatomy.unit[anatomy.layer[layer].unit], anatomy.made_by(layer)
        stay = {labels[place] - unit.first for place in kept}
        return sorted({label - unit.first for label in labels} - stay)

    by_head = [[8 * part + head * DEPTH + place for part in parts for place in several[head]]
               for head in range(HEADS) for parts, several in (((0, 1), keys), ((2,), values))
    ]  # fmt: skip
    return allocations.by_channels(anatomy, {
        "patches": gone("patches", stream), "blocks.1.fc1": gone("blocks.1.fc1", hidden),
        "blocks.0.attn.qkv": gone("blocks.0.attn.qkv", [row for rows in by_head for row in rows]),
    })  # fmt: skip


KEPT = {"stream": [0, 2, 3, 5, 6, 9], "keys": [[0, 3], [1, 2]], "values": [[1, 2], [0, 1]],
        "hidden": [0, 1, 4, 7, 11]}  # fmt: skip


@pytest.mark.parametrize("by_torch", [False, True])
@torch.no_grad()
def test_stream_heads_and_hidden_channels_fall_as_by_hand(by_torch):
    network, x = made(by_torch)
    anatomy = layers(network, x)
    stream, heads = anatomy.unit["patches"], anatomy.unit["blocks.0.attn.qkv"]
    assert (stream.kind, stream.channels, len(stream.layers)) == ("coupled", WIDTH, 5)
    assert (heads.kind, heads.channels, len(heads.cells)) == ("free", 16, 4)
    assert not stream.held + heads.held
    rates = rates_of(anatomy, **KEPT)
    small = apply(rates, network, x)  # which compares it with the lesioned network
    expected = sliced(network, **KEPT, by_torch=by_torch)
    assert small.blocks[0].attn.size == 2
    assert {name: value.shape for name, value in small.state_dict().items()} == {
        name: value.shape for name, value in expected.state_dict().items()
    }
    out, wanted = small(x), expected(x)
    assert (out - wanted).abs().max() <= 1e-12 * wanted.abs().max()
    assert (network(x) - wanted).abs().max() > 0.01 * wanted.abs().max()
    assert sum(p.numel() for p in small.parameters()) == rates.pruned.parameters
    again = layers(small, x)
    assert sum(layer.macs for layer in again.layers) == rates.pruned.macs


def test_a_number_in_the_forward_holds_the_heads_alone():
    network, x = made(False, fixed=True)
    units = layers(network, x).units
    assert [unit.name for unit in units if unit.held] == [f"blocks.{n}.attn.qkv" for n in (0, 1)]
    assert all(unit.held.startswith("its number of channels is held by blocks.") for unit in units
               if unit.held)  # fmt: skip
    assert {unit.name for unit in units if unit.kind == "tied"} == {"head"}

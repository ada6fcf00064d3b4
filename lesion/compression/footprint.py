"""What a layer costs, as it is and with its weights compressed: numbers, bits and operations.

Numbers are floats of 32 bits, and so are activations where nothing else is said.  Costs are of
weights and biases; batch norm, which folds into them, is left out on both sides.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from math import ceil, log2, prod

FLOAT = 32
SHARES = ("bytes", "macs", "dense_macs", "bops")


@dataclass(frozen=True)
class Footprint:
    """What is stored, and what one image costs.

    parameters: numbers that are kept, as weights (zeros and shared values count once for each
        weight that has them, unless they are gone)
    bits: of all that is stored: numbers, and where they belong
    macs: multiply-accumulates with what is not known to be zero
    dense_macs: those that ordinary dense kernels still do
    bops: bit operations, macs · bits of a weight · bits of an activation

    >>> conv = Shape(128, 64, (3, 3), (16, 16), (16, 16))
    >>> conv.intact().bytes, conv.quantised(4, scales=128).bytes
    (294912, 37376)
    """

    parameters: int
    bits: int
    macs: int
    dense_macs: int
    bops: int

    @property
    def bytes(self) -> int:
        """Of the bits, the last one filled up."""
        return ceil(self.bits / 8)


def accumulating_bops(
    macs: int, summed: int, width: int = FLOAT, inputs: int = FLOAT, density: float = 1.0
) -> float:
    """Bit operations as papers have them that count the sums too (Baskin et al. 2021, 3.1).

    macs · (d · b_w · b_a + b_w + b_a + log2 n): every tool here counts macs · b_w · b_a alone, as
    most do; this is for a comparison with such a paper.

    summed: n, the products in one output, C·k² of a convolution; width, inputs: b_w, b_a, bits of
    a weight and of what it is multiplied with; density: d, the share of weights that are not zero

    >>> sizes = 16, 64, 32, 32, 5  # a perceptron's layers
    >>> round(sum(accumulating_bops(c * n, c) for c, n in zip(sizes, sizes[1:])))
    4652832
    """
    return macs * (density * width * inputs + width + inputs + log2(summed))


@dataclass(frozen=True)
class Saving:
    """What the layers that a damage changes cost without it, and with it."""

    whole: Footprint
    left: Footprint

    @property
    def shares(self) -> dict[str, float]:
        """The shares that are saved, by what is counted, see `SHARES`.

        >>> Saving(Footprint(8, 256, 8, 8, 8192), Footprint(4, 136, 4, 8, 4096)).shares
        {'bytes': 0.46875, 'macs': 0.5, 'dense_macs': 0.0, 'bops': 0.5}
        """
        pairs = ((name, getattr(self.whole, name), getattr(self.left, name)) for name in SHARES)
        return {name: 1 - left / whole if whole else 0.0 for name, whole, left in pairs}

    def to_json(self) -> str:
        """As a study keeps it."""
        return json.dumps([astuple(self.whole), astuple(self.left)])

    @classmethod
    def from_json(cls, text: str) -> "Saving":
        """What `to_json` wrote. Raises ValueError or TypeError for anything else."""
        whole, left = (Footprint(*values) for values in json.loads(text))
        for number in (*astuple(whole), *astuple(left)):
            if type(number) is not int or number < 0:
                raise ValueError(f"{number} is no cost")
        return cls(whole, left)


@dataclass(frozen=True)
class Shape:
    """A convolution or linear layer, as costs see it.

    filters N; inputs C of each filter; kernel; size, size_in: its output's and its input's feature
    map, () for a linear layer; calls: how often it runs for an image; biases; groups of the
    convolution
    """

    filters: int
    inputs: int
    kernel: tuple[int, ...] = ()
    size: tuple[int, ...] = ()
    size_in: tuple[int, ...] = ()
    calls: int = 1
    biases: int = 0
    groups: int = 1

    @property
    def numbers(self) -> int:
        """P, of its weight."""
        return self.filters * self.inputs * prod(self.kernel)

    @property
    def positions(self) -> int:
        """Of the output that one image has."""
        return self.calls * prod(self.size)

    def group_count(self, grain: str) -> int:
        """How many groups of weights fall together, see `lesion.compression.grains.members`.

        >>> conv = Shape(128, 64, (3, 3))
        >>> conv.group_count("kernel"), conv.group_count("column")
        (8192, 576)
        """
        kernel, inputs = prod(self.kernel), self.inputs * self.groups
        counts = {
            "weight": self.numbers,
            "vector": self.numbers // (self.kernel or (1,))[-1],
            "kernel": self.filters * self.inputs,
            "position": kernel,
            "column": inputs * kernel,
            "input_channel": inputs,
            "filter": self.filters,
        }
        return counts[grain]

    def _made(
        self,
        parameters: int,
        bits: int,
        macs: int,
        dense: int | None = None,
        width: int = FLOAT,
        inputs: int = FLOAT,
    ) -> Footprint:
        """With the biases; dense: MACs of dense kernels, None for the same; width, inputs: bits of
        a weight and of what it is multiplied with."""
        return Footprint(
            parameters + self.biases,
            bits + FLOAT * self.biases,
            macs,
            macs if dense is None else dense,
            macs * width * inputs,
        )

    def intact(self, inputs: int = FLOAT) -> Footprint:
        """As it is: 32 bits a number, P · positions MACs; inputs: bits of what it reads.

        >>> conv = Shape(128, 64, (3, 3), (16, 16), (16, 16))
        >>> conv.intact(8).bops * 4 == conv.intact().bops == 1024 * conv.intact().macs
        True
        """
        macs = self.numbers * self.positions
        return self._made(self.numbers, FLOAT * self.numbers, macs, inputs=inputs)

    def sparse(self, kept: int, masked: int, dense: bool = True) -> Footprint:
        """With so many weights that are not zero.

        masked: how many bits say which they are, one a group; dense: whether dense kernels do all
            of it, since no smaller matrix is left
        """
        whole = self.numbers if dense else kept
        positions = self.positions
        return self._made(kept, FLOAT * kept + masked, kept * positions, whole * positions)

    def n_of_m(self, kept: int, m: int) -> Footprint:
        """With so many weights kept, each told by its place among m."""
        return self.sparse(kept, kept * ceil(log2(m)))

    def reading(self, share: float) -> Footprint:
        """With such a share of what it reads not zero, of which dense kernels know nothing."""
        macs = self.numbers * self.positions
        return self._made(self.numbers, FLOAT * self.numbers, round(share * macs), macs)

    def quantised(
        self,
        bits: int,
        scales: int,
        zeros: int = 0,
        kept: int | None = None,
        inputs: int = FLOAT,
    ) -> Footprint:
        """In so many bits a weight, with so many scales (floats) and zero points (as weights).

        kept: of sparse weights those that are stored, which a mask of one bit a weight tells
        inputs: bits of what it reads

        >>> conv = Shape(128, 64, (3, 3), (16, 16), (16, 16))
        >>> conv.quantised(4, 128, kept=conv.numbers // 2).bytes  # 18 432 + a mask of 9 216 + 512
        28160
        """
        few, mask = (self.numbers, 0) if kept is None else (kept, self.numbers)
        stored, dense = bits * (few + zeros) + mask + FLOAT * scales, self.numbers * self.positions
        return self._made(few, stored, few * self.positions, dense, bits, inputs)

    def shared(self, bits: int, values: int) -> Footprint:
        """With each weight an index of so many bits into a table of so many floats."""
        stored = bits * self.numbers + FLOAT * values
        return self._made(self.numbers, stored, self.numbers * self.positions)

    def in_vectors(self, length: int, bits: int) -> Footprint:
        """By product quantisation: an index for each sub-vector, a codebook for each sub-space.
        MACs count as they are; table look-ups can save most of them."""
        indices = bits * self.numbers // length
        tables = FLOAT * self.inputs * 2**bits
        return self._made(self.numbers, indices + tables, self.numbers * self.positions)

    def hashed(self, values: int) -> Footprint:
        """With so many floats; which weight has which, a hash tells for nothing."""
        macs = self.numbers * self.positions
        return self._made(self.numbers, FLOAT * values, macs)

    def factored(self, form: str, ranks: Sequence[int]) -> Footprint:
        """As layers of low rank, see `lesion.compression.factors`.

        form, ranks: "svd" (r); "channel_pca" (r), which has a bias in any case; "spatial" (r);
            "tucker2" (r_i, r_o); "cp" (r)
        """
        n, c, k = self.filters, self.inputs, prod(self.kernel)
        out, rank = self.positions, ranks[0]
        if form in ("svd", "channel_pca"):
            numbers, macs = rank * (c * k + n), rank * (c * k + n) * out
            biased = self if form == "svd" else replace(self, biases=n)
            return biased._made(numbers, FLOAT * numbers, macs)
        entered = self.calls * prod(self.size_in)
        if form == "tucker2":
            inner, outer = ranks
            behind = inner * outer * k + outer * n
            numbers, macs = c * inner + behind, c * inner * entered + behind * out
            return self._made(numbers, FLOAT * numbers, macs)
        high, wide = self.kernel
        between = self.calls * self.size[0] * self.size_in[1]  # the vertical layer has run
        if form == "spatial":
            numbers = rank * (c * high + n * wide)
            macs = rank * (c * high * between + n * wide * out)
        else:
            numbers = rank * (c + high + wide + n)
            macs = rank * (c * entered + high * between + (wide + n) * out)
        return self._made(numbers, FLOAT * numbers, macs)

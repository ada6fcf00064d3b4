"""How few bits indices and values can take: gaps between what is not zero, and Huffman's code."""

import heapq
from collections.abc import Iterable, Sequence


def gap_entries(places: Sequence[int], bits: int) -> int:
    """How many entries of (gap, value) weights take that are not zero at these places, rising.

    A gap of so many bits reaches 2^bits − 1 places beyond the next one; where that is too short a
    filler, a zero, lies between (Han et al. 2016, section 2).  The first place counts from −1.

    >>> gap_entries([0, 1, 20], 4)  # the gaps 0, 0, a filler of 15, 2
    4
    """
    entries, before = 0, -1
    for place in places:
        fillers, _ = divmod(place - before - 1, 2**bits)
        entries += 1 + fillers
        before = place
    return entries


def huffman_bits(counts: Iterable[int]) -> int:
    """The bits of a text in Huffman's code, Σ count · length, of how often each value is in it.

    At least the entropy, and less than that and one bit a value more (Huffman 1952).  One value
    alone takes a bit each time.

    >>> huffman_bits([5, 2, 1, 1])
    15
    """
    heap = sorted(count for count in counts if count)
    if len(heap) == 1:
        return heap[0]
    total = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total

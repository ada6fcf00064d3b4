"""Whether one layer makes a channel or several add into it, behind gates as well.

Values are sums of terms.  What a layer makes is a term with this layer as its only factor; a
product is one term, with the factors of all that is multiplied, since it is zero where one of them
is.  One layer makes a channel if it is a factor of every term: without it nothing is left.
"""

from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lesion.network.labels import Coupling


def components(count: int, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The number of its connected component, for each of `count` labels."""
    a = np.concatenate([np.zeros(0, int), *(pair[0] for pair in pairs)])
    b = np.concatenate([np.zeros(0, int), *(pair[1] for pair in pairs)])
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def added(coupling: Coupling) -> np.ndarray:
    """For each label whether several layers add into it; depthwise ones follow and add nothing."""
    sums = [(a, b) for a, b, how in coupling.united if how != "gate"]
    component = components(coupling.count, sums)
    made = _made(coupling, component)
    products = _products(coupling, component)
    factors = dict.fromkeys([*made, *products], -1)  # all layers, as bits
    changed = True
    while changed:
        changed = False
        for channel, before in factors.items():
            now = made.get(channel, -1)
            for multiplied in products.get(channel, {}).values():
                now &= _any(factors.get(factor, 0) for factor in multiplied)
            factors[channel] = now
            changed |= now != before
    several = [channel for channel, left in factors.items() if left == 0]
    return np.isin(component, several)


def _made(coupling: Coupling, component: np.ndarray) -> dict[int, int]:
    """By component the layer that makes it, as a bit; no bit where several do."""
    made: dict[int, int] = {}
    for number, making in enumerate(coupling.makings.values()):
        if not making.depthwise:
            for channel in np.unique(component[making.makes]).tolist():
                made[channel] = made.get(channel, -1) & 1 << number
    return made


def _products(coupling: Coupling, component: np.ndarray) -> dict[int, dict[int, list[int]]]:
    """By component the products in it, each by its label: the components that are multiplied."""
    products: dict[int, dict[int, list[int]]] = {}
    for factor, product, how in coupling.united:
        if how == "gate":
            gates = zip(
                component[product].tolist(),
                product.tolist(),
                component[factor].tolist(),
                strict=True,
            )
            for channel, label, multiplied in gates:
                products.setdefault(channel, {}).setdefault(label, []).append(multiplied)
    return products


def _any(factors: Iterable[int]) -> int:
    """The layers among the factors of any of them."""
    return reduce(int.__or__, factors, 0)

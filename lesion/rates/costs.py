"""What choices for several units cost together, exactly: shared layers count once.

The size of a parameter is the product of its axes, and each axis keeps what no unit drops of it.
So a layer between two units that both shrink costs a product of two sums: its parts are kept apart
here, for a solver to put together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lesion.compression.footprint import FLOAT
from lesion.network.anatomy import Anatomy, Layer, Parameter, keeps
from lesion.rates.candidates import Candidate, Candidates, dropped
from lesion.rates.layer_options import COUNTED, left, weights_of

Terms = dict[str, np.ndarray]  # for each unit what falls of an axis at each of its choices


@dataclass(frozen=True, eq=False)
class Product:
    """factor · (first − Σ what falls of it) · (second − Σ what falls of it).

    one, two: for each unit that shortens an axis, by how much at each of its choices; `one` is
    that with fewer units
    """

    factor: float
    first: float
    second: float
    one: Terms
    two: Terms

    def at(self, choice: Mapping[str, int]) -> float:
        """Its value where each unit takes its choice."""
        first, second = self.left(choice)
        return self.factor * first * second

    def left(self, choice: Mapping[str, int]) -> tuple[float, float]:
        """What is left of its two axes."""
        return _left(self.first, self.one, choice), _left(self.second, self.two, choice)


def _rise(terms: Terms, unit: str, at: int) -> np.ndarray | int:
    """By how much more falls at each of a unit's choices than at one of them."""
    return terms[unit] - terms[unit][at] if unit in terms else 0


def _left(size: float, terms: Terms, choice: Mapping[str, int]) -> float:
    left: float = size - sum(falls[choice[unit]].item() for unit, falls in terms.items())
    return left


@dataclass(frozen=True, eq=False)
class Account:
    """A cost of the whole network as a sum of products."""

    products: tuple[Product, ...]

    @cached_property
    def intact(self) -> float:
        """The cost of the network as it is."""
        return sum(product.factor * product.first * product.second for product in self.products)

    def at(self, choice: Mapping[str, int]) -> float:
        """The cost where each unit takes its choice."""
        return sum(product.at(choice) for product in self.products)

    def each(self, choice: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """For each unit the costs if it takes another of its choices, the others as they are.

        sizes: how many choices each unit has
        """
        now = self.at(choice)
        costs = {unit: np.full(size, now) for unit, size in sizes.items()}
        for product in self.products:
            first, second = product.left(choice)
            for unit in {**product.one, **product.two}:
                left = first - _rise(product.one, unit, choice[unit])
                right = second - _rise(product.two, unit, choice[unit])
                costs[unit] += product.factor * (left * right - first * second)
        return costs


def macs(anatomy: Anatomy, candidates: Candidates) -> Account:
    """Multiply-accumulates of convolutions and linear layers for one image, of dense kernels."""
    return _of_layers(anatomy, candidates, "macs", 1)


def bit_operations(anatomy: Anatomy, candidates: Candidates) -> Account:
    """Multiply-accumulates times the bits of a weight and those of an activation."""
    return _of_layers(anatomy, candidates, "bops", FLOAT * FLOAT)


def parameters(anatomy: Anatomy, candidates: Candidates) -> Account:
    """Every trained number, batch norm and biases included."""
    fallen = _fallen(anatomy, candidates)
    trained = (parameter for parameter in anatomy.parameters if parameter.trained)
    products = [_product(parameter, 1, fallen) for parameter in trained]
    return Account((*products, *_of_options(anatomy, candidates, "params", fallen)))


def bits(anatomy: Anatomy, candidates: Candidates) -> Account:
    """What the weights and biases of layers are stored in; batch norm, which folds, is left out."""
    fallen = _fallen(anatomy, candidates)
    names = [name for layer in anatomy.layers for name in (layer.weight, layer.bias) if name]
    products = [_product(anatomy.parameter[name], FLOAT, fallen) for name in names]
    return Account((*products, *_of_options(anatomy, candidates, "bytes", fallen)))


def either(anatomy: Anatomy, candidates: Candidates) -> Account:
    """1, and more where a layer's weight is damaged while its own unit loses channels: what that
    costs has not been measured.

    The same where a layer in groups would read fewer channels, which of each group are others.
    """
    pairs = [
        Product(
            1.0, 0.0, 0.0, {unit: _does(candidates[unit])}, {weights: _does(candidates[weights])}
        )
        for layer, weights in _damaged(anatomy, candidates)
        for unit in sorted(_hindering(anatomy, layer) & candidates.keys())
    ]
    return Account((Product(1.0, 1.0, 1.0, {}, {}), *pairs))


def _hindering(anatomy: Anatomy, layer: Layer) -> set[str]:
    """The units that have to stay whole where a layer's weight is damaged."""
    if layer.groups == 1:
        return {layer.unit}
    reads = set(layer.reads)
    read = {unit.name for unit in anatomy.units if not reads.isdisjoint(unit.labels)}
    return {layer.unit, *read}


def _does(choices: tuple[Candidate, ...]) -> np.ndarray:
    """-1 for each choice that does something, as what falls from an axis of size 0."""
    return np.array([-float(choice.order > 0) for choice in choices])


def _of_layers(anatomy: Anatomy, candidates: Candidates, resource: str, factor: float) -> Account:
    """The numbers of layers' weights times the positions that they compute, and a factor."""
    fallen = _fallen(anatomy, candidates)
    products = [
        _product(anatomy.parameter[layer.weight], factor * layer.positions, fallen)
        for layer in anatomy.layers
    ]
    return Account((*products, *_of_options(anatomy, candidates, resource, fallen)))


def _of_options(
    anatomy: Anatomy, candidates: Candidates, resource: str, fallen: Mapping[str, np.ndarray]
) -> Iterator[Product]:
    """What choices of layers' weights cost more than nothing done, as their inputs fall.

    Between all inputs of a filter and half of them costs are taken to go straight, which is so but
    for rounding.
    """
    for layer, weights in _damaged(anatomy, candidates):
        whole, slope = _straight(layer, candidates[weights], resource)
        terms = {} if layer.groups > 1 else dict(_terms(layer.reads, fallen))
        inputs = layer.channels_in // layer.groups
        yield Product(1.0, 0.0, 1.0, {weights: inputs * slope - whole}, {})
        yield Product(1.0, 0.0, inputs, {weights: -slope}, terms)


def rounding(
    anatomy: Anatomy, candidates: Candidates, choice: Mapping[str, int], resource: str
) -> float:
    """By how much choices of layers' weights cost more than an account says, exactly; 0 for
    latency, which they do not change."""
    if resource not in COUNTED:
        return 0.0
    gone = dropped(anatomy, {name: candidates[name][at] for name, at in choice.items()})
    more = 0.0
    for layer, weights in _damaged(anatomy, candidates):
        inputs = layer.channels_in // layer.groups
        stay = inputs if layer.groups > 1 else int(keeps(layer.reads, gone).sum())
        whole, slope = _straight(layer, candidates[weights], resource)
        exact = _more(layer, candidates[weights], resource, stay)
        more += float((exact - whole - slope * (stay - inputs))[choice[weights]])
    return more


def _damaged(anatomy: Anatomy, candidates: Candidates) -> Iterator[tuple[Layer, str]]:
    """The layers whose weights have choices, with the name of these."""
    names = ((layer, weights_of(layer.name)) for layer in anatomy.layers)
    return (pair for pair in names if pair[1] in candidates)


def _straight(
    layer: Layer, choices: tuple[Candidate, ...], resource: str
) -> tuple[np.ndarray, np.ndarray]:
    """What each choice costs more than nothing done with all inputs, and a slope for each input."""
    inputs = layer.channels_in // layer.groups
    whole = _more(layer, choices, resource, inputs)
    few = max(1, inputs // 2)
    if layer.groups > 1 or few == inputs:
        return whole, np.zeros_like(whole)
    return whole, (whole - _more(layer, choices, resource, few)) / (inputs - few)


def _more(layer: Layer, choices: tuple[Candidate, ...], resource: str, inputs: int) -> np.ndarray:
    """What each choice of a layer's weight costs more than nothing done, mostly below 0."""
    costs = [getattr(left(layer, choice, inputs), COUNTED[resource]) for choice in choices]
    return np.array([cost - costs[0] for cost in costs], float)


def axis_terms(anatomy: Anatomy, candidates: Candidates) -> Callable[[tuple[int, ...]], Terms]:
    """A function of an axis's labels: what each unit's choices take off it."""
    fallen = _fallen(anatomy, candidates)
    return lambda labels: dict(_terms(labels, fallen))


def _fallen(anatomy: Anatomy, candidates: Candidates) -> dict[str, np.ndarray]:
    """For each unit (choices, labels + 1) what falls; the last column is that of no label."""
    fallen = {}
    for name, choices in candidates.items():
        if not len(choices[0].fallen):
            continue  # a layer's weight, of which no channels fall
        unit = anatomy.unit[name]
        gone = np.zeros((len(choices), anatomy.channels + 1), bool)
        gone[:, unit.first : unit.first + unit.channels] = [choice.fallen for choice in choices]
        fallen[name] = gone
    return fallen


def _product(parameter: Parameter, factor: float, fallen: Mapping[str, np.ndarray]) -> Product:
    """A parameter's numbers times a factor; axes without labels go into the factor."""
    labelled = sorted(parameter.axes)
    assert len(labelled) <= 2, f"{parameter.name} follows channels along {len(labelled)} axes"
    for axis, size in enumerate(parameter.shape):
        if axis not in labelled:
            factor *= size
    sizes = [parameter.shape[axis] for axis in labelled] + [1] * (2 - len(labelled))
    terms = [dict(_terms(parameter.axes[axis], fallen)) for axis in labelled]
    terms += [{}] * (2 - len(labelled))
    (fewer, first), (more, second) = sorted(
        zip(terms, sizes, strict=True), key=lambda pair: len(pair[0])
    )
    return Product(factor, first, second, fewer, more)


def _terms(
    labels: tuple[int, ...], fallen: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    places = np.array(labels, int)  # CONSTANT, −1, is the column of no label
    for name, gone in fallen.items():
        falls = gone[:, places].sum(1)
        if falls.any():
            yield name, falls

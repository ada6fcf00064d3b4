"""What layers' weights may become: the options that rates are mixed of, beside filters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import isnan, prod

import numpy as np

from lesion.compression.footprint import FLOAT, Footprint
from lesion.errors import LesionError
from lesion.lesions.damage import damage, names
from lesion.lesions.layer_damage import shape_of
from lesion.lesions.weight_damage import WeightDamage, reads_left
from lesion.network.anatomy import Anatomy, Layer
from lesion.rates.budget import Budget, fixed
from lesion.rates.candidates import Candidate, Candidates
from lesion.rates.compressed import Compressed
from lesion.results.reading import Reading

COUNTED = {"macs": "dense_macs", "params": "parameters", "bytes": "bits", "bops": "bops"}
NOTHING = np.zeros(0, bool)


def weights_of(layer: str) -> str:
    """The name by which choices of a layer's weight stand among those of units."""
    return f"weights of {layer}"


@cache
def weight_damage(name: str) -> WeightDamage | None:
    """The damage of a name, None for one that rates are not mixed of: one that is none of layers'
    weights alone, whose cost does not follow from a layer's shape, or a user's own."""
    if name.partition(":")[0] not in names():
        return None
    kind = damage(name)
    return kind if isinstance(kind, WeightDamage) and kind.mixes else None


def mixed(reading: Reading, damages: Sequence[str] | None = None) -> Reading:
    """A reading, with those of other damages of weights that rates may be mixed of.

    damages: these, None for all that the study holds with that recovery
    Raises EvidenceError for a damage that the study does not hold, and LesionError for one that
    changes no layer's weight.
    """
    study = reading.study
    if damages is None:
        lesions = (each for each in study.lesions if each.recovery == reading.recovery)
        held = dict.fromkeys(lesion.damage for lesion in lesions)
        damages = [name for name in held if weight_damage(name)]
    further = [name for name in damages if name != reading.damage]
    for name in further:
        if weight_damage(name) is None:
            raise LesionError(
                f"Expected damages of weights beside {reading.damage}, got {name}: units take "
                "filters, and each layer one of these, whose cost follows from the layer's shape."
            )
    readings = (
        Reading.of(study, None, reading.column, name, reading.recovery, reading.confidence)
        for name in further
    )
    return replace(reading, others=tuple(r.under(reading.aim, r.confidence) for r in readings))


def weight_readings(reading: Reading) -> list[Reading]:
    """A reading and the others that are with it, as far as they are of damages of weights."""
    return [each for each in (reading, *reading.others) if weight_damage(each.damage)]


def layer_options(readings: Sequence[Reading], budget: Budget) -> Candidates:
    """For each layer that can be damaged so that it costs less of what a budget bounds, its
    choices: nothing first, then those that save more.

    readings: a study's, one for each damage of weights; of several lesions of one amount the worst
        counts
    Options that save none of what is bounded are left out.
    """
    if not readings:
        return {}
    anatomy = readings[0].anatomy
    kept_whole = {unit for unit, ratio in fixed(anatomy, budget).items() if ratio == 0}
    bounded = [name for name in (*budget.shares, budget.smallest) if name in COUNTED]
    if not bounded:
        return {}
    worst: dict[tuple[str, str, float], Candidate] = {}
    for reading in readings:
        for option in measured_options(reading):
            assert option.lesion is not None
            key = option.lesion.target, option.lesion.damage, option.asked
            worst[key] = max(worst.get(key, option), option, key=lambda some: some.high)
    layers: dict[str, list[Candidate]] = {}
    for (layer, _, _), option in worst.items():
        if anatomy.layer[layer].unit not in kept_whole:
            layers.setdefault(layer, []).append(option)
    choices: Candidates = {}
    for layer, options in layers.items():
        useful = _useful(anatomy.layer[layer], options, bounded)
        if useful:
            none = Candidate(0.0, NOTHING)
            choices[weights_of(layer)] = (none, *useful)
    return choices


def measured_options(reading: Reading) -> Iterator[Candidate]:
    """A choice for each lesion of a damage of weights that has numbers, layer by layer and the
    least harmful first."""
    for lesion, cost in reading.drops.items():
        if not cost.reason:
            high = cost.drop if isnan(cost.high) else cost.high
            yield Candidate(lesion.amount, NOTHING, cost.drop, high, lesion.amount, "", lesion, 1)


def _useful(layer: Layer, options: Sequence[Candidate], bounded: Sequence[str]) -> list[Candidate]:
    """Those that save something, the least of what is bounded first."""
    intact = shape_of(layer).intact()

    def remaining(option: Candidate) -> tuple[float, ...]:
        cost = left(layer, option)
        return tuple(getattr(cost, COUNTED[n]) / getattr(intact, COUNTED[n]) for n in bounded)

    saving = [option for option in options if min(remaining(option)) < 1]
    saving.sort(key=remaining, reverse=True)
    return [replace(option, place=place) for place, option in enumerate(saving, 1)]


def left(layer: Layer, option: Candidate, inputs: int | None = None) -> Footprint:
    """What a layer costs with an option of its weight, where so many inputs of each filter stay."""
    shape = shape_of(layer)
    shape = shape if inputs is None else replace(shape, inputs=inputs)
    if option.lesion is None:
        return shape.intact()
    kind = weight_damage(option.lesion.damage)
    if kind is None:
        raise LesionError(f"Expected a damage of weights, got {option.lesion.damage}.")
    return kind.left(shape, option.asked)


def compressed(
    readings: Sequence[Reading], choices: Mapping[str, Candidate]
) -> tuple[Compressed, ...]:
    """What choices make of layers' weights, in order of execution."""
    amounts = {reading.damage: reading.amounts for reading in readings}
    damaging = {
        choice.lesion.target: choice
        for choice in choices.values()
        if choice.place and choice.lesion is not None
    }
    made = list[Compressed]()
    for layer in readings[0].anatomy.layer if readings else ():
        if layer in damaging:
            choice = damaging[layer]
            assert choice.lesion is not None
            kind, seed = choice.lesion.damage, choice.lesion.seed
            words = amounts[kind].text(choice.asked)
            made.append(
                Compressed(layer, kind, choice.asked, seed, words, choice.drop, choice.high)
            )
    return tuple(made)


def stored(anatomy: Anatomy, dropped: np.ndarray, weights: Sequence[Compressed] = ()) -> Footprint:
    """What all layers cost together without the labels in `dropped`, exactly.

    Batch norm, which folds into weights, is left out.
    """
    chosen = {each.layer: each for each in weights}
    parts = [_stored(anatomy, layer, dropped, chosen.get(layer.name)) for layer in anatomy.layers]
    return Footprint(*(sum(numbers) for numbers in zip(*parts, strict=True)))


def _stored(
    anatomy: Anatomy, layer: Layer, dropped: np.ndarray, change: Compressed | None
) -> tuple[int, ...]:
    """(parameters, bits, MACs, dense MACs, bit operations) of one layer."""
    if change is not None:
        kind = weight_damage(change.damage)
        assert kind is not None
        stay = int(reads_left(anatomy, layer.name, dropped).sum())
        made = kind.left(replace(shape_of(layer), inputs=stay), change.amount)
        return made.parameters, made.bits, made.macs, made.dense_macs, made.bops
    names_of = [name for name in (layer.weight, layer.bias) if name]
    numbers = [prod(anatomy.parameter[name].kept(dropped)) for name in names_of]
    macs = numbers[0] * layer.positions
    return sum(numbers), FLOAT * sum(numbers), macs, macs, macs * FLOAT * FLOAT

"""Pruned networks in files: tensors and numbers, no code, put into a whole network of the kind."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lesion.boundary.files import write
from lesion.compression.tensors import Rounding
from lesion.errors import LesionError, first_line
from lesion.exports.origin import texts
from lesion.exports.quantised_inputs import QuantisedInput, reading_few_bits
from lesion.harmless import line
from lesion.lesions.damage import damage
from lesion.network.copy import copied
from lesion.network.graph import state_of
from lesion.network.torch_layers import LAYERS, as_layer, put_in_place
from lesion.rates.allocation import Allocation

FORMAT = 2
Numbers = int | list[int]


def save_pruned(small: nn.Module, allocation: Allocation, path: str | Path) -> None:
    """The weights as safetensors, with the numbers of its modules and the rates in its metadata.

    small: what `apply` gave, trained further or not
    """
    modules = {
        name: {"kind": _kind(module), "numbers": dict(_numbers(module))}
        for name, module in small.named_modules()
    }
    places = dict(small.named_modules())
    changed = [each.layer for each in allocation.weights]
    few = {
        name: [module[0].bits, module[0].low, module[0].high]
        for name, module in places.items()
        if isinstance(module, nn.Sequential) and module and isinstance(module[0], QuantisedInput)
    }
    put = [name for name in changed if isinstance(places.get(name), nn.Sequential)]
    factored = [name for name in put if name not in few]
    given = {each.layer for each in allocation.weights if damage(each.damage).sees == "responses"}
    said = {
        "format": FORMAT,
        "modules": modules,
        "shared": list(_shared(small)),
        "factored": factored,
        "biased": sorted(given.difference(factored)),
        "few_bits": few,
    }
    metadata = {"pruned": json.dumps(said), "allocation": json.dumps(allocation.to_dict())}
    tensors = {name: value.detach().contiguous().clone() for name, value in state_of(small)}
    write(path, save(tensors, texts(allocation) | metadata))


def load_pruned(network: nn.Module | Callable[[], nn.Module], path: str | Path) -> nn.Module:
    """The smaller network that `save_pruned` wrote, from a whole one of its kind.

    network: a whole one, with any weights, which stays as it is, or a function that makes one
    Nothing is traced, nothing runs, and the file holds no code.
    Raises LesionError where the file holds no pruned network, or one of another kind.
    """
    said, tensors = _read(path)
    whole = network if isinstance(network, nn.Module) else network()
    if not isinstance(whole, nn.Module):
        raise LesionError(
            f"Expected a network, or a function that makes one, got {type(whole).__name__}."
        )
    small = copied(whole)
    try:
        for name in said.get("factored", ()):
            _put_factors(small, name, said["modules"], tensors)
        for name, (bits, low, high) in said.get("few_bits", {}).items():
            module = _module(small, name)
            put_in_place(small, module, reading_few_bits(module, Rounding(bits, low, high)))
        _make_plain(small, said["modules"], tensors, said.get("biased", ()))
        _check_fits(small, tensors)
        _fill(small, tensors, said["shared"])
        _set_numbers(small, said["modules"])
    except _Unlike as unlike:
        raise LesionError(
            f"Expected the whole network of the kind that {path} was pruned from, but "
            f"{type(whole).__name__} {unlike}; give what the sweep was given."
        ) from None
    except (KeyError, TypeError, AttributeError) as error:  # not as save_pruned wrote it
        raise LesionError(
            f"Expected a pruned network in {path}, but what it says of its modules is damaged; "
            "write it again (lesion apply)."
        ) from error
    return small


def _put_factors(
    network: nn.Module, path: str, records: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Puts the layers that a factored one was made of in its place, without weights yet."""
    module, layers = _module(network, path), list[nn.Module]()
    while (record := records.get(f"{path}.{len(layers)}")) is not None:
        layer = _layer(record)
        if f"{path}.{len(layers)}.bias" in tensors:
            layer.bias = nn.Parameter(torch.empty(0))
        layers.append(layer)
    put_in_place(network, module, nn.Sequential(*layers).train(module.training))


def _layer(record: Mapping[str, Any]) -> nn.Module:
    """A layer of torch's by its kind and numbers, without a bias, its weight empty yet."""
    kinds: dict[str, Any] = {f"{each.__module__}.{each.__qualname__}": each for each in LAYERS}
    numbers = {k: v if type(v) is int else tuple(v) for k, v in record["numbers"].items()}
    kind = kinds[record["kind"]]
    settings = {name: numbers[name] for name in signature(kind).parameters if name in numbers}
    made: nn.Module = kind(**settings, bias=False, device="meta")
    made.weight = nn.Parameter(torch.empty(0))
    return made


class _Unlike(Exception):
    """What a whole network has otherwise than the pruned one."""


def _module(network: nn.Module, path: str) -> nn.Module:
    try:
        return network.get_submodule(path)
    except AttributeError:
        raise _Unlike(f"has no module {line(path)}") from None


def _kind(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _numbers(module: nn.Module) -> Iterator[tuple[str, Numbers]]:
    """The attributes of a module that are whole numbers, or several in a sequence."""
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        if type(value) is int:
            yield name, value
        elif isinstance(value, (tuple, list)) and value and all(type(x) is int for x in value):
            yield name, list(value)


def _shared(network: nn.Module) -> Iterator[list[str]]:
    """The names of each tensor that has several."""
    names = defaultdict[int, list[str]](list)
    for name, tensor in state_of(network):
        names[id(tensor)].append(name)
    yield from (several for several in names.values() if len(several) > 1)


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says, and its tensors."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise LesionError(
            f"Expected a pruned network in {path}, but it cannot be read ({first_line(error)}); "
            "give a file that save_pruned or `lesion apply` wrote."
        ) from error
    try:
        said = json.loads(metadata.get("pruned", "null"))
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise LesionError(
            f"Expected a pruned network in {path}, but it does not say how its modules were "
            "pruned; give a file that this version of save_pruned or `lesion apply` wrote."
        )
    return said, tensors


def _make_plain(
    network: nn.Module,
    records: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    biased: Collection[str],
) -> None:
    """Puts torch's own layers in the place of modules that computed the weights they now have, or
    lacked a bias that they now have.

    biased: the layers that the rates may have given one; of others a bias that is lacking is told
    """
    torchs = {f"{kind.__module__}.{kind.__qualname__}" for kind in LAYERS}
    leaves = defaultdict[str, set[str]](set)
    for name in tensors:
        path, _, leaf = name.rpartition(".")
        leaves[path].add(leaf)
    for path, record in records.items():
        module = _module(network, path)
        if record["kind"] not in torchs:
            continue
        if not isinstance(module, LAYERS):
            raise _Unlike(f"has no layer of torch's at {line(path)}")
        held = {name for name, _ in state_of(module) if "." not in name}
        made = leaves[path] - held
        if _kind(module) != record["kind"] or "weight" in made or (made and path in biased):
            plain = as_layer(module)
            for name in leaves[path]:
                setattr(plain, name, nn.Parameter(torch.empty(0)))
            put_in_place(network, module, plain)


def _check_fits(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raises _Unlike unless the file has a tensor for each of the network's, and no larger."""
    state = dict(state_of(network))
    for name in sorted(state.keys() ^ tensors.keys()):
        has = "has a tensor" if name in state else "lacks the tensor"
        raise _Unlike(f"{has} {line(name)}")
    for name, tensor in state.items():
        whole, pruned = tuple(tensor.shape), tuple(tensors[name].shape)
        smaller = len(whole) == len(pruned) and all(map(int.__ge__, whole, pruned))
        if not smaller and whole != (0,):  # of a layer that was put in place
            raise _Unlike(f"has {line(name)} of shape {whole}, of which {pruned} is no part")


def _fill(
    network: nn.Module, tensors: Mapping[str, Tensor], shared: Sequence[Sequence[str]]
) -> None:
    """Gives the network's tensors the file's values; what was one tensor is one."""
    state = dict(state_of(network))
    for name, tensor in state.items():
        tensor.data = tensors[name].to(tensor.device)
    for first, *others in shared:
        for name in others:
            if state[name] is not state[first]:  # both are tensors of the network's
                owner, _, leaf = name.rpartition(".")
                setattr(network.get_submodule(owner), leaf, state[first])


def _set_numbers(network: nn.Module, records: Mapping[str, Any]) -> None:
    """Gives the modules the numbers that those of the pruned network had."""
    for path, record in records.items():
        module = network.get_submodule(path)
        known = dict(_numbers(module))
        for name, value in record["numbers"].items():
            if name in known and known[name] != value and type(value) is type(known[name]):
                before = getattr(module, name)
                setattr(module, name, value if type(value) is int else type(before)(value))

"""What works on networks of many kinds: anatomy, rates, apply, ONNX, beside Torch-Pruning.

    python benchmarks/what_works.py --families torchvision timm -o benchmarks/what_works.md
    python benchmarks/what_works.py --families plain --onnx

For each network, with random statistics and biases, random rates of all units that can be cut: is
it taken apart and replayed; does the applied network give what the lesioned one gives, in
evaluation and in training mode; has it the parameters and MACs that were predicted; does ONNX
Runtime give the same; is everything of the network left as it was; what does Torch-Pruning make of
the same rates.  A row is kept in a folder as soon as it is known, so that a run goes on.
"""

import argparse
import json
import re
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from many_networks import FAMILIES, Entry, entries
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lesion.errors import LesionError
from lesion.exports.match import match
from lesion.exports.programs import export_pruned
from lesion.exports.pruned import applied, lesioned, outputs_of
from lesion.exports.targets.torch_pruning import to_torch_pruning
from lesion.lesions.edits import Channels
from lesion.lesions.lesion import Target
from lesion.lesions.ratios import falling
from lesion.lesions.readers import Readers
from lesion.network.anatomy import Anatomy, keeps
from lesion.network.copy import copied
from lesion.network.cost import cost
from lesion.network.layers import layers
from lesion.network.parameter_masks import masks
from lesion.rates.allocation import Allocation
from lesion.rates.unit_rate import UnitRate
from lesion.subject.batch import every_tensor

PATIENCE = 60  # seconds for Torch-Pruning, which follows some reshapes index by index
RATIOS = (0.0, 0.15, 0.3, 0.5, 0.8)
HEADER = (
    "network", "measured by", "layers free / coupled / tied", "removed", "applied equals lesioned",
    "in training", "predicted MACs, parameters", "ONNX", "Torch-Pruning", "left as found",
    "seconds", "why not",
)  # fmt: skip


@dataclass
class Row:
    """What became of one network; texts are as they stand in the table.

    kinds: layers whose unit is free, coupled, tied; convolutions: how many, and how many of these
        free or coupled; reasons: of tied layers, counted
    """

    family: str
    name: str
    whole: str = ""
    kinds: tuple[int, int, int] = (0, 0, 0)
    convolutions: tuple[int, int] = (0, 0)
    removed: str = ""
    applied: str = "no"
    training: str = ""
    predicted: str = ""
    onnx: str = ""
    torch_pruning: str = ""
    left: str = ""
    seconds: float = 0.0
    why: str = ""
    reasons: dict[str, int] = field(default_factory=dict)

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        return (
            self.name, "whole passes" if self.whole else "replay", " / ".join(map(str, self.kinds)),
            self.removed, self.applied, self.training, self.predicted, self.onnx,
            self.torch_pruning, self.left, f"{self.seconds:.0f}", self.why,
        )  # fmt: skip


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Statistics, scales and biases that hide nothing, in place."""
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*network.named_buffers(), *network.named_parameters()]:
            noise = torch.randn(value.shape, generator=numbers)
            if name.endswith("running_mean"):
                value.copy_(0.2 * noise)
            elif name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif value.is_floating_point() and isinstance(value, nn.Parameter) and value.dim() < 2:
                value.add_(0.2 * noise)


def random_rates(anatomy: Anatomy, seed: int = 0) -> Allocation:
    """A random share of each unit that can be cut, random channels of it."""
    numbers, rates = np.random.default_rng(seed), []
    gone = np.zeros(anatomy.channels, bool)
    for unit in anatomy.units:
        if unit.kind != "tied" and not unit.held:
            scores, ratio = numbers.random(unit.channels), float(numbers.choice(RATIOS))
            target = Target(unit.name, unit.kind)
            fallen = falling(anatomy, target, scores, ratio, "floor-kept")
            gone[np.array(unit.labels)[fallen]] = True
    for unit in anatomy.units:
        if unit.kind != "tied":
            kept = np.flatnonzero(~gone[np.array(unit.labels)]).tolist()
            filters = {
                name: tuple(np.flatnonzero(keeps(anatomy.made_by(name), gone)).tolist())
                for name in unit.layers
            }
            rate = UnitRate(unit.name, unit.kind, None, unit.channels, tuple(kept), filters)
            rates.append(rate)
    return Allocation(
        {}, "random", "random", "top1", 0.0, 0, tuple(rates), cost(anatomy), cost(anatomy, gone),
        0.0, 0.0, "",
    )  # fmt: skip


def state_of(network: nn.Module) -> dict[str, Any]:
    """All that a network is: tensors, attributes, hooks, modes, in forms that can be compared."""
    state: dict[str, Any] = {"random": torch.get_rng_state().tolist()}
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            if name in ("_parameters", "_buffers"):
                state |= {
                    f"{path}.{key}": tensor.detach().clone() if tensor is not None else None
                    for key, tensor in value.items()
                }
            elif isinstance(value, dict):
                state[f"{path}.{name}"] = len(value)
            elif isinstance(value, Tensor):
                state[f"{path}.{name}"] = value.detach().clone()
            else:
                state[f"{path}.{name}"] = repr(value) if name != "_modules" else len(value)
    return state


def changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The first thing that differs, "" if nothing does."""
    for name in before.keys() | after.keys():
        a, b = before.get(name), after.get(name)
        same = torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or (
            not isinstance(a, Tensor) and a == b)  # fmt: skip
        if not same:
            return name
    return ""


def apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference of outputs, as a part of their size."""
    parts = [
        float((a.double() - b.double()).abs().max()) / max(float(b.double().abs().max()), 1e-30)
        for a, b in zip(found, wanted, strict=True)
        if b.is_floating_point() and b.numel()
    ]
    return max(parts, default=0.0)


def in_training(matched: Any, small: nn.Module) -> str:
    """How far apart the sliced network and that with zeros in its weights are in training mode.

    In double precision, for statistics of few pixels blow up what floats lose; nothing drops out.
    """
    network = matched.network
    modules = {name for name, module in network.named_modules() if module._parameters}
    readers = Readers(matched.dissection, modules)
    edit = Channels((*matched.dissection.reads, *matched.dissection.other_reads), matched.dropped)
    if place := edit.obstacle(readers):
        return f"not by zeros ({place})"
    zeroed = edit.weights(readers, network)
    anatomy, staying = matched.anatomy, masks(matched.anatomy, matched.dropped)
    for name in {layer.weight for layer in anatomy.layers if not layer.macs} & staying.keys():
        weight = network.get_parameter(name).detach()  # of a layer that runs in training alone
        zeroed[name] = weight * torch.from_numpy(staying[name])
    results = []
    for module, weights in ((network, zeroed), (small, {})):
        other = copied(module).double()
        with torch.no_grad():
            for name, value in weights.items():
                other.get_parameter(name).copy_(value)
        for part in other.modules():
            drops = "drop" in type(part).__name__.lower() or "Stochastic" in type(part).__name__
            part.training = not drops
        batch = pytree.tree_map_only(Tensor, Tensor.double, matched.batch)
        with torch.no_grad(), torch.random.fork_rng(), whole_activations():
            results.append(list(every_tensor(matched.outputs(other, batch))))
    return f"{apart(results[1], results[0]):.0e}"


@contextmanager
def whole_activations() -> Iterator[None]:
    """Within, functional.dropout drops nothing: forwards that call it do not ask their module."""
    drops = F.dropout
    F.dropout = lambda input, *_, **__: input
    try:
        yield
    finally:
        F.dropout = drops


def tried(entry: Entry, onnx: bool, seed: int = 0) -> Row:
    """The row of one network."""
    start, row = time.monotonic(), Row(entry.family, entry.name)
    torch.manual_seed(seed)
    try:
        _fill(row, entry, onnx, seed)
    except LesionError as error:
        row.why = row.why or str(error)
    except Exception as error:  # networks and packages of others may raise anything
        row.why = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
    row.seconds = time.monotonic() - start
    return row


def _fill(row: Row, entry: Entry, onnx: bool, seed: int) -> None:
    network = entry.make().eval().requires_grad_(False)
    randomise(network, seed)
    x = torch.randn(2, *entry.shape, generator=torch.Generator().manual_seed(seed))
    before = state_of(network)
    anatomy = layers(network, x, entry.adapter)
    row.whole = anatomy.whole
    unit = {layer.name: anatomy.unit[layer.unit] for layer in anatomy.layers}
    kinds = Counter(unit[layer.name].kind for layer in anatomy.layers)
    row.kinds = (kinds["free"], kinds["coupled"], kinds["tied"])
    convolutions = [layer for layer in anatomy.layers if layer.kernel]
    row.convolutions = (
        len(convolutions),
        sum(not unit[layer.name].reason + unit[layer.name].held for layer in convolutions),
    )
    tied = (unit[layer.name].reason or unit[layer.name].held for layer in anatomy.layers)
    row.reasons = dict(Counter(general(reason) for reason in tied if reason))
    rates = random_rates(anatomy, seed)
    matched = match(rates, network, x, entry.adapter)
    row.removed = f"{1 - rates.pruned.macs / max(rates.intact.macs, 1):.0%} of MACs"
    try:
        small, _ = applied(rates, network, x, entry.adapter)
    except LesionError as error:
        row.why = str(error)
    else:
        row.applied = f"{apart(outputs_of(matched, small), lesioned(matched)):.0e}"
        row.training = in_training(matched, small)
        again = cost(layers(small, x, entry.adapter))
        exact = (again.macs, again.parameters) == (rates.pruned.macs, rates.pruned.parameters)
        left = {name for name, _ in small.named_parameters(remove_duplicate=False)}
        gone = (p for p in anatomy.parameters if p.trained and p.name not in left)
        fewer = sum(int(np.prod(p.kept(matched.dropped))) for p in gone)
        held = sum(p.numel() for p in small.parameters())
        if exact and held == rates.pruned.parameters:
            row.predicted = "equal"
        elif again.macs == rates.pruned.macs and held == rates.pruned.parameters - fewer:
            row.predicted = "equal but for what weights were computed from"
        else:
            row.predicted = f"{again} instead of {rates.pruned}"
        if onnx:
            row.onnx = _exported(small, rates, x, entry)
    row.torch_pruning = _torch_pruning(rates, network, x, entry)
    row.left = changed(before, state_of(network)) or "yes"


def _exported(small: nn.Module, rates: Allocation, x: Tensor, entry: Entry) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_pruned(small, rates, Path(folder) / "small.onnx", x, entry.adapter)
        except LesionError as error:
            return str(error)
    return "equal"


def _torch_pruning(rates: Allocation, network: nn.Module, x: Tensor, entry: Entry) -> str:
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, 1)  # again: destructors swallow what is raised
    try:
        to_torch_pruning(rates, network, x, entry.adapter)
    except LesionError as error:
        return "other filters or fails" if "Torch-Pruning" in str(error) else "refused"
    except _TooLong:
        return f"not done in {PATIENCE} s"
    except Exception as error:  # Torch-Pruning raises what it likes
        return f"fails ({type(error).__name__})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "the same"


def _stop(*_: object) -> None:
    raise _TooLong


class _TooLong(BaseException):
    """Torch-Pruning was not done in time."""


def general(reason: str) -> str:
    """A reason without the names of modules, so that it can be counted."""
    reason = re.sub(r"(held by) .*", r"\1 its forward", reason)
    return re.sub(r"(axis of|read by|attention:|from|weight is used in) \S+", r"\1 …", reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--only", nargs="*", help="names of networks")
    parser.add_argument("--onnx", action="store_true", help="export each and run it")
    parser.add_argument("--parts", type=Path, help="a folder for the rows, to go on from")
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for entry in entries(asked.families):
        if asked.only and entry.name not in asked.only:
            continue
        part = asked.parts and asked.parts / f"{entry.family}-{entry.name}.json"
        if part and part.exists():
            rows.append(Row(**json.loads(part.read_text())))
            continue
        rows.append(tried(entry, asked.onnx))
        print(*rows[-1].cells(), flush=True)
        if part:
            asked.parts.mkdir(exist_ok=True, parents=True)
            part.write_text(json.dumps(asdict(rows[-1])))
    text = page(rows)
    asked.out.write_text(text) if asked.out else print(text)


def page(rows: list[Row]) -> str:
    """A section a family, then the reasons of what is tied, counted over layers."""
    lines = ["# What works on which networks", ""]
    for family in dict.fromkeys(row.family for row in rows):
        own = [row for row in rows if row.family == family]
        replayed = sum(bool(sum(row.kinds)) and not row.whole for row in own)
        done = sum(row.applied != "no" for row in own)
        convolutions, cut = (sum(row.convolutions[i] for row in own) for i in (0, 1))
        lines += [
            f"## {family}", "",
            f"{len(own)} networks, {replayed} taken apart and replayed, {done} applied; "
            f"{cut} of {convolutions} convolutions are free or coupled.", "",
            f"| {' | '.join(HEADER)} |", f"|{' --- |' * len(HEADER)}",
            *(f"| {' | '.join(cell.replace('|', '/') for cell in row.cells())} |" for row in own),
            "",
        ]  # fmt: skip
    reasons = Counter[str]()
    for row in rows:
        reasons.update(row.reasons)
    lines += ["## Why layers are tied", "", "| layers | reason |", "| --- | --- |"]
    lines += [f"| {count} | {reason} |" for reason, count in reasons.most_common()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()

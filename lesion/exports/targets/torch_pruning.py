"""Torch-Pruning (written for 1.6): rates, and the study's own choice of filters, on a network.

    ready = to_torch_pruning(allocation, network, example)
    ready.pruner().step()  # the network is pruned in place

Three things that its pruners do by themselves are guarded against: the overall ratio, by default
0.5, would hit every layer without a rate; one ratio wins where the layers of a group are given
several; and a count such as int(5 · (1 − 0.8)) is one off.  Its own l1 sums over the group, so that
it ranks other filters: here they come from the rates.

The package is an extra: `pip install "lesion[pruning]"`.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lesion.boundary.json_text import as_json
from lesion.errors import LesionError, first_line
from lesion.exports.match import Match, match
from lesion.exports.origin import about
from lesion.exports.ownership import Owned, owning
from lesion.exports.plain_weights import INSTEAD, check_plain
from lesion.exports.targets import Handover
from lesion.exports.torch_pruning_groups import check, check_pruned, groups
from lesion.network.copy import copied
from lesion.network.program import layout
from lesion.rates.allocation import Allocation
from lesion.subject.adapter import Adapter
from lesion.subject.network import evaluating
from lesion.subject.snapshot import unchanged

SUFFIX = ".json"
RESOLVED = True


@dataclass(frozen=True, eq=False)
class KeptFilters:
    """An importance: 1 for a filter that stays and 0 for one that falls, whatever its weights.

    stays: for each layer that a group may start from, of each of its filters
    A group that no rate is for has no scores, so that Torch-Pruning leaves it alone.
    """

    stays: Mapping[nn.Module, Tensor]

    def __call__(self, group: Any) -> Tensor | None:
        root, numbers = group[0].dep.target.module, group[0].idxs
        if root not in self.stays:
            return None
        if len(numbers) != len(self.stays[root]):
            raise LesionError(
                f"Expected a layer with its {len(self.stays[root])} filters, got one with "
                f"{len(numbers)}; these rates are for the whole network, in one step."
            )
        return self.stays[root].clone()


@dataclass(frozen=True, eq=False)
class TorchPruning:
    """What Torch-Pruning is to be told of one network.

    pruning_ratio: of all layers without a rate; pruning_ratio_dict: of those that lose filters, one
        ratio a group; ignored_layers: those that lose none; importance: which filters fall
    """

    match: Match
    pruning_ratio_dict: Mapping[nn.Module, float]
    ignored_layers: tuple[nn.Module, ...]
    importance: KeptFilters
    pruning_ratio: float = 0.0

    @property
    def subject(self) -> Mapping[str, str]:
        return self.match.allocation.subject

    @property
    def guarantee(self) -> str:
        return self.match.allocation.guarantee

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of a pruner, behind the network and the example inputs."""
        return {
            "importance": self.importance,
            "pruning_ratio": self.pruning_ratio,
            "pruning_ratio_dict": dict(self.pruning_ratio_dict),
            "ignored_layers": list(self.ignored_layers),
            "forward_fn": lambda network, batch: _tensors(self.match, network, batch),
            "in_channel_groups": {},  # by default one dict, which all pruners share
            "out_channel_groups": {},
        }

    def pruner(self, kind: Any = None, **options: Any) -> Any:
        """A pruner whose `step()` prunes the network in place: `kind`, by default BasePruner.

        options: other arguments of it, before those of `options`
        """
        with _followed(self.match.network) as tp:
            chosen = kind or tp.pruner.BasePruner
            return chosen(self.match.network, self.match.batch, **{**self.options, **options})

    def prune(self) -> None:
        """Prunes the network in place; what was frozen and each module's mode stay."""
        pruner = self.pruner()
        with _followed(self.match.network):
            pruner.step()


def to_torch_pruning(
    allocation: Allocation, network: nn.Module, example: Any, adapter: Adapter | None = None
) -> TorchPruning:
    """The rates as Torch-Pruning takes them, resolved on a network, which stays as it is.

    example: one batch of two images or more, as for `lesion.layers`
    They are tried on a copy first, of which every tensor is compared with what the rates leave of
    it.  Raises LesionError where the rates are another network's, and where Torch-Pruning fails on
    this one or removes anything else than the rates say.
    """
    matched = match(allocation, network, example, adapter)
    check_plain(matched)
    owned = owning(matched)
    if owned.apart:
        raise LesionError(
            f"Expected a parameter of one module, but several share {owned.apart[0]}, of which "
            "Torch-Pruning knows nothing; prune a copy in which they share it again (lesion "
            f"apply), or {INSTEAD}."
        )
    pruned(owned)
    return _resolved(matched)


def pruned(owned: Owned) -> nn.Module:
    """A copy of the network, pruned and compared with what the rates leave of it.

    Its tensors lie in memory as the network's do: channels last stays so.  What modules share, they
    share again.
    """
    matched = owned.match
    check_plain(matched)
    small = replace(matched, network=copied(matched.network))
    _resolved(small).prune()
    check_pruned(small, matched.network)
    whole = dict(matched.network.named_parameters())
    for name, weight in small.network.named_parameters():
        weight.data = weight.data.contiguous(memory_format=layout(whole[name]))
    return owned.joined(small.network)


def _resolved(matched: Match) -> TorchPruning:
    with unchanged(matched.network), _followed(matched.network) as tp:
        graph = tp.DependencyGraph().build_dependency(
            matched.network,
            matched.batch,
            forward_fn=lambda network, batch: _tensors(matched, network, batch),
        )
        together = list(groups(matched, graph))
    check(matched, together)
    modules = dict(matched.network.named_modules())
    ratios: dict[nn.Module, float] = {}
    for group in together:
        for name in (group.root, *group.filters):
            ratios.setdefault(modules[name], group.ratio)
    layers = [layer.name for layer in matched.anatomy.layers if layer.name in modules]
    stays = {
        modules[name]: torch.from_numpy(~matched.falling(name)).float()
        for name in layers
        if matched.falling(name).any()
    }
    whole = tuple(modules[name] for name in layers if not matched.falling(name).any())
    return TorchPruning(matched, ratios, whole, KeptFilters(stays))


def content(given: Handover) -> str:
    """JSON by names: `pruning_ratio`, `pruning_ratio_dict`, `ignored_layers`, and which filters
    stay of each layer (`kept`)."""
    network, example = given.network_for("torch-pruning")
    owned = owning(match(given.allocation, network, example, given.adapter))
    pruned(owned)
    ready = _resolved(owned.match)
    name = {module: name for name, module in owned.match.network.named_modules()}
    values = {
        **about(given.allocation),
        "pruning_ratio": ready.pruning_ratio,
        "pruning_ratio_dict": {
            name[layer]: ratio for layer, ratio in ready.pruning_ratio_dict.items()
        },
        "ignored_layers": [name[layer] for layer in ready.ignored_layers],
        "kept": {
            name[layer]: np.flatnonzero(stays.numpy()).tolist()
            for layer, stays in ready.importance.stays.items()
        },
    }
    return as_json(values) + "\n"


def _tensors(matched: Match, network: nn.Module, batch: Any) -> list[Tensor]:
    """All tensors that a network gives, through which Torch-Pruning goes back to its layers."""
    leaves = pytree.tree_leaves(matched.outputs(network, batch))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.grad_fn is not None]


@contextmanager
def _followed(network: nn.Module) -> Iterator[Any]:
    """The package, while gradients lead through the network in evaluation mode.

    Afterwards modes, and what was frozen, are as before.  What Torch-Pruning raises, becomes one
    sentence.
    """
    tp = _package()
    named = partial(network.named_parameters, remove_duplicate=False)  # the first may change
    learns = {name: parameter.requires_grad for name, parameter in named()}
    try:
        with evaluating(network), torch.inference_mode(False), torch.enable_grad():
            for parameter in network.parameters():
                parameter.requires_grad_(parameter.is_floating_point())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it tells of parameters such as layer_scale
                yield tp
    except LesionError:
        raise
    except Exception as error:  # it raises what its arithmetic and torch raise
        raise LesionError(
            f"Expected a network that Torch-Pruning can follow, but it fails on "
            f"{type(network).__name__} ({type(error).__name__}: {first_line(error)}); {INSTEAD}."
        ) from error
    finally:
        for name, parameter in named():
            parameter.requires_grad_(learns[name])


def _package() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise LesionError(
            "Expected the package torch-pruning, which prunes and exports to torch-pruning need, "
            'but it is not installed; run pip install "lesion[pruning]".'
        ) from error
    return torch_pruning

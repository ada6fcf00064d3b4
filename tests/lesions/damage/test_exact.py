"""Every damage on six families: a replayed lesion gives what a network gives that was edited by
hand and runs whole."""

import copy
import pickle
from functools import cache

import compressible
import pytest
import torch
from networks import spread
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval, prune

from lesion.compression import codebooks, disturbance, factors, grains, levels, uniform, vbmf
from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.engine.whole import Whole
from lesion.errors import LesionError
from lesion.lesions import damage as damages
from lesion.lesions.damage import Settings, damage, plan
from lesion.lesions.damage.low_rank import ranks
from lesion.lesions.layer_damage import shape_of
from lesion.lesions.lesion import Target, seed_of
from lesion.lesions.ratios import kept
from lesion.network.dissect import dissect

AMOUNTS = {
    "sparsity": 0.7, "sparsity:grain=kernel": 0.5, "sparsity:grain=column,score=square": 0.5,
    "sparsity:grain=input_channel,score=random": 0.5, "sparsity:grain=vector": 0.5,
    "sparsity:grain=position": 0.5, "n_m": 2, "n_m:m=8": 3, "groups": 2, "quantise": 3,
    "quantise:per=tensor": 4, "quantise:per=tensor,grid=asymmetric,clip=mse": 3,
    "quantise:grid=full,clip=percentile,percentile=99.0": 4, "quantise:sparse=0.6": 3,
    "codebook": 2, "product:length=4": 2,
    "binary": 1, "binary:per=tensor": 2, "ternary:threshold=0.75": 2, "power_of_two": 4,
    "dorefa": 4, "hash": 0.75, "low_rank": 0.5, "low_rank:form=spatial": 0.5,
    "low_rank:form=tucker2": 0.6, "low_rank:form=cp": 0.95, "noise": 0.5, "shuffle": 1.0,
    "rerandomise": 0.5, "weight_threshold": 0.8, "vbmf": 1.0,
}  # fmt: skip


def by_hand(name, weight, amount, module, seed):
    """A weight, filters first, damaged by the formula."""
    word, _, text = name.partition(":")
    options = dict(option.split("=") for option in text.split(",")) if text else {}
    groups = getattr(module, "groups", 1)
    match word:
        case "sparsity":
            grain = options.get("grain", "weight")
            count = len(grains.group_scores(weight, grain, groups=groups))
            score = options.get("score", "abs")
            return grains.sparse(weight, grain, kept(count, amount), score, groups, seed)
        case "n_m":
            return grains.n_of_m(weight, amount, int(options.get("m", 4)))
        case "groups":
            return grains.block_diagonal(weight, amount)
        case "quantise":
            if "percentile" in options:
                options["percentile"] = float(options["percentile"])
            if "sparse" in options:
                gone = round(weight.numel() - kept(weight.numel(), float(options.pop("sparse"))))
                weight = prune.L1Unstructured(gone).prune(weight)
            return uniform.uniform(weight, amount, **options)
        case "codebook":
            return codebooks.codebook(weight, 2**amount)
        case "product":
            return codebooks.product(weight, int(options["length"]), 2**amount, seed)
        case "binary":
            return levels.binary(weight, amount, **options)
        case "ternary":
            return levels.ternary(weight, float(options["threshold"]))
        case "power_of_two" | "dorefa":
            return getattr(levels, word)(weight, amount)
        case "hash":
            values = kept(weight.numel(), amount)
            return codebooks.hashed_by_chance(weight, values, seed)
        case "low_rank":
            raise AssertionError("these are factored for real")
        case "noise":
            return disturbance.noisy(weight, amount, seed)
        case "shuffle":
            return disturbance.shuffled(weight, amount, seed)
        case "weight_threshold":
            wide = weight.double()
            return weight * (wide.abs() >= amount * wide.std(correction=0))
        case "rerandomise":
            return disturbance.rerandomised(weight, amount, seed)


def filters_first(module, weight):
    """Of a transposed convolution each group's inputs and outputs change places; twice is never."""
    if not isinstance(module, nn.ConvTranspose2d):
        return weight
    parts = weight.reshape(module.groups, -1, *weight.shape[1:])
    return torch.cat([part.transpose(0, 1) for part in parts])


def norm_behind(network, name):
    """The batch norm that alone reads a module of these networks, and its name."""
    modules = dict(network.named_modules())
    if isinstance(network, nn.Sequential):
        following = str(int(name) + 1)
    else:
        stem, _, last = name.rpartition(".")
        swap = {"conv1": "bn1", "conv2": "bn2", "conv0": "norm0"}
        following = f"{stem}.{swap.get(last, '')}".lstrip(".")
        if "denselayer" in name:
            following = name.replace("conv1", "norm2") if last == "conv1" else ""
    norm = modules.get(following)
    return (following, norm) if isinstance(norm, nn.modules.batchnorm._BatchNorm) else ("", None)


def factored(module, form, rank):
    """The layer as several, one behind the other."""
    weight = module.weight.data
    if isinstance(module, nn.Linear):
        first, second = factors.svd(weight, *rank)
        layers = [nn.Linear(*first.T.shape, bias=False), nn.Linear(*second.T.shape)]
        layers[0].weight.data, layers[1].weight.data = first, second
        layers[1].bias = module.bias
        return nn.Sequential(*layers)

    def conv(kernel, stride=(1, 1), padding=(0, 0), groups=1):
        made = nn.Conv2d(kernel.shape[1] * groups, kernel.shape[0], kernel.shape[2:], stride,
                         padding, groups=groups, bias=False)  # fmt: skip
        made.weight.data = kernel
        return made

    (sh, sw), (ph, pw) = module.stride, module.padding
    if form == "svd":
        first, second = factors.svd(weight, *rank)
        layers = [conv(first, module.stride, module.padding), conv(second[..., None, None])]
    elif form == "spatial":
        vertical, horizontal = factors.spatial(weight, *rank)
        layers = [conv(vertical, (sh, 1), (ph, 0)), conv(horizontal, (1, sw), (0, pw))]
    elif form == "tucker2":
        inputs, core, filters = factors.tucker2(weight, *rank)
        layers = [conv(inputs[..., None, None]), conv(core, module.stride, module.padding),
                  conv(filters[..., None, None])]  # fmt: skip
    else:
        return None
    layers[-1].bias = module.bias
    return nn.Sequential(*layers)


@torch.no_grad()
def edited(network, name, layer, amount):
    """A copy of the network with one layer damaged by hand."""
    other = copy.deepcopy(network)
    module = other.get_submodule(layer.name)
    seed = seed_of(0, layer.name)
    if name.startswith(("low_rank", "vbmf")):
        if name == "vbmf":
            form = "svd" if module.weight[0, 0].numel() == 1 else "tucker2"
            rank = vbmf.weakened_ranks(module.weight.detach(), form, amount)
        else:
            form = damage(name).form
            rank = ranks(shape_of(layer), form, amount)
        read_by_attention = layer.name.endswith("out_proj")  # its weight, without its forward
        if (smaller := factored(module, form, rank)) and not read_by_attention:
            other.set_submodule(layer.name, smaller)
        else:
            module.weight.data = factors.of_rank(module.weight, form, rank, seed)
        return other
    if name.startswith("quantise"):
        following, norm = norm_behind(other, layer.name)
        if norm is not None:
            fuse = fuse_linear_bn_eval if isinstance(module, nn.Linear) else fuse_conv_bn_eval
            turned = isinstance(module, nn.ConvTranspose2d)
            if turned and module.groups > 1:  # torch folds it by the wrong axis
                factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
                wide = factor.reshape(-1, 1, 1, 1)
                folded = by_hand(name, filters_first(module, module.weight) * wide, amount,
                                 module, seed)  # fmt: skip
                module.weight.data = filters_first(module, folded / wide)
                return other
            module = fuse(module, norm, *([True] if turned else []))
            other.set_submodule(layer.name, module)
            other.set_submodule(following, nn.Identity())
    weight = filters_first(module, module.weight.data)
    changed = by_hand(name, weight, amount, module, seed)
    module.weight.data = filters_first(module, changed)
    return other


@cache
def opened(family):
    network, x, dissection = compressible.opened(family)
    return network, x, dissection, Replay(dissection)


@torch.no_grad()
@pytest.mark.parametrize("family", compressible.FAMILIES)
@pytest.mark.parametrize("name", AMOUNTS)
def test_replays_are_the_edited_network(family, name):
    network, x, dissection, engine = opened(family)
    kind, amount, anatomy = damage(name), AMOUNTS[name], dissection.anatomy
    targets, skipped = kind.targets(anatomy)
    assert len(targets) + len(skipped) == len(anatomy.layers)
    assert all(each.reason for each in skipped)
    targets = [
        t for t in targets
        if anatomy.unit[anatomy.layer[t.name].unit].kind != "tied"
        and hasattr(network.get_submodule(t.name), "weight")  # packed ones have a test below
    ]  # fmt: skip
    chosen = targets if family == "depthwise" else targets[1::2][:3]
    scores = {
        t: dissection.graph.parameters[anatomy.layer[t.name].weight].detach().numpy()
        if kind.weighs else None
        for t in chosen
    }  # fmt: skip
    lesions, _ = plan(anatomy, scores, [amount], Settings(), kind)
    cuts = {lesion: Cut(kind.edit(dissection, lesion, None)) for lesion in lesions}
    outputs = dict(engine.run((x,), cuts))
    for lesion in lesions:
        layer = anatomy.layer[lesion.target]
        wanted = edited(network, name, layer, amount)(x)
        effect = float((wanted - outputs[None]).abs().max())
        assert effect > 0, lesion.key
        error = float((outputs[lesion] - wanted).abs().max())
        assert error < 1e-6 * effect + 1e-12, lesion.key
        edit = pickle.loads(pickle.dumps(cuts[lesion].edit))
        assert edit.key == cuts[lesion].edit.key


@torch.no_grad()
@pytest.mark.parametrize("name", ["quantise", "sparsity", "binary"])
def test_a_packed_weight_of_attention_is_edited_as_any_other(name):
    network, x, dissection, engine = opened("transformer")
    kind, amount, anatomy = damage(name), AMOUNTS[name], dissection.anatomy
    layer = next(n for n in anatomy.layers if n.weight.endswith("in_proj_weight"))
    target = next(t for t in kind.targets(anatomy)[0] if t.name == layer.name)
    (lesion,), _ = plan(anatomy, {target: None}, [amount], Settings(), kind)
    output = dict(engine.run((x,), {lesion: Cut(kind.edit(dissection, lesion, None))}))[lesion]
    other = copy.deepcopy(network)
    module = other.get_submodule(layer.name)
    seed = seed_of(0, layer.name)
    changed = by_hand(name, module.in_proj_weight.data, amount, module, seed)
    module.in_proj_weight.data = changed
    wanted = other(x)
    assert float((output - wanted).abs().max()) < 1e-6 * float((wanted - network(x)).abs().max())


def test_every_damage_is_tried():
    words = {name.partition(":")[0] for name in AMOUNTS}
    blocks = {"delete_block", "delete_blocks", "reorder", "truncate"}
    values = {"activations", "activation_threshold", "perforation"}
    assert words == {*damages.names()} - {"filters"} - blocks - values  # these in files of theirs


@torch.no_grad()
def test_single_weights_fall_as_torch_prunes_them():
    network, x, dissection, engine = opened("resnet")
    kind = damage("sparsity")
    targets, _ = kind.targets(dissection.anatomy)
    lesions, _ = plan(dissection.anatomy, dict.fromkeys(targets[:4]), [0.5], Settings(), kind)
    cuts = {lesion: Cut(kind.edit(dissection, lesion, None)) for lesion in lesions}
    for lesion, found in engine.run((x,), cuts, intact=False):
        other = copy.deepcopy(network)
        prune.l1_unstructured(other.get_submodule(lesion.target), "weight", 0.5)
        torch.testing.assert_close(found, other(x))


@torch.no_grad()
def test_steps_of_each_filter_are_those_of_the_weight_without_its_batch_norm():
    """They commute with folding; steps of all filters do not."""
    network, x, dissection, engine = opened("resnet")
    for per, alike in (("channel", True), ("tensor", False)):
        kind = damage("quantise" if per == "channel" else "quantise:per=tensor")
        targets, _ = kind.targets(dissection.anatomy, "free", ["*conv1"])
        lesions, _ = plan(dissection.anatomy, dict.fromkeys(targets[:2]), [4], Settings(), kind)
        cuts = {lesion: Cut(kind.edit(dissection, lesion, None)) for lesion in lesions}
        outputs = dict(engine.run((x,), cuts))
        for lesion in lesions:
            other = copy.deepcopy(network)
            weight = other.get_submodule(lesion.target).weight
            weight.copy_(uniform.uniform(weight, 4, per=per))
            effect = float((outputs[lesion] - outputs[None]).abs().max())
            error = float((outputs[lesion] - other(x)).abs().max())
            assert (error < 1e-5 * effect) is alike, lesion.key


def test_zeroed_filters_are_no_removed_filters():
    """Batch norm makes a constant of them, which flows on."""
    network, x, dissection, engine = opened("resnet")
    removal = damage("filters")
    target = removal.targets(dissection.anatomy)[0][1]
    scores = network.get_submodule(target.name).weight.detach().abs().sum((1, 2, 3)).numpy()
    (lesion,), _ = plan(dissection.anatomy, {target: scores}, [0.5], Settings(), removal)
    cut = Cut(removal.edit(dissection, lesion, scores))
    with torch.no_grad():
        removed = dict(engine.run((x,), {lesion: cut}))
        zeroed = copy.deepcopy(network)
        weight = zeroed.get_submodule(target.name).weight
        weight.copy_(grains.sparse(weight, "filter", lesion.channels - lesion.pruned))
        difference = float((zeroed(x) - removed[lesion]).abs().max())
    assert difference > 0.01 * float((removed[None] - removed[lesion]).abs().max())


@torch.no_grad()
@pytest.mark.parametrize("name", ["quantise:per=tensor", "low_rank:form=spatial", "sparsity"])
def test_whole_passes_have_the_damaged_weight(name):
    _, x, dissection, engine = opened("resnet")
    kind, whole = damage(name), Whole(dissection)
    targets, _ = kind.targets(dissection.anatomy)
    lesions, _ = plan(dissection.anatomy, dict.fromkeys(targets[:2]), [AMOUNTS[name]],
                      Settings(), kind)  # fmt: skip
    cuts = {lesion: Cut(kind.edit(dissection, lesion, None)) for lesion in lesions}
    replayed = dict(engine.run((x,), cuts))
    for lesion, found in dict(whole.run((x,), cuts)).items():
        torch.testing.assert_close(found, replayed[lesion], atol=1e-6, rtol=1e-6)


class Twice(nn.Module):
    """A convolution that runs into two batch norms."""

    def __init__(self, same):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 5)
        self.first = nn.BatchNorm2d(3)
        self.second = self.first if same else nn.BatchNorm2d(3)

    def forward(self, x):
        x = torch.relu(self.first(self.conv(x)))
        return self.fc(torch.relu(self.second(self.conv(x))).mean((2, 3)))


@torch.no_grad()
@pytest.mark.parametrize("same", [True, False])
def test_a_weight_that_would_fold_into_two_has_a_reason(same):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 6, 6)
    network, x = spread(Twice(same), x).double().eval(), x.double()
    dissection = dissect(network, lambda net, batch: net(batch), x)
    kind = damage("quantise:per=tensor")
    (lesion,), _ = plan(dissection.anatomy, {Target("conv", "layer"): None}, [3], Settings(), kind)
    if not same:
        with pytest.raises(LesionError, match="several batch norms"):
            kind.edit(dissection, lesion, None)
        return
    cut = Cut(kind.edit(dissection, lesion, None))
    found = dict(Replay(dissection).run((x,), {lesion: cut}))[lesion]
    other = copy.deepcopy(network)
    other.conv = fuse_conv_bn_eval(other.conv, other.first)
    other.first = other.second = nn.Identity()
    other.conv.weight.copy_(uniform.uniform(other.conv.weight, 3, per="tensor"))
    torch.testing.assert_close(found, other(x), atol=1e-6, rtol=1e-6)

"""Inputs in few bits, alone and with the weight: a replay gives what the hooked network gives."""

import copy
import pickle
from functools import cache, partial

import compressible
import networks
import pytest
import timm
import torch
from hooked import fake_quantised, read, through
from small_networks import transformer

from lesion.compression.footprint import Shape
from lesion.compression.value_counts import ValueCounts
from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.engine.whole import Whole
from lesion.errors import LesionError
from lesion.lesions.damage import Settings, damage, plan
from lesion.lesions.lesion import Target
from lesion.network.dissect import dissect
from lesion.sweeps.whole_network import Copies


def mobilenet():
    torch.manual_seed(0)
    x = torch.randn(12, 3, 32, 32)
    made = timm.create_model("mobilenetv2_035", num_classes=5)
    return networks.spread(made.eval(), x), x


def vit():
    torch.manual_seed(0)
    x = torch.randn(12, 3, 6, 6)
    return networks.spread(transformer().eval(), x), x


def resnet20():
    network, data = networks.resnet20(24)
    return network, data.tensors[0]


SUBJECTS = {
    "resnet20": (resnet20, ("conv1", "layer2.0.conv1", "layer2.0.conv2", "layer3.2.conv2", "fc")),
    "mobilenet": (
        mobilenet,
        ("conv_stem", "blocks.1.0.conv_pw", "blocks.1.0.conv_dw", "blocks.2.0.conv_pwl"),
    ),
    "vit": (vit, ()),
}


@cache
def opened(name):
    make, layers = SUBJECTS[name]
    network, x = make()
    with torch.no_grad():
        dissection = dissect(network, lambda net, batch: net(batch), x[:2])
    layers = layers or hooked_layers(network, dissection)
    return network, x, dissection, Replay(dissection), layers


def hooked_layers(network, dissection):
    """The layers whose modules are called, as those inside torch's attention are not."""
    modules = dict(network.named_modules())
    names = [layer.name for layer in dissection.anatomy.layers]
    inside = ("out_proj", "self_attention")
    return [n for n in names if hasattr(modules[n], "weight") and not n.endswith(inside)]


def known(kind, network, layer, images):
    """What a damage keeps of what a layer reads."""
    counts = ValueCounts()
    counts.add(read(network, layer, images))
    return kind.calibration(counts)


def lesions_of(kind, anatomy, layer, amounts, numbers):
    made, skipped = plan(anatomy, {Target(layer, "layer"): numbers}, amounts, Settings(), kind)
    assert not skipped
    return made


def ties(logits):
    """How far the first class is ahead of the next, over the scale of the logits."""
    best = logits.topk(2).values
    return (best[:, 0] - best[:, 1]) / logits.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("name", SUBJECTS)
def test_predictions_are_those_of_the_hooked_network(name):
    network, x, dissection, engine, layers = opened(name)
    half = len(x) // 2
    for layer in layers:
        values = read(network, layer, x[:half])
        low, high = min(float(values.min()), 0), max(float(values.max()), 0)
        kind = damage("activations")
        numbers = known(kind, network, layer, x[:half])
        made = lesions_of(kind, dissection.anatomy, layer, (8, 4, 2), numbers)
        cuts = {one: Cut(kind.edit(dissection, one, numbers)) for one in made}
        outputs = dict(engine.run((x[half:],), cuts))
        for one in made:
            change = partial(fake_quantised, bits=int(one.amount), low=low, high=high)
            with through(network, layer, change):
                wanted = network(x[half:])
            differ = outputs[one].argmax(1) != wanted.argmax(1)
            assert not differ[ties(wanted) > 1e-4].any()
            scale = float((wanted - outputs[None]).abs().max())
            off = (outputs[one] - wanted).abs().amax(1)
            assert (off < 1e-3 * scale).float().mean() > 0.7  # a value beside a step may fall over
            assert scale > 0


@torch.no_grad()
@pytest.mark.parametrize("family", ["resnet", "depthwise", "transformer"])
def test_both_edits_are_one_lesion(family):
    network, x, dissection = compressible.opened(family)
    kind, engine = damage("quantise:activations=4,clip=mse"), Replay(dissection)
    assert kind.images and not damage("quantise").images
    for layer in hooked_layers(network, dissection)[1:3]:
        numbers = known(kind, network, layer, x)
        (lesion,) = lesions_of(kind, dissection.anatomy, layer, (3,), numbers)
        assert lesion.amount == 3
        edit = kind.edit(dissection, lesion, numbers)
        output = dict(engine.run((x,), {lesion: Cut(edit)}))[lesion]
        weights = damage("quantise:clip=mse")
        (alone,) = lesions_of(weights, dissection.anatomy, layer, (3,), None)
        other = Copies(dissection).copy(weights.edit(dissection, alone, None))
        values = read(network, layer, x)
        low, high = min(float(values.min()), 0), float(values.max())
        with through(other, layer, partial(fake_quantised, bits=4, low=low, high=high)):
            wanted = other(x)
        effect = float((wanted - network(x)).abs().max())
        assert effect > 0
        assert float((output - wanted).abs().max()) < 1e-5 * effect
        assert torch.equal(Copies(dissection).copy(edit)(x), wanted)
        copied = pickle.loads(pickle.dumps(edit))
        assert copied.key == edit.key
        assert torch.equal(dict(engine.run((x,), {lesion: Cut(copied)}))[lesion], output)


@torch.no_grad()
def test_whole_passes_are_through_the_hooks_and_leave_none():
    network, data = networks.plain(8, kind=networks.Wayward)
    x = data.tensors[0]
    dissection = dissect(network, lambda net, batch: net(batch), x)
    whole, kind = Whole(dissection), damage("activations")
    for layer in ("a", "b", "fc"):
        values = read(network, layer, x)
        numbers = known(kind, network, layer, x)
        (lesion,) = lesions_of(kind, dissection.anatomy, layer, (2,), numbers)
        edit = kind.edit(dissection, lesion, numbers)
        assert whole.obstacle(edit) == ""
        low, high = min(float(values.min()), 0), float(values.max())
        with through(network, layer, partial(fake_quantised, bits=2, low=low, high=high)):
            wanted = network(x)
        assert torch.equal(dict(whole.run((x,), {lesion: Cut(edit)}))[lesion], wanted)
        assert torch.equal(whole.outputs((x,)), network(x))


def test_a_layer_that_no_module_runs_has_a_reason_where_hooks_are_needed():
    _, x, dissection = compressible.opened("transformer")
    layer = next(n for n in dissection.anatomy.layers if n.weight.endswith("in_proj_weight"))
    kind, counts = damage("activations"), ValueCounts()
    counts.add(x)
    numbers = kind.calibration(counts)
    (lesion,) = lesions_of(kind, dissection.anatomy, layer.name, (4,), numbers)
    edit = kind.edit(dissection, lesion, numbers)
    assert Copies(dissection).obstacle(edit).endswith(f"at {layer.name}")
    assert Replay(dissection).obstacle(edit) == ""


@torch.no_grad()
def test_batches_change_nothing():
    _, x, dissection, _, layers = opened("resnet20")
    network, kind = opened("resnet20")[0], damage("activations:clip=percentile,percentile=99.0")
    numbers = known(kind, network, layers[1], x)
    made = lesions_of(kind, dissection.anatomy, layers[1], (3, 2), numbers)
    cuts = {one: Cut(kind.edit(dissection, one, numbers)) for one in made}
    whole = dict(Replay(dissection).run((x,), cuts))
    for size in (1, 5):
        parts = [dict(Replay(dissection).run((part,), cuts)) for part in x.split(size)]
        for one in made:
            together = torch.cat([part[one] for part in parts])
            assert torch.equal(together.argmax(1), whole[one].argmax(1))


def test_bits_multiply_in_bit_operations():
    conv = Shape(128, 64, (3, 3), (16, 16), (16, 16))
    macs = 18_874_368
    for bits in (8, 4):
        left = damage("activations").left(conv, bits)
        assert left.bops == macs * 32 * bits
        assert (left.bits, left.macs) == (conv.intact().bits, macs)
        both = damage(f"quantise:activations={bits}").left(conv, 4)
        assert both.bops == macs * 4 * bits and both.bytes == 37_376


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (torch.zeros(4), "nothing but zeros on the calibration images"),
        (torch.tensor([1.0, float("inf")]), "is not finite"),
    ],
)
def test_what_has_no_range_is_a_reason(values, reason):
    counts = ValueCounts()
    counts.add(values)
    for name in ("activations", "quantise:activations=8"):
        with pytest.raises(LesionError, match=reason):
            damage(name).calibration(counts)


def test_bits_that_cannot_be_are_told():
    for bits in (1, 17, 64):
        with pytest.raises(LesionError, match=f"2 to 16 bits of activations .*, got {bits}"):
            damage(f"quantise:activations={bits}")
    with pytest.raises(LesionError, match="percentile up to 100"):
        damage("activations:percentile=101.0")


def test_a_bit_width_of_one_value_is_told_from_its_own_weight_alone():
    """The names say what is done, so that lesions of both stand side by side."""
    assert damage("quantise:activations=8").name == "quantise:activations=8"
    assert damage("activations:clip=mse,images=500").name == "activations:images=500,clip=mse"
    assert copy.copy(damage("activations")).images == 1024

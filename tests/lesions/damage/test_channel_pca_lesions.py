"""Layers on their principal responses: a replay gives what the really factored network gives."""

import copy
import pickle

import compressible
import networks
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.engine.whole import Whole
from lesion.errors import LesionError, StudyError
from lesion.lesions.damage import Settings, damage, plan
from lesion.lesions.lesion import Target
from lesion.network.dissect import dissect
from lesion.study.study import Study
from lesion.sweeps.sweep import sweep
from lesion.sweeps.whole_network import Copies

NAME = "low_rank:form=channel_pca"


@torch.no_grad()
def responses(network, name, x):
    """(positions of all images, channels) of what a module gives, before batch norm."""
    seen = []
    module = network.get_submodule(name)
    hook = module.register_forward_hook(lambda _, given, value: seen.append(value.clone()))
    network(x)
    hook.remove()
    y = torch.cat(seen)
    y = y if isinstance(module, nn.Linear) else y.movedim(1, -1)
    return y.reshape(-1, y.shape[-1]).double().numpy()


@torch.no_grad()
def factored(network, name, rank, y):
    """A copy whose layer is two, of r filters and of 1×1, by numpy's eigenvectors."""
    other = copy.deepcopy(network)
    module = other.get_submodule(name)
    vectors = np.linalg.eigh(np.cov(y.T, bias=True))[1]
    q = torch.from_numpy(vectors[:, ::-1][:, :rank].copy())
    weight = module.weight.double()
    given = torch.zeros(len(weight)).double() if module.bias is None else module.bias.double()
    mean = torch.from_numpy(y.mean(0))
    bias = q @ q.T @ given + mean - q @ q.T @ mean
    first = (q.T @ weight.flatten(1)).reshape(rank, *weight.shape[1:])
    if isinstance(module, nn.Linear):
        layers = [nn.Linear(weight.shape[1], rank, bias=False), nn.Linear(rank, len(weight))]
        second = q
    else:
        layers = [
            nn.Conv2d(weight.shape[1], rank, module.kernel_size, module.stride, module.padding,
                      bias=False),
            nn.Conv2d(rank, len(weight), 1),
        ]  # fmt: skip
        second = q[..., None, None]
    for made, value in zip(layers, (first, second), strict=True):
        made.weight.data = value.to(module.weight)
    layers[1].bias.data = bias.to(module.weight)
    other.set_submodule(name, nn.Sequential(*layers).eval())
    return other


def numbers_of(y):
    covariance = np.cov(y.T, bias=True)
    return np.concatenate([y.mean(0), covariance[np.triu_indices(len(covariance))]])


def lesion_of(kind, anatomy, name, amount, numbers):
    made, skipped = plan(anatomy, {Target(name, "layer"): numbers}, [amount], Settings(), kind)
    assert not skipped
    return made[0]


CASES = [
    ("resnet", "conv1", 0.5), ("resnet", "layer2.0.conv1", 0.75), ("resnet", "fc", 0.5),
    ("vgg", "4", 0.5), ("vgg", "9", 0.75), ("depthwise", "3", 0.5), ("depthwise", "18", 0.4),
    ("densenet", "features.denseblock1.denselayer2.conv2", 0.5),
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("family", "name", "amount"), CASES)
def test_replays_whole_passes_and_copies_are_the_factored_network(family, name, amount):
    network, x, dissection = compressible.opened(family)
    kind, engine = damage(NAME), Replay(dissection)
    layer = dissection.anatomy.layer[name]
    fitting = torch.randn(64, *x.shape[1:], generator=torch.Generator().manual_seed(1)).double()
    y = responses(network, name, fitting)
    numbers = numbers_of(y)
    lesion = lesion_of(kind, dissection.anatomy, name, amount, numbers)
    edit = kind.edit(dissection, lesion, numbers)
    assert engine.obstacle(edit) == ""
    made = layer.channels_in * int(np.prod(layer.kernel)) * layer.channels
    rank = max(1, int((1 - amount) * made / (made / layer.channels + layer.channels) + 1e-9))
    wanted = factored(network, name, rank, y)(x)
    effect = float((wanted - network(x)).abs().max())
    assert effect > 0
    for copied in (edit, pickle.loads(pickle.dumps(edit))):
        assert copied.key == edit.key
        found = dict(engine.run((x,), {lesion: Cut(copied)}))[lesion]
        assert float((found - wanted).abs().max()) < 1e-6 * effect
    whole = Whole(dissection)
    assert whole.obstacle(edit) == ""
    found = dict(whole.run((x,), {lesion: Cut(edit)}))[lesion]
    assert float((found - wanted).abs().max()) < 1e-6 * effect
    assert network.get_submodule(name).bias is None or layer.bias
    changed = Copies(dissection).copy(edit)
    assert float((changed(x) - wanted).abs().max()) < 1e-6 * effect
    assert changed.get_submodule(name).bias.requires_grad


def test_other_responses_have_another_key():
    network, x, dissection = compressible.opened("vgg")
    kind, y = damage(NAME), responses(network, "4", x)
    keys = set()
    for rows in (y, y[: len(y) // 2]):
        lesion = lesion_of(kind, dissection.anatomy, "4", 0.5, numbers_of(rows))
        keys.add(kind.edit(dissection, lesion, numbers_of(rows)).key)
    assert len(keys) == 2


class Shared(nn.Module):
    """Two convolutions with one bias, and two with one weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))
        self.b.bias, self.d.weight = self.a.bias, self.c.weight
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        for layer in (self.a, self.b, self.c, self.d):
            x = torch.relu(layer(x))
        return self.fc(x.mean((2, 3)))


def test_what_other_layers_share_has_a_reason():
    torch.manual_seed(0)
    x = torch.randn(4, 4, 6, 6)
    network = networks.spread(Shared(), x).eval()
    dissection = dissect(network, lambda net, batch: net(batch), x)
    kind = damage(NAME)
    for layer in dissection.anatomy.layers[:-1]:
        numbers = numbers_of(responses(network, layer.name, x))
        lesion = lesion_of(kind, dissection.anatomy, layer.name, 0.6, numbers)
        with pytest.raises(LesionError, match="its weight or bias is not its own"):
            kind.edit(dissection, lesion, numbers)


def test_it_costs_what_svd_costs_and_a_bias():
    anatomy = compressible.opened("resnet")[2].anatomy
    shape_of_it = {}
    for name in (NAME, "low_rank"):
        kind = damage(name)
        lesion = lesion_of(kind, anatomy, "layer2.0.conv1", 0.5, None)
        shape_of_it[name] = kind.footprint(anatomy, lesion).left
    pca, svd = shape_of_it[NAME], shape_of_it["low_rank"]
    channels = anatomy.layer["layer2.0.conv1"].channels
    assert (pca.macs, pca.dense_macs, pca.bops) == (svd.macs, svd.dense_macs, svd.bops)
    assert pca.parameters == svd.parameters + channels  # the layer has none
    assert pca.bits == svd.bits + 32 * channels


def test_images_are_for_this_form_alone():
    assert damage(NAME).images == 1024 and not damage("low_rank").images
    assert damage(NAME + ",images=64").name == NAME + ",images=64"
    with pytest.raises(LesionError, match="images for form=channel_pca alone, got form=spatial"):
        damage("low_rank:form=spatial,images=64")


@pytest.fixture(scope="module")
def plain():
    network, data = networks.plain(50)
    return network, data, networks.random_images(70, 1, 8, 8, classes=3, seed=7)


def swept(plain, path, **options):
    network, data, train = plain
    given = {"train": train, "full": True, "ratios": (0.5, 0.75), **options}
    return sweep(network, data, path, damage=NAME, **given)


@torch.no_grad()
def test_outcomes_are_those_of_the_factored_network(plain, tmp_path):
    network, data, train = plain
    order = np.random.default_rng([0, 0, 1]).permutation(70)[:64]  # two batches of 32
    with swept(plain, tmp_path / "s") as study:
        assert study.criteria[f"damage {NAME}"].startswith("64 of 70 images, ")
        x, labels = (tensor[list(study.header.order)] for tensor in data.tensors)
        assert {each.target for each in study.lesions} == {"a", "b", "fc"}
        for lesion in study.lesions:
            layer = study.anatomy.layer[lesion.target]
            y = responses(network, lesion.target, train.tensors[0][order])
            assert np.allclose(study.known(lesion), numbers_of(y), rtol=1e-4, atol=1e-5)
            reads = layer.channels_in * int(np.prod(layer.kernel))
            most = (1 - lesion.amount) * reads * layer.channels / (reads + layer.channels)
            logits = factored(network, lesion.target, max(1, int(most + 1e-9)), y)(x)
            gap = np.diff(logits.topk(2).values.numpy())[:, 0]
            clear = abs(gap) > 1e-3 * float(logits.abs().max())
            right = (logits.argmax(1) == labels).numpy()
            assert clear.mean() > 0.9
            assert np.array_equal(study.outcomes(lesion)["top1"][clear], right[clear])


def test_a_study_goes_on_with_what_it_knows_and_refuses_other_images(plain, tmp_path):
    network, data, train = plain
    swept(plain, tmp_path / "s", ratios=(0.5,)).close()
    with swept((network, data, None), tmp_path / "s", ratios=(0.75,)) as study:
        assert {each.amount for each in study.lesions} == {0.5, 0.75}
    other = TensorDataset(*(tensor.flip(0) for tensor in train.tensors))
    with pytest.raises(StudyError, match=r"the images that .* knows of damage low_rank"):
        swept((network, data, other), tmp_path / "s")


def test_too_few_responses_are_a_row_with_a_reason(plain, tmp_path):
    network, data, train = plain
    few = TensorDataset(*(tensor[:10] for tensor in train.tensors))
    with swept((network, data, few), tmp_path / "s") as study:
        (skipped,) = (each for each in study.skipped if each.target == "fc")
    assert "its 3 filters need 15 responses, but the calibration images give 10" in skipped.reason


@pytest.mark.parametrize("recovery", ["reconstruct:64", "bn", "finetune:2"])
def test_projected_layers_recover(plain, tmp_path, recovery):
    with swept(plain, tmp_path / "s", ratios=(0.75,), recover=recovery) as study:
        assert not study.failed
        assert {each.recovery for each in study.lesions} == {recovery}
    with Study.open(tmp_path / "s") as study:
        assert study.images

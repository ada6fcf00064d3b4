"""Numbers, blocks and stages: Li's own tables, and networks whose places are known."""

from functools import cache

import pytest
import torch
import torchvision

from lesion.network.anatomy import Anatomy, Layer
from lesion.network.dissect import dissect
from lesion.zoo import networks


@cache
def anatomy(name: str, size: int = 64) -> Anatomy:
    if hasattr(networks, name):
        network, size = getattr(networks, name)(), 32
    else:
        network = torchvision.models.get_model(name, weights=None)
    x = torch.zeros(2, 3, size, size)
    return dissect(network.eval(), lambda net, batch: net(batch), x).anatomy


def by_number(traced: Anatomy) -> dict[int, Layer]:
    return {layer.number: layer for layer in traced.layers if layer.number}


@pytest.mark.parametrize(("depth", "blocks"), [(56, 9), (110, 18)])
def test_cifar_resnets_are_numbered_as_in_li_et_al(depth, blocks):
    layers = by_number(anatomy(f"resnet{depth}"))
    assert list(layers) == list(range(1, depth + 1))
    assert (layers[1].name, layers[depth].name) == ("conv1", "fc")
    for number in range(2, depth, 2):
        stage, block = divmod((number - 2) // 2, blocks)
        name = f"layer{stage + 1}.{block}"
        assert (layers[number].name, layers[number + 1].name) == (f"{name}.conv1", f"{name}.conv2")
        assert {layers[number].stage, layers[number + 1].stage} == {stage + 1}
        assert {layers[number].block, layers[number + 1].block} == {name}


SKIPPED = [
    ("resnet56", 16, "layer1.7.conv1", ()),
    ("resnet56", 18, "layer1.8.conv1", ("last of stage",)),
    ("resnet56", 20, "layer2.0.conv1", ("first of stage", "down-sampling")),
    ("resnet56", 34, "layer2.7.conv1", ()),
    ("resnet56", 38, "layer3.0.conv1", ("first of stage", "down-sampling")),
    ("resnet56", 54, "layer3.8.conv1", ("last of stage",)),
    ("resnet110", 36, "layer1.17.conv1", ("last of stage",)),
    ("resnet110", 38, "layer2.0.conv1", ("first of stage", "down-sampling")),
    ("resnet110", 74, "layer3.0.conv1", ("first of stage", "down-sampling")),
    ("resnet34", 2, "layer1.0.conv1", ("first of stage",)),
    ("resnet34", 8, "layer2.0.conv1", ("first of stage", "down-sampling")),
    ("resnet34", 14, "layer2.3.conv1", ("last of stage",)),
    ("resnet34", 16, "layer3.0.conv1", ("first of stage", "down-sampling")),
    ("resnet34", 26, "layer3.5.conv1", ("last of stage",)),
    ("resnet34", 28, "layer4.0.conv1", ("first of stage", "down-sampling")),
    ("resnet34", 30, "layer4.1.conv1", ()),
    ("resnet34", 32, "layer4.2.conv1", ("last of stage",)),
]


@pytest.mark.parametrize(("name", "number", "layer", "position"), SKIPPED)
def test_the_layers_that_li_et_al_skip(name, number, layer, position):
    numbered = by_number(anatomy(name))[number]
    assert (numbered.name, numbered.position) == (layer, position)


def test_projection_shortcuts_have_no_number_and_belong_to_their_block():
    layers = anatomy("resnet34").layer
    projections = [layer for layer in layers.values() if layer.number is None]
    assert [layer.name for layer in projections] == [
        f"layer{stage}.0.downsample.0" for stage in (2, 3, 4)
    ]
    assert [layer.block for layer in projections] == ["layer2.0", "layer3.0", "layer4.0"]


def test_the_stem_of_an_imagenet_resnet_is_stage_0_and_its_head_has_none():
    traced = anatomy("resnet34")
    stem, head = traced.layer["conv1"], traced.layer["fc"]
    assert (stem.number, stem.stage, stem.block, stem.position) == (1, 0, None, ())
    assert (head.number, head.stage, head.block) == (34, None, None)
    assert [layer.stage for layer in traced.layers if layer.name.endswith(".0.conv1")] == [
        1,
        2,
        3,
        4,
    ]


def test_a_dense_layer_is_a_block():
    traced = anatomy("densenet121")
    dense = [layer for layer in traced.layers if "denselayer" in layer.name]
    assert len(dense) == 2 * (6 + 12 + 24 + 16)
    for layer in dense:
        assert layer.block == layer.name.rpartition(".")[0]
        assert layer.stage == int(layer.name.split(".")[1].removeprefix("denseblock"))
    assert {layer.block for layer in traced.layers} - {layer.block for layer in dense} == {None}


def test_vgg_has_no_blocks_and_a_stage_for_each_size_of_feature_map():
    layers = anatomy("vgg11").layers
    convolutions = [layer for layer in layers if layer.kind == "conv2d"]
    assert {layer.block for layer in layers} == {None}
    assert [layer.stage for layer in convolutions] == [1, 2, 3, 3, 4, 4, 5, 5]
    assert [layer.stage for layer in layers if layer.kind == "linear"] == [None] * 3


def test_inverted_residuals_are_blocks_where_they_have_a_shortcut():
    traced = anatomy("mobilenet_v2")
    network = torchvision.models.mobilenet_v2(weights=None)
    for index, module in enumerate(network.features):
        layers = [layer for layer in traced.layers if layer.name.startswith(f"features.{index}.")]
        residual = getattr(module, "use_res_connect", False)
        assert {layer.block is not None for layer in layers} == {residual}
        if residual:
            assert {layer.block for layer in layers} == {f"features.{index}.conv"}

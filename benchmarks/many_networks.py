"""Networks of the kinds that people prune, by family, with random weights: nothing is downloaded.

Families whose package is not installed are left out.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

LARGER = re.compile("^(inception|halonet|deepseek)")  # of timm: networks that fail on 64 pixels


@dataclass(frozen=True)
class Entry:
    """A network to open: `make` gives the network; shape: of an input, without the batch.

    adapter: what stands between batches and the network, None for images as they are
    """

    family: str
    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    adapter: Any = None


class Parts:
    """Runs a detector of torchvision without what picks boxes, which has no fixed outputs."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        self.parts = forward

    def forward(self, network: nn.Module, images: Tensor) -> Any:
        """The outputs of the parts."""
        return self.parts(network, images)

    def targets(self, batch: Any) -> Any:
        """Nothing."""
        return None


def torchvision_classifiers() -> Iterator[Entry]:
    """The 80 classification networks of torchvision."""
    from torchvision import models

    plain = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
    for name in models.list_models(module=models):
        side = {"inception_v3": 299, "maxvit_t": 224}.get(name, 64)
        side = 224 if name.startswith(("vit", "swin")) else side
        make = partial(models.get_model, name, weights=None, num_classes=10, **plain.get(name, {}))
        yield Entry("torchvision", name, make, (3, side, side))


def _features(network: Any, images: Tensor) -> list[Tensor]:
    return list(network.backbone(images).values())


def _two_stage(network: Any, images: Tensor) -> Any:
    """The proposals' scores and boxes, and the scores and boxes of two fixed proposals."""
    features = network.backbone(images)
    scores, boxes = network.rpn.head(list(features.values()))
    side = images.shape[-1]
    proposal = torch.tensor([[4.0, 4.0, side / 2, side / 2], [8.0, 2.0, side - 4.0, side - 8.0]])
    pooled = network.roi_heads.box_roi_pool(
        features, [proposal] * len(images), [(side, side)] * len(images)
    )
    classes, deltas = network.roi_heads.box_predictor(network.roi_heads.box_head(pooled))
    return classes.reshape(len(images), -1), deltas.reshape(len(images), -1), scores, boxes


def torchvision_others() -> Iterator[Entry]:
    """Detectors, segmenters and video networks of torchvision."""
    from torchvision.models import detection, segmentation, video

    bare = {"weights": None, "weights_backbone": None}
    heads = Parts(lambda network, images: list(network.head(_features(network, images)).values()))
    for name in ("retinanet_resnet50_fpn", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large"):
        make = partial(getattr(detection, name), **bare)
        yield Entry("torchvision detection", name, make, (3, 128, 128), heads)
    for name in ("fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn"):
        make = partial(getattr(detection, name), **bare)
        yield Entry("torchvision detection", name, make, (3, 128, 128), Parts(_two_stage))
    for name in ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"):
        aux = {} if name.startswith("lraspp") else {"aux_loss": True}
        make = partial(getattr(segmentation, name), **bare, **aux)
        yield Entry("torchvision segmentation", name, make, (3, 96, 96))
    for name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "swin3d_t"):
        clip = (3, 16, 224, 224) if name in ("mvit_v1_b", "s3d") else (3, 8, 64, 64)
        make = partial(getattr(video, name), weights=None)
        yield Entry("torchvision video", name, make, clip)


def timm_families() -> Iterator[Entry]:
    """The smallest network of each family (module) of timm, on the smallest images it takes."""
    import timm

    for module in timm.list_modules():
        names = timm.list_models(module=module)
        if names:
            name = min(names, key=_parameters)
            config = timm.get_pretrained_cfg(name)
            fixed = config and (config.fixed_input_size or LARGER.search(name))
            side = config.input_size[-1] if fixed else 64
            make = partial(timm.create_model, name, num_classes=10)
            yield Entry("timm", name, make, (3, side, side))


def _parameters(name: str) -> float:
    import timm

    try:
        with torch.device("meta"):
            return float(sum(p.numel() for p in timm.create_model(name).parameters()))
    except Exception:  # some cannot be made without memory
        return float("inf")


def yolos() -> Iterator[Entry]:
    """Detectors and segmenters of ultralytics, from their configurations."""
    from ultralytics import YOLO

    for name in ("yolov5n", "yolov8n", "yolo11n", "yolov8n-seg", "yolov8n-cls"):
        side = 64 if name.endswith("cls") else 128
        make = partial(_yolo, YOLO, name)
        yield Entry("ultralytics", name, make, (3, side, side))


def _yolo(kind: Any, name: str) -> nn.Module:
    network: nn.Module = kind(f"{name}.yaml", verbose=False).model
    return network


def segmenters() -> Iterator[Entry]:
    """U-Nets and others of segmentation_models_pytorch."""
    import segmentation_models_pytorch as smp

    for name in ("Unet", "FPN", "DeepLabV3Plus", "UnetPlusPlus", "Linknet", "MAnet"):
        encoder = "mobilenet_v2" if name == "FPN" else "resnet18"
        make = partial(getattr(smp, name), encoder_name=encoder, encoder_weights=None, classes=2)
        yield Entry("smp", name, make, (3, 64, 64))


def medical() -> Iterator[Entry]:
    """3-D networks of MONAI."""
    from monai.networks import nets

    unet = partial(
        nets.UNet, spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32),
        strides=(2, 2), num_res_units=2,
    )  # fmt: skip
    yield Entry("monai", "UNet", unet, (1, 32, 32, 32))
    segresnet = partial(nets.SegResNet, spatial_dims=3, in_channels=1, init_filters=8)
    yield Entry("monai", "SegResNet", segresnet, (1, 32, 32, 32))


def transformers_models() -> Iterator[Entry]:
    """Small networks of HF transformers, from their configurations."""
    import transformers as hf

    small = {"num_labels": 5}
    vision = {
        "ResNet": hf.ResNetConfig(**small, depths=[1, 1, 2, 1], hidden_sizes=[32, 48, 64, 96],
                                  embedding_size=16, layer_type="bottleneck"),
        "ConvNext": hf.ConvNextConfig(**small, depths=[1, 1, 2, 1], hidden_sizes=[16, 24, 32, 48]),
        "MobileNetV2": hf.MobileNetV2Config(**small),
        "ViT": hf.ViTConfig(**small, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
                            intermediate_size=96, image_size=64),
        "Swin": hf.SwinConfig(**small, image_size=64, embed_dim=24, depths=[1, 1],
                              num_heads=[2, 4], window_size=4),
    }  # fmt: skip
    for name, config in vision.items():
        make = partial(hf.AutoModelForImageClassification.from_config, config)
        yield Entry("transformers", name, make, (3, 64, 64))
    segformer = hf.SegformerConfig(**small, hidden_sizes=[16, 24, 32, 48], decoder_hidden_size=32)
    make = partial(hf.AutoModelForSemanticSegmentation.from_config, segformer)
    yield Entry("transformers", "SegFormer", make, (3, 64, 64))
    detr = hf.DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
                         backbone_config=hf.ResNetConfig(out_features=["stage4"]), d_model=32,
                         encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64,
                         decoder_ffn_dim=64, encoder_attention_heads=4,
                         decoder_attention_heads=4, num_queries=10)  # fmt: skip
    yield Entry("transformers", "DETR", partial(hf.DetrForObjectDetection, detr), (3, 64, 64))
    speech = hf.Wav2Vec2Config(hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
                               intermediate_size=96, conv_dim=(32,) * 7, num_labels=5)  # fmt: skip
    make = partial(hf.Wav2Vec2ForSequenceClassification, speech)
    yield Entry("transformers", "wav2vec2", make, (4000,))


def plain_ones() -> Iterator[Entry]:
    """A 1-D network and a perceptron."""

    def signals() -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(2, 16, 7, 2, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 5, 2, 2),
            nn.GroupNorm(4, 32), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(),
            nn.Linear(128, 5),
        )  # fmt: skip

    def perceptron() -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 48), nn.LayerNorm(48), nn.GELU(), nn.Linear(48, 32),
            nn.Tanh(), nn.Linear(32, 5),
        )  # fmt: skip

    yield Entry("plain", "Conv1d net", signals, (2, 64))
    yield Entry("plain", "MLP", perceptron, (64,))


FAMILIES: dict[str, tuple[str, Callable[[], Iterator[Entry]]]] = {
    "plain": ("torch", plain_ones),
    "torchvision": ("torchvision", torchvision_classifiers),
    "torchvision-others": ("torchvision", torchvision_others),
    "ultralytics": ("ultralytics", yolos),
    "smp": ("segmentation_models_pytorch", segmenters),
    "monai": ("monai", medical),
    "transformers": ("transformers", transformers_models),
    "timm": ("timm", timm_families),
}


def entries(families: list[str]) -> Iterator[Entry]:
    """The networks of some families, those that are installed."""
    for name in families:
        package, make = FAMILIES[name]
        if find_spec(package):
            yield from make()

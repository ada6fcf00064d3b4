"""The bundled networks with their weights."""

from importlib import resources
from pathlib import Path

from torch import nn

from lesion.errors import SubjectError
from lesion.zoo import checkpoints, class_names, fashion_mnist, networks
from lesion.zoo.preprocessing import Preprocessing

NETWORKS = {"resnet20": networks.resnet20, "resnet56": networks.resnet56}
PREPROCESSING = Preprocessing(mean=(fashion_mnist.MEAN,), std=(fashion_mnist.STD,))


def open_network(
    name: str, weights: str | None, classes: int | None
) -> tuple[nn.Module, Preprocessing]:
    """A bundled network, trained on Fashion-MNIST unless other weights are asked for."""
    if name not in NETWORKS:
        raise SubjectError(f"Expected demo:{' or demo:'.join(NETWORKS)}, got demo:{name}.")
    network = NETWORKS[name](classes=classes or len(class_names.FASHION_MNIST), channels=1)
    if weights is None or weights == "default":
        checkpoints.load(network, weights_file(name))
    elif weights != "random":
        checkpoints.load(network, Path(weights))
    return network, PREPROCESSING


def weights_file(name: str) -> Path:
    """Where the package keeps the weights of a bundled network."""
    return Path(str(resources.files(__package__) / "weights" / f"{name}.safetensors"))

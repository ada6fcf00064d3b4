"""A small network that is right on 19 of 20 images, and whose filters matter unequally."""

import networks
import pytest
import torch
from torch.utils.data import TensorDataset

IMAGES = 600


@pytest.fixture(scope="module")
def subject():
    """A small network that is right on 19 of 20 images, and these; its filters matter unequally."""
    network, data = networks.plain(IMAGES)
    images = data.tensors[0]
    with torch.no_grad():
        matter = torch.logspace(-2, 0, 8)
        for weight in (network.a.weight, network.b.weight):
            weight *= matter.reshape(-1, 1, 1, 1)
        for vector in (network.norm.weight, network.norm.bias, network.b.bias):
            vector *= matter
        logits = network(images)
        network.fc.weight /= logits.std(0)[:, None]
        network.fc.bias.copy_((network.fc.bias - logits.mean(0)) / logits.std(0))
        labels = network(images).argmax(1)
    wrong = torch.rand(IMAGES, generator=torch.Generator().manual_seed(0)) < 0.05
    return network, TensorDataset(images, torch.where(wrong, (labels + 1) % 3, labels))

"""What dissection refuses: networks in which an image's outputs depend on those beside it."""

import networks
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lesion import SubjectError, layers


class OfTheBatch(nn.Module):
    """Batch norm as a function, in training whatever the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("var", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.var, training=True)


class Bare(networks.Plain):
    """The batch norm as a function in the network's own forward."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(self.a(x), None, None, training=True)
        return self.fc(torch.relu(self.b(x)).mean((2, 3)))


def refusal(where: str) -> str:
    return (
        f"Expected batch norms with running statistics, got {where} normalises by the images of "
        "its batch, so that an image's outputs depend on those beside it; give it running "
        "statistics (track_running_stats=True), or another normalisation."
    )


def refused(network: nn.Module) -> str:
    with pytest.raises(SubjectError) as error:
        layers(network, torch.randn(2, 1, 8, 8))
    return str(error.value)


@pytest.mark.parametrize(
    ("kind", "where"),  # what is not traced has no names for its steps
    [(networks.Plain, "norm, which"), (networks.Wayward, "one that")],
)
@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(8, track_running_stats=False),
        nn.BatchNorm2d(8, affine=False, track_running_stats=False),
        OfTheBatch(),
    ],
)
def test_batch_norm_by_the_images_at_hand_is_refused_traced_or_not(kind, where, norm):
    network = kind()
    network.norm = norm
    assert refused(network) == refusal(where)


def test_batch_norm_by_the_images_at_hand_is_refused_outside_of_a_module():
    assert refused(Bare()) == refusal("one that")


@pytest.mark.parametrize("kind", [networks.Plain, networks.Wayward])
@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(8), nn.InstanceNorm2d(8), nn.InstanceNorm2d(8, track_running_stats=True)],
)
def test_other_norms_by_channel_are_taken(kind, norm):
    network = kind()
    network.norm = norm
    traced = layers(network, torch.randn(2, 1, 8, 8))
    assert traced.unit["a"].kind == "free"

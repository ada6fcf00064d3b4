"""Criteria of values and gradients: published examples by hand, and what code of others differs."""

import pytest
import torch
from seen import shown

from lesion.errors import LesionError
from lesion.lesions.criteria import criterion

# two images, filters A and B, two positions: what values times gradients are
PRODUCTS = torch.tensor([[[1.0, -1.0], [1.0, 0.0]], [[2.0, -1.0], [-1.0, 0.0]]])


@pytest.mark.parametrize("batches", [1, 2])
def test_taylor_takes_the_size_of_each_image(batches):
    """A 0.25 and B 0.5 before they are normalised: A goes, where |·| of each position (1.25, 0.5)
    and of the batch (0.25, 0) would let B go."""
    assert criterion("taylor").rows(PRODUCTS.double()).mean(0).tolist() == [0.25, 0.5]
    scores = shown(criterion("taylor"), PRODUCTS, batches=batches)
    assert scores.tolist() == pytest.approx([0.4472, 0.8944], abs=5e-5)


@pytest.mark.parametrize("name", ["taylor"])
def test_a_loss_that_does_not_depend_on_a_layer_is_a_reason(name):
    values = torch.ones(4, 3, 2)
    with pytest.raises(LesionError, match=r"^the loss does not depend on it$"):
        shown(criterion(name), values, torch.zeros_like(values))

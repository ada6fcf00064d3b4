"""low_rank: layers as if factored into smaller ones (Zhang, Tai, Kim, Lebedev and others)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

from lesion.compression.footprint import Footprint, Shape
from lesion.errors import LesionError
from lesion.lesions.amounts import FILTERS
from lesion.lesions.input_damage import IMAGES
from lesion.lesions.lesion import Lesion
from lesion.lesions.ratios import kept
from lesion.lesions.weight_damage import WeightDamage, shape_without
from lesion.network.anatomy import Layer

if TYPE_CHECKING:
    from torch import Tensor

    from lesion.compression.channel_pca import Projection, Responses
    from lesion.lesions.edits import Edit
    from lesion.network.dissection import Dissection

WHOLE_KERNEL = ("svd", "channel_pca")  # the whole kernel to r channels, and 1×1 behind it


@dataclass(eq=False)
class LowRank(WeightDamage):
    """The weight that a layer's factors compose; an amount is the share of its MACs that they save.

    form: "svd", the whole kernel to r channels and 1×1 behind it; "spatial", k×1 and 1×k;
        "tucker2", 1×1, k×k and 1×1; "cp", 1×1, k×1 and 1×k for each channel, 1×1: see
        `lesion.compression.factors`; "channel_pca", as svd, but with the channels that the
        layer's responses on calibration images vary most along, see
        `lesion.compression.channel_pca`.  The rank is the largest whose MACs are no more than may
        remain, and at least 1; of tucker2 both ranks lose the same share.
    images: how many calibration images channel_pca sees, at all positions; the mean and covariance
        of the responses stay in the study.  Where the layer reads fewer channels, the directions
        are those of the intact layer.

    Batch norm is not folded.
    """

    form: Literal["svd", "spatial", "tucker2", "cp", "channel_pca"] = "svd"
    images: int = IMAGES

    word = "low_rank"
    slow = True
    amounts = replace(
        FILTERS,
        grid=(0.25, 0.5, 0.75, 0.9),
        called="share of MACs saved",
        title="MACs saved by low rank",
        of=" of its MACs saved",
        example="0.5 leaves factors with half of the layer's MACs.",
        spared="in full rank",
    )

    sees = "responses"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form != "channel_pca":
            if self.images != IMAGES:
                raise LesionError(
                    f"Expected images for form=channel_pca alone, got form={self.form}: the others "
                    "see none."
                )
            self.images = 0

    def unfit(self, layer: Layer) -> str:
        """Where there is nothing to factor."""
        if reason := unfactored(layer):
            return reason
        if self.form not in WHOLE_KERNEL and prod(layer.kernel) == 1:
            return "its kernel has one position: form=svd fits it"
        if self.form in ("spatial", "cp") and len(layer.kernel) != 2:
            return f"{self.form} is for kernels in two dimensions"
        return ""

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where the lowest rank costs no less than the layer."""
        whole, left = shape.intact().macs, self.left(shape, amount).macs
        return "factors of the lowest rank have no fewer MACs" if left >= whole else ""

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The factors."""
        return shape.factored(self.form, ranks(shape, self.form, amount))

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.factors`; of channel_pca see `edit_without`."""
        from lesion.compression.factors import of_rank

        return partial(of_rank, form=self.form, ranks=ranks(shape, self.form, amount), seed=seed)

    def response_calibration(self, responses: "Responses") -> np.ndarray:
        """Their mean and covariance."""
        return responses.numbers()

    def projection(self, shape: Shape, amount: float, numbers: np.ndarray) -> "Projection":
        """What channel_pca leaves of the responses, by what `response_calibration` gave."""
        from lesion.compression.channel_pca import Projection

        return Projection.of(numbers, shape.filters, *ranks(shape, self.form, amount))

    def edit_without(
        self,
        dissection: "Dissection",
        lesion: Lesion,
        dropped: np.ndarray | None,
        scores: np.ndarray | None = None,
    ) -> "Edit":
        """Of channel_pca the bias is another one too."""
        from lesion.lesions.weight_and_bias import WeightAndBias

        if scores is None:
            return super().edit_without(dissection, lesion, dropped)
        shape = shape_without(dissection.anatomy, lesion.target, dropped)
        onto = self.projection(shape, lesion.amount, scores)
        seen = f" {sha256(scores.tobytes()).hexdigest()}"
        weight = self.changed(dissection, lesion, dropped, onto.weight, seen)
        return WeightAndBias.of(dissection, lesion.target, weight, onto.bias)


def unfactored(layer: Layer) -> str:
    """Why no factors stand for a layer, "" where some do."""
    if layer.groups > 1:
        return "it has groups, each of which would be factored by itself"
    if layer.kind.startswith("transposed conv"):
        return "it is a transposed convolution"
    return ""


def ranks(shape: Shape, form: str, saved: float) -> tuple[int, ...]:
    """The largest ranks whose MACs are no more than remain when a share is saved, at least 1.

    >>> conv = Shape(128, 64, (3, 3), (16, 16), (16, 16))
    >>> ranks(conv, "spatial", 0.25), ranks(conv, "svd", 0.5), ranks(conv, "tucker2", 0.6)
    ((96,), (52,), (32, 65))
    """
    most = shape.intact().macs * (1 - saved) * (1 + 1e-9)
    if form != "tucker2":
        return (max(1, int(most / shape.factored(form, (1,)).macs)),)
    steps = {i / n for n in (shape.inputs, shape.filters) for i in range(n)}
    for step in sorted(steps):
        pair = kept(shape.inputs, step), kept(shape.filters, step)
        if shape.factored(form, pair).macs <= most:
            return pair
    return 1, 1


damage = LowRank()

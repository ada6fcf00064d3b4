"""A copy of a network under a lesion, on its way through a recovery by training."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from lesion.engine.masks import Masks
from lesion.engine.whole import Whole
from lesion.lesions.edits import Channels, Edit
from lesion.network.anatomy import Anatomy
from lesion.network.dissection import Dissection
from lesion.network.graph import Call
from lesion.subject.training_images import Training


class Lesioned:
    """The copy that is trained, and what is done to it.

    It is cut for good before it is trained, or masked, so that another edit may be its end.
    """

    def __init__(self, whole: Whole, call: Call, edit: Edit) -> None:
        """whole: runs the network that `call` has a copy of"""
        self._whole, self._call, self._edit = whole, call, edit
        self._cut: Whole | None = None
        self.masks: Masks | None = None

    @property
    def network(self) -> nn.Module:
        """The copy."""
        return self._call.network

    @property
    def dissection(self) -> Dissection:
        """The intact network's."""
        return self._whole.dissection

    @property
    def anatomy(self) -> Anatomy:
        """Of its layers and units."""
        return self.dissection.anatomy

    @property
    def edit(self) -> Edit:
        """What is done to it by now."""
        if self.masks is None:
            return self._edit
        assert isinstance(self._edit, Channels)
        return replace(self._edit, dropped=self.masks.dropped)

    @property
    def dropped(self) -> np.ndarray:
        """The labels that are gone by now."""
        none = np.zeros(self.anatomy.channels, bool)
        return self.edit.dropped if isinstance(self.edit, Channels) else none

    def cut(self) -> Whole:
        """The copy, from now on edited in every pass."""
        if self._cut is None:
            self._cut = self._whole.edited(self._call, self.edit)
        return self._cut

    def mask(self) -> Masks:
        """The masks that are over its channels from now on, at first over those of the edit."""
        assert isinstance(self._edit, Channels)
        self.masks = Masks(self.anatomy, self._whole.readers, self.network, self._edit)
        return self.masks

    def outputs(self, training: Training, batch: Any) -> Tensor:
        """What it gives a batch, without what is gone."""
        with self.masks or nullcontext():
            return training.outputs(self.network, batch)

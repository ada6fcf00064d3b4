"""What criteria of images are shown in tests: values made by hand."""

import torch

from lesion.lesions.criteria import Criterion, Filters, criterion, names

IMAGES = [name for name in names() if isinstance(criterion(name), Criterion)]


def shown(chosen, values, gradients=None, layer="conv", batches=1):
    """The scores of a criterion that has seen these values of one layer in so many batches."""
    values = torch.as_tensor(values)
    if gradients is None and chosen.needs == "gradients":
        gradients = torch.ones_like(values)
    for batch in torch.arange(len(values)).chunk(batches):
        chosen.update(layer, values[batch], None if gradients is None else gradients[batch])
    return chosen.scores(Filters(layer, torch.zeros(values.shape[1], 1), None, 0))

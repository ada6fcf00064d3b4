"""What a network loses without several units' filters, sliced by hand; and what benches measure."""

import numpy as np
import torch
from slicing import shrink

from lesion.joint.bench import Bench


def drops(subject, study, allocation, images):
    """(images,): −100, 0 or 100 points, of the network sliced by hand against the intact one."""
    network, data = subject
    small = shrink(network, study.anatomy, allocation.dropped(study.anatomy))
    chosen = list(images)
    with torch.no_grad():
        right = [
            (net(data.tensors[0][chosen]).argmax(1) == data.tensors[1][chosen]).double().numpy()
            for net in (network, small)
        ]
    return 100 * (right[0] - right[1])


def overheard(monkeypatch):
    """Two sets that fill with the images and the cuts (as bytes) that benches measure from now."""
    images, cuts = set(), set()
    outcomes = Bench.outcomes

    def noting(self, some, on, intact):
        images.update(on)
        cuts.update(np.asarray(gone).tobytes() for gone in some.values())
        return outcomes(self, some, on, intact)

    monkeypatch.setattr(Bench, "outcomes", noting)
    return images, cuts

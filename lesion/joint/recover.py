"""The network that rates leave, recovered: what is applied is what was measured."""

import torch
from torch import nn

from lesion.errors import LesionError
from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.rates.allocation import Allocation


def recover(bench: Bench, allocation: Allocation) -> nn.Module:
    """A copy of the network with the weights that it has after the bench's recovery.

    bench: with a recovery, such as lesion.bench(…, recover="reconstruct,bn", train=images)
    allocation: rates of the study's network, which is cut by them while it recovers

    No channel is gone from the copy yet: `lesion.apply(allocation, copy, example)` takes away those
    that fall, and then gives the outputs that `verify` measures; its state_dict is what a network
    that another tool has pruned by these rates loads.

    Raises LesionError for a bench without a recovery, and where the network cannot recover.
    """
    engine = bench.engine
    if not engine.recovery:
        raise LesionError(
            "Expected a bench with a recovery for weights after it, got one without; give "
            "lesion.bench(…, recover=…, train=…) (--recover reconstruct,bn --train DATA)."
        )
    joint = Joint(tuple(rate.unit for rate in allocation.cut))
    edit = engine.edit(joint.at, allocation.dropped(bench.dissection.anatomy))
    if reason := engine.hindrance(edit):
        raise LesionError(f"Expected a network that can recover, but {reason}.")
    with torch.no_grad():
        return engine.recovered(joint, edit).train(bench.subject.network.training)

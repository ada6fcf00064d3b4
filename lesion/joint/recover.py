"""The network that rates leave, recovered: what is applied is what was measured."""

import torch
from torch import nn

from lesion.errors import LesionError
from lesion.joint.bench import Bench
from lesion.lesions.edits import channels
from lesion.lesions.lesion import Joint
from lesion.rates.allocation import Allocation


def recover(bench: Bench, allocation: Allocation) -> tuple[nn.Module, Allocation]:
    """A copy of the network with the weights that it has after the bench's recovery, and the rates
    with the channels that fall then.

    bench: with a recovery, such as lesion.bench(…, recover="reconstruct,bn", train=images)
    allocation: rates of the study's network, which is cut by them while it recovers

    No channel is gone from the copy yet: `lesion.apply(rates, copy, example)`, by the rates that
    come with it, takes away those that fall, and then gives the outputs that `verify` measures; its
    state_dict is what a network that another tool has pruned by these rates loads.  The rates are
    those that were given, unless the recovery masks channels (finetune:100,masks=gdp): then as many
    fall of each unit, and maybe others.

    Raises LesionError for a bench without a recovery, and where the network cannot recover.
    """
    engine = bench.engine
    allocation.check_filters("weights after a recovery")
    if not engine.recovery:
        raise LesionError(
            "Expected a bench with a recovery for weights after it, got one without; give "
            "lesion.bench(…, recover=…, train=…) (--recover reconstruct,bn --train DATA)."
        )
    joint = Joint(tuple(rate.unit for rate in allocation.cut))
    dissection = bench.dissection
    edit = channels(dissection, joint.at, allocation.dropped(dissection.anatomy))
    if reason := engine.hindrance(edit):
        raise LesionError(f"Expected a network that can recover, but {reason}.")
    with torch.no_grad():
        network = engine.recovered(joint, edit).train(bench.subject.network.training)
        fallen = engine.fallen(joint, edit).dropped
    return network, allocation.losing(dissection.anatomy, fallen)

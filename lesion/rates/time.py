"""How long a network and its layers take on this device."""

from typing import Any

from torch import nn

from lesion.errors import LesionError
from lesion.network.layers import opened
from lesion.rates.latency import Times
from lesion.rates.runtimes import RUNTIMES, Runtime
from lesion.rates.whole_times import time_network
from lesion.subject.adapter import Adapter
from lesion.subject.network import evaluating


def time(
    network: nn.Module,
    example: Any,
    adapter: Adapter | None = None,
    *,
    batch: int = 32,
    runtime: str | Runtime = "torch",
) -> Times:
    """The table of a network's times, for budgets of latency: what `lesion time` writes.

    Each layer runs alone at several widths, where the network is now and with torch's number of
    threads; then some smaller networks, cut from copies of this one, run in turns with it. See
    `lesion.rates.latency` for the law that is fitted. `Times.miss` says how far it misses networks
    that it has not seen; where nothing can be cut, the intact network has to do.

    example, adapter: as for `lesion.layers`; batch: how many images at once
    runtime: "torch", "onnxruntime" (on the CPU; needs the extra `onnx`), or a function that takes a
        module and images and gives milliseconds: see `lesion.rates.runtimes`

    Raises LesionError for an unknown runtime, and where it fails on the network or a layer.
    """
    if isinstance(runtime, str) and runtime not in RUNTIMES:
        raise LesionError(
            f"Expected a runtime, {' or '.join(RUNTIMES)} or a function, got '{runtime}'."
        )
    chosen = RUNTIMES[runtime] if isinstance(runtime, str) else runtime
    dissection = opened(network, example, adapter)
    with evaluating(network):
        return time_network(dissection, example, batch, chosen)

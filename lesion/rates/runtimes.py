"""How long a module takes, in torch or in another runtime.

A runtime is a function `runtime(module, images) -> milliseconds`, the median of some runs: the
module is a network, or one layer at one width (`nn.Conv2d`, `nn.Linear`, …), in evaluation mode,
the images a tensor (batch, …).  It exports the module to wherever it runs, and is called once for
each; of a runtime of this process several networks take turns.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from lesion.errors import LesionError, first_line
from lesion.network.program import Step
from lesion.network.trace import quiet

Runtime = Callable[[nn.Module, Tensor], float]
KINDS = {
    **{f"conv{d}d": kind for d, kind in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), 1)},
    "linear": nn.Linear,
}
BRIEF = 0.02  # seconds for each width of each layer
TURN = 0.1  # and for each turn of a whole network


@dataclass(frozen=True)
class Prepared:
    """A runtime of this process: modules are made ready once, so that several take turns.

    ready: a function that makes of a module and images a call that runs it
    """

    ready: Callable[[nn.Module, Tensor], Callable[[], Any]]

    def __call__(self, module: nn.Module, images: Tensor) -> float:
        return milliseconds(self.ready(module, images))


def milliseconds(call: Callable[[], Any], seconds: float = BRIEF) -> float:
    """The median time of a call in this process; on a GPU its work is waited for."""
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return 1000 * float(timer.blocked_autorange(min_run_time=seconds).median)


def _session(module: nn.Module, images: Tensor) -> Callable[[], Any]:
    """A call that runs a module in ONNX Runtime on the CPU, with torch's number of threads."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise LesionError(
            f"Expected {' and '.join(missing)} to measure times with onnxruntime; pip install "
            '"lesion[onnx]".'
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    content = _as_onnx(module, images)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, given)


in_onnxruntime = Prepared(_session)
RUNTIMES: dict[str, Runtime | None] = {"torch": None, "onnxruntime": in_onnxruntime}
"""By name; torch is where layers run anyway."""


def measured(runtime: Runtime, module: nn.Module, images: Tensor) -> float:
    """What a runtime says. Raises LesionError where it fails, or gives no time."""
    with _told(module, images):
        time = float(runtime(module.eval(), images))
    if not 0 < time < float("inf"):
        raise LesionError(
            f"Expected milliseconds from the runtime for {type(module).__name__}, got {time:g}."
        )
    return time


def clock(
    runtime: Runtime | None, module: nn.Module, tensors: Sequence[Tensor]
) -> Callable[[], float]:
    """A function that times a whole network once more; a user's runtime is asked once.

    tensors: what the network takes; another runtime than torch takes the first
    """
    if runtime is None:
        return lambda: milliseconds(lambda: module(*tensors), TURN)
    if tensors[1:]:
        module = _OfImages(module, tensors[1:])
    if isinstance(runtime, Prepared):
        with _told(module, tensors[0]):
            call = runtime.ready(module.eval(), tensors[0])
        return lambda: milliseconds(call, TURN)
    time = measured(runtime, module, tensors[0])
    return lambda: time


class _OfImages(nn.Module):
    """A network that takes several tensors, where all but the first stay as they are."""

    def __init__(self, network: nn.Module, others: Sequence[Tensor]) -> None:
        super().__init__()
        self.network, self.others = network, tuple(others)

    def forward(self, images: Tensor) -> Any:
        return self.network(images, *self.others)


@contextmanager
def _told(module: nn.Module, images: Tensor) -> Iterator[None]:
    """Makes a sentence of what a runtime raises."""
    try:
        with torch.no_grad(), quiet():
            yield
    except LesionError:
        raise
    except Exception as error:  # the runtime is the user's, or one that lacks an operation
        raise LesionError(
            f"Expected a runtime that runs {type(module).__name__} on {tuple(images.shape)}, but "
            f"it fails ({type(error).__name__}: {first_line(error)}); time it in torch, or give a "
            "function runtime(module, images) that gives milliseconds."
        ) from error


def module_of(step: Step, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """The module that computes what a step computes, with such a weight and bias.

    >>> import torch.nn.functional as F
    >>> step = Step(0, "linear", F.linear, (None, None, None), {})
    >>> module_of(step, torch.ones(2, 3), None)
    Linear(in_features=3, out_features=2, bias=False)
    """
    kind: Any = KINDS[step.name]
    settings = dict(zip(("stride", "padding", "dilation", "groups"), step.args[3:], strict=False))
    settings |= {name: step.kwargs[name] for name in settings.keys() & step.kwargs.keys()}
    sizes = [weight.shape[1] * settings.get("groups", 1), weight.shape[0]]
    if step.name != "linear":
        sizes.append(tuple(weight.shape[2:]))
        settings = {name: _pair(value) for name, value in settings.items()}
    made = kind(*sizes, **settings, bias=bias is not None)
    made.weight.data = weight
    if bias is not None:
        made.bias.data = bias
    module: nn.Module = made.eval().requires_grad_(False)
    return module


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_onnx(module: nn.Module, images: Tensor) -> bytes:
    """One of torch's own layers written out here, since there are many of them; others by torch."""
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
        return _layer_as_onnx(module, images)
    converted = torch.onnx.export(module, (images,), dynamo=True, verbose=False)
    assert converted is not None
    content: bytes = converted.model_proto.SerializeToString()
    return content


def _layer_as_onnx(module: Any, images: Tensor) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weight = module.weight.detach()
    if isinstance(module, nn.Linear):
        weights = [("w", weight.T), ("b", module.bias)]
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y" if module.bias is None else "z"])]
        if module.bias is not None:
            nodes.append(helper.make_node("Add", ["z", "b"], ["y"]))
    else:
        weights = [("w", weight), ("b", module.bias)]
        names = ["x", "w"] + ["b"] * (module.bias is not None)
        pads = [*module.padding, *module.padding] if module.padding != "same" else None
        settings = {"strides": module.stride, "dilations": module.dilation, "group": module.groups}
        settings |= {"pads": pads} if pads else {"auto_pad": "SAME_UPPER"}
        nodes = [helper.make_node("Conv", names, ["y"], **settings)]
    held = [
        numpy_helper.from_array(value.detach().contiguous().numpy(), name)
        for name, value in weights
        if value is not None
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(images.shape))
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "layer", [given], [result], held)
    content: bytes = helper.make_model(graph).SerializeToString()
    return content

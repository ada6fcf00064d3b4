"""Networks whose answer to an image depends on more than the image are refused, and say by what."""

import random

import networks
import numpy as np
import pytest
import torch
from small_networks import chain, conv
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lesion import Subject, SubjectError, layers, sweep
from lesion.network import alike


class Ending(networks.Plain):
    """`Plain` with one more step over what it makes of the images."""

    def __init__(self, step=lambda net, x: x, wayward: bool = False) -> None:
        super().__init__(4)
        self.step, self.wayward, self.calls, self.cache = step, wayward, 0, []
        self.drop = nn.Dropout(0.5)
        self.mix = nn.MultiheadAttention(4, 2)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("last", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.wayward and float(x.max()) < -1e9:
            x = x + 1
        return self.step(self, super().forward(x))


def of_the_batch(net, x):
    return F.layer_norm(x.T, x.T.shape[1:]).T


def attention(net, x):  # takes the images for a sequence
    x = x[:, None]
    return net.mix(x, x, x)[0][:, 0]


def by_size(net, x):
    return x if x.shape[0] < 9 else 2 * x


def chunked(net, x):
    return x if x.shape[0] < 9 else torch.cat([x[:8], x[8:]])


MIXING = {
    "mean": lambda net, x: x - x.mean(0),
    "mean_of_all": lambda net, x: x * torch.sigmoid(x.mean()),
    "faintly": lambda net, x: x + 1e-4 * x.mean(0),
    "std": lambda net, x: x / x.std(0),
    "batch_norm": lambda net, x: (x - x.mean(0)) / (x.var(0) + 1e-5).sqrt(),
    "softmax": lambda net, x: x.softmax(0),
    "cumsum": lambda net, x: x.cumsum(0),
    "sort": lambda net, x: x.sort(0).values,
    "flip": lambda net, x: x.flip(0),
    "roll": lambda net, x: x.roll(1, 0),
    "largest": lambda net, x: x / x.abs().max(),
    "norm": lambda net, x: F.normalize(x, dim=0),
    "attention": attention,
    "gram": lambda net, x: x @ x.T @ x,
    "of_the_batch": of_the_batch,
    "length": lambda net, x: x / len(x),
    "place": lambda net, x: x + torch.arange(len(x))[:, None],
    "by_size": by_size,
}
ALIKE = ("mean", "mean_of_all", "softmax", "cumsum", "largest", "attention", "gram", "length")
WORDS = "Expected a network that answers each image by itself, got one in which an image's outputs"


# of other sizes only a trace tells, and of what a comparison was for as well
@pytest.mark.parametrize(
    ("name", "wayward"), [(name, way) for name in MIXING for way in (False, True)][:-1]
)
def test_a_network_that_mixes_images_is_refused(name, wayward):
    torch.manual_seed(0)
    network = Ending(MIXING[name], wayward).eval()
    with pytest.raises(SubjectError, match=f"^{WORDS} depend on those beside it"):
        layers(network, torch.randn(2, 1, 8, 8))


@pytest.mark.parametrize("fill", [0.0, 0.5])
@pytest.mark.parametrize("name", ALIKE)
def test_it_is_refused_for_images_that_are_all_alike_too(name, fill):
    torch.manual_seed(0)
    with pytest.raises(SubjectError, match=f"^{WORDS} depend on those beside it"):
        layers(Ending(MIXING[name]).eval(), torch.full((2, 1, 8, 8), fill))


@pytest.mark.parametrize(("name", "words"), [("mean", "mean in"), ("softmax", "softmax in")])
def test_it_is_said_where_images_are_mixed(name, words):
    network = nn.Sequential(networks.Plain(4), Ending(MIXING[name]))
    network[1].forward = lambda x: network[1].step(network[1], x)
    with pytest.raises(SubjectError, match=rf"\(first by {words} 1\); take out what mixes"):
        layers(network.eval(), torch.randn(2, 1, 8, 8))


def test_a_sweep_of_one_is_refused_and_leaves_no_study(tmp_path):
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(20, 1, 8, 8), torch.randint(0, 4, (20,)))
    with pytest.raises(SubjectError, match=WORDS):
        sweep(Ending(MIXING["mean"]), data, tmp_path / "s")
    assert not (tmp_path / "s").exists()


RANDOM = {
    "noise": (lambda net, x: x + torch.randn_like(x), r"randn_like in its own forward"),
    "faint": (lambda net, x: x + 1e-9 * torch.rand(4), "rand in its own forward"),
    "dropout": (lambda net, x: F.dropout(x, 0.1, True), "dropout in its own forward"),
    "seldom": (
        lambda net, x: torch.where(torch.rand(len(x), 1) < 1e-9, x + 1, x),
        "rand in its own forward",
    ),
    "for_large_values": (
        lambda net, x: torch.where(x > 1e6, x + torch.bernoulli(x.sigmoid()), x),
        "bernoulli in its own forward",
    ),
    "in_place": (lambda net, x: x + torch.empty(4).normal_(), "normal in its own forward"),
    "python": (lambda net, x: 2 * x if random.random() < 1e-9 else x, "of Python's random"),
    "numpy": (lambda net, x: 2 * x if np.random.rand() < 1e-9 else x, "of numpy.random"),
    "way": (lambda net, x: 2 * x if float(torch.rand(())) < 1e-9 else x, "of torch"),
}
AT_EVERY_PASS = "Expected a network that gives the same outputs at every pass, got one"


@pytest.mark.parametrize("name", RANDOM)
def test_a_network_that_draws_is_refused_however_seldom_it_shows(name):
    torch.manual_seed(0)
    step, source = RANDOM[name]
    words = rf"^{AT_EVERY_PASS} whose forward draws random numbers \({source}\); make it determ"
    with pytest.raises(SubjectError, match=words):
        layers(Ending(step).eval(), torch.randn(2, 1, 8, 8))


def test_the_module_that_draws_is_named():
    network = Ending(lambda net, x: net.drop(x)).eval()
    network.drop.eval = network.drop.train = lambda *_: network.drop
    network.drop.forward = lambda x: F.dropout(x, 0.5, True)
    with pytest.raises(SubjectError, match=r"random numbers \(dropout in drop\)"):
        layers(network, torch.randn(2, 1, 8, 8))


def counted(net, x):
    net.calls += 1
    return x * (1 + net.calls)


def counted_in_a_buffer(net, x):
    net.count += 1
    return x + (net.count > 1000)


def running_mean(net, x):
    net.last.mul_(0.9).add_(x.detach()[0], alpha=0.1)
    return x - net.last


def lengthened(net, x):
    net.cache.append(1.0)
    return x + len(net.cache)


STATEFUL = {
    "counted": (counted, "calls"),
    "running_mean": (running_mean, "last"),
    "lengthened": (lengthened, "cache"),
    "counted_in_a_buffer": (counted_in_a_buffer, "count"),
}


@pytest.mark.parametrize(
    ("name", "wayward"), [(name, way) for name in STATEFUL for way in (False, True)][:-1]
)
def test_a_network_that_keeps_a_state_is_refused_and_the_state_named(name, wayward):
    torch.manual_seed(0)
    step, held = STATEFUL[name]
    words = rf"^{AT_EVERY_PASS} that keeps a state between calls \({held} changes\); let its"
    with pytest.raises(SubjectError, match=words):
        layers(Ending(step, wayward).eval(), torch.randn(2, 1, 8, 8))


def counts_calls(net, x):
    net.calls += 1
    net.count += 1
    return x


def remembers(net, x):
    net.cache = [x]
    net.last.copy_(x[0].detach() * 0 + 1)
    return x + net.last


def draws_for_nothing(net, x):
    torch.rand(3)
    return F.dropout(x, 0.5, False) + F.dropout(x, 0.0, True)


FINE = {
    "plain": lambda net, x: x,
    "softmax": lambda net, x: x.softmax(1),
    "sort": lambda net, x: x.sort(1).values,
    "dropout": lambda net, x: net.drop(x),
    "squeezed": lambda net, x: x.squeeze(),
    "chunked": chunked,
    "counts_calls": counts_calls,
    "remembers": remembers,
    "draws_for_nothing": draws_for_nothing,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", FINE)
def test_what_depends_on_the_image_alone_is_taken(name, dtype):
    torch.manual_seed(0)
    network = Ending(FINE[name]).to(dtype).eval()
    anatomy = layers(network, torch.randn(3, 1, 8, 8).to(dtype))
    assert anatomy.unit["a"].kind == "free" and anatomy.whole == ""


def test_an_image_is_compared_with_one_that_lies_in_memory_as_it_does(monkeypatch):
    """Kernels go by the order in memory, and round otherwise for another."""
    strides = []
    run = alike.Alike._run
    monkeypatch.setattr(
        alike.Alike, "_run", lambda self, x: strides.append(x[0].stride()) or run(self, x)
    )
    x = torch.randn(8, 8, 3).permute(2, 0, 1)[None]  # as an image file is read
    layers(chain(conv(3, 4), conv(4, 4), out=4).eval(), x)
    assert len(strides) > 2 and set(strides) == {x.stride()}


class Centred(networks.Plain):
    """Normalises what it is given, in place."""

    def forward(self, x):
        x.sub_(0.5).div_(2)
        return super().forward(x)


class CentredAndWayward(networks.Wayward):
    def forward(self, x):
        x.sub_(0.5).div_(2)
        return super().forward(x)


@pytest.mark.parametrize("kind", [Centred, CentredAndWayward])
def test_a_network_that_changes_its_input_is_measured_as_if_it_did_not(kind, tmp_path):
    network, data = networks.plain(40, kind=kind)
    before = data.tensors[0].clone()
    with sweep(network, data, tmp_path / "s", ratios=(0.5,), full=True, holdout=0) as study:
        columns = [study.outcomes(lesion)["top1"] for lesion in study.lesions]
        intact, order, lesions = study.intact(), list(study.header.order), list(study.lesions)
    assert torch.equal(data.tensors[0], before)
    images, labels = (tensor[order] for tensor in data.tensors)
    assert intact.outcomes["top1"].tolist() == hits(network, images, labels)
    for lesion, column in zip(lesions, columns, strict=True):
        layer = network.get_submodule(lesion.target)
        norms = layer.weight.abs().flatten(1).sum(1)
        lost = norms.argsort()[: len(norms) // 2]
        after = network.norm if lesion.target == "a" else layer
        handle = after.register_forward_hook(lambda _, __, out, at=lost: out.index_fill(1, at, 0))
        assert column.tolist() == hits(network, images, labels)
        handle.remove()


@torch.no_grad()
def hits(network, images, labels):
    return (network.eval()(images.clone()).argmax(1) == labels).tolist()


def test_a_subject_has_one_row_an_image_whatever_its_score():
    network = Ending(lambda net, x: x.sum(0, keepdim=True))
    data = TensorDataset(torch.randn(4, 1, 8, 8), torch.zeros(4).long())
    with pytest.raises(SubjectError, match="Expected one row of logits an image, got 1 rows for 2"):
        Subject.of(network, [image for image, _ in data], score="agreement")


class Deep(nn.Sequential):
    """So many normalised layers that a folded norm is rounded otherwise, in few digits."""

    def __init__(self) -> None:
        steps = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
        for _ in range(10):
            steps += [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
        super().__init__(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


@torch.no_grad()
def test_half_precision_is_measured_as_it_is_rounded(tmp_path):
    torch.manual_seed(0)
    images, labels = torch.randn(64, 1, 8, 8), torch.randint(0, 3, (64,))
    network = networks.spread(Deep(), images).bfloat16().requires_grad_(False)
    data = TensorDataset(images.bfloat16(), labels)
    with sweep(network, data, tmp_path / "s", ratios=(0.25,), full=True, holdout=0) as study:
        order = list(study.header.order)
        outcomes = study.intact().outcomes["top1"]
    assert outcomes.tolist() == hits(network, data.tensors[0][order], labels[order])


def test_rounding_and_what_no_trace_sees_have_sentences_of_their_own(tmp_path, monkeypatch):
    network, data = networks.plain(20)

    class Otherwise(type(network)):
        def forward(self, x):
            return super().forward(x if torch.compiler.is_compiling() else 2 * x)

    words = r"run one by one are off by [\d.]+: its forward depends on what no trace sees; make it"
    with pytest.raises(SubjectError, match=words):
        sweep(Otherwise(), data, tmp_path / "s")
    monkeypatch.setattr("lesion.sweeps.workers.CLOSE", -1)
    few = TensorDataset(data.tensors[0].bfloat16(), data.tensors[1])
    words = (
        r"its outputs are rounded to bfloat16, which is too coarse here; give network\.float\(\)"
    )
    with pytest.raises(SubjectError, match=words):
        sweep(network.bfloat16(), few, tmp_path / "s")

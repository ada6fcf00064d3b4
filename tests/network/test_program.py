"""The program: what folding, pausing and replaying leave as it is."""

import networks
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from lesion.network.downstream import behind
from lesion.network.graph import Ref
from lesion.network.program import Program, Run, Step, compile_program, frees
from lesion.network.trace import trace


def opened(network, x, fold=True):
    """The program of a network, and its number of calls."""
    with torch.no_grad():
        return compile_program(trace(network, lambda net, batch: net(batch), x), fold=fold)


@pytest.mark.parametrize("family", ["vgg", "densenet"])
def test_folding_changes_the_steps_and_not_the_output(family):
    network, data = networks.FAMILIES[family](4)
    network.double()
    x = data.tensors[0].double()
    whole, folded = (opened(network, x, fold) for fold in (False, True))
    norms = [step.name for step in whole.steps].count("batch_norm")
    left = [step.name for step in folded.steps].count("batch_norm")
    # in a DenseNet only the norms after the stem and the bottlenecks follow one convolution alone
    assert (norms, left) == {"vgg": (4, 0), "densenet": (15, 8)}[family]
    with torch.no_grad():
        want = network(x)
        for program in (whole, folded):
            assert torch.allclose(Run(program, [x]).output(), want, atol=1e-10)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2.0 * weight


@pytest.mark.parametrize("leaf", ["weight", "bias"])
def test_a_batch_norm_with_computed_parameters_is_not_folded(leaf):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double().eval()
    nn.init.normal_(network[1].bias)
    register_parametrization(network[1], leaf, Doubled())
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(Run(opened(network, x), [x]).output(), network(x), atol=1e-10)


class Shared(nn.Module):
    """A convolution whose result a batch norm and an addition read: not to be folded."""

    def __init__(self, affine=True, bias=True):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 1, bias=bias), nn.BatchNorm2d(3, affine=affine)
        self.shared = True

    def forward(self, x):
        x = self.conv(x)
        return (self.norm(x) + x if self.shared else self.norm(x)).mean((2, 3))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_only_a_batch_norm_that_reads_alone_is_folded(shared, affine, bias):
    torch.manual_seed(0)
    network = Shared(affine, bias).double().eval()
    network.shared = shared
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    program = opened(network, x)
    assert [step.name for step in program.steps].count("batch_norm") == int(shared)
    with torch.no_grad():
        assert torch.allclose(Run(program, [x]).output(), network(x), atol=1e-12)


def test_the_network_is_not_touched_by_folding():
    network, data = networks.FAMILIES["vgg"](2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Run(opened(network, data.tensors[0]), [data.tensors[0]]).output()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def adds(inputs):
    """A program of additions: step i reads the given earlier values and adds i."""
    steps = tuple(
        Step(place, "add", lambda *values, i=place: sum(values) + i,
             tuple(Ref(index) for index in read), {})
        for place, read in enumerate(inputs, start=1)
    )  # fmt: skip
    return Program(steps, (0,), len(inputs))


@st.composite
def programs(draw):
    """A program whose every step is read by a later one, up to the last."""
    length = draw(st.integers(1, 9))
    inputs = [
        draw(st.lists(st.integers(0, place), min_size=1, max_size=3)) for place in range(length)
    ]
    for place in range(1, length):  # value `place` is read by the step after it, at least
        inputs[place] = [*inputs[place], place] if draw(st.booleans()) else inputs[place]
    read = {index for one in inputs for index in one}
    inputs[-1] = [*inputs[-1], *(index for index in range(1, length) if index not in read)]
    return adds(inputs)


def plainly(program, x, edited=()):
    """Every value, step by step; edited steps give a hundred times what they would."""
    values = {0: x}
    for step in program.steps:
        found = step.run(values)
        values[step.index] = 100 * found if step.index in edited else found
    return values


@given(programs(), st.data())
def test_a_replay_gives_what_the_edited_program_gives(program, data):
    """At every pause, for any edit, in any order of edits that pauses later and later."""
    places = range(1, len(program.steps) + 1)
    edits = data.draw(st.lists(st.sets(st.sampled_from(places), min_size=1), max_size=4))
    three = torch.tensor(3)
    run = Run(program, [three])
    for edited in sorted(edits, key=min):
        cut = behind(program, edited)
        assert cut.pause == min(edited) - 1
        run.forward(cut.pause)
        run.ahead(cut.ahead)
        steps = []
        for place in cut.replayed:
            step = program.steps[place]
            if step.index in edited:
                op = step.op
                step = Step(step.index, "add", lambda *v, op=op: 100 * op(*v), step.args, {})
            steps.append(step)
        wanted = plainly(program, three, edited)[program.output]
        assert run.replay(steps, cut.ends) == wanted
        alone = {index: run.values[index] for index in cut.reads}  # nothing else is needed
        assert run.replay(steps, cut.ends, alone) == wanted
    assert run.output() == plainly(program, three)[program.output]


@given(programs(), st.data())
def test_a_run_goes_on_from_what_was_alive_at_a_position(program, data):
    position = data.draw(st.integers(0, len(program.steps)))
    three = torch.tensor(3)
    run = Run(program, [three])
    run.forward(position)
    later = Run(program, [three], run.values, position)
    assert later.output() == plainly(program, three)[program.output]


@given(programs(), st.data())
def test_only_what_depends_on_the_cut_is_replayed(program, data):
    edited = data.draw(st.sets(st.integers(1, len(program.steps)), min_size=1))
    cut = behind(program, edited)
    plain, changed = plainly(program, 3), plainly(program, 3, edited)
    differ = {index for index in plain if plain[index] != changed[index]}
    assert {program.steps[place].index for place in cut.replayed} == differ | edited
    assert not set(cut.ahead) & set(cut.replayed)


@given(programs())
def test_values_live_until_their_last_reader_and_no_longer(program):
    run = Run(program, [torch.tensor(3)])
    last = {index: place for place, step in enumerate(program.steps)
            for index in (step.index, *step.inputs)}  # fmt: skip
    for place in range(len(program.steps)):
        run.forward(place + 1)
        alive = {index for index in range(place + 2) if last.get(index, -1) > place}
        assert set(run.values) - {0} == (alive | ({program.output} & set(run.values))) - {0}


def test_what_is_kept_is_never_freed():
    program = adds([[0], [1], [1]])
    assert [set(done) for done in frees(program.steps, ())] == [{0}, {2}, {1, 3}]
    assert frees(program.steps, (1, 3)) == [[0], [2], []]


def test_steps_that_the_output_does_not_need_are_left_out():
    class Wasteful(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            self.b(x)
            return self.a(x)

    program = opened(Wasteful(), torch.zeros(2, 4))
    assert [step.name for step in program.steps] == ["linear"]


def test_a_replay_leaves_the_intact_values_alone():
    network, data = networks.resnet8(2)
    program = opened(network, data.tensors[0])
    run = Run(program, [data.tensors[0]])
    middle = program.steps[len(program.steps) // 2].index
    cut = behind(program, {middle})
    with torch.no_grad():
        run.forward(cut.pause)
        run.ahead(cut.ahead)
        before = {index: torch.as_tensor(value).clone() for index, value in run.values.items()}
        run.replay([program.steps[place] for place in cut.replayed], cut.ends)
        assert before.keys() == run.values.keys()
        for index, value in run.values.items():
            assert torch.equal(torch.as_tensor(value), before[index])

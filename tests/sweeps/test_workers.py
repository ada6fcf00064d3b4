"""Tasks measured here or in other processes: the same outcomes, in the same order."""

import networks
import pytest
from elsewhere import GOALS, Here, outcomes
from spawned import Runner

from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.prepare import prepare
from lesion.sweeps.workers import Opening


@pytest.mark.parametrize("goal", GOALS)
def test_spawned_processes_give_what_this_one_gives(goal, tmp_path):
    wanted = outcomes(tmp_path / "here", GOALS[goal], Here())
    assert outcomes(tmp_path / "there", GOALS[goal], Runner()) == wanted


def test_recovered_networks_may_be_elsewhere_too(tmp_path):
    wanted = outcomes(tmp_path / "here", Full(), Here(), "bn")
    assert outcomes(tmp_path / "there", Full(), Runner(), "bn") == wanted


def test_rates_are_measured_elsewhere_too(tmp_path):
    network, data = networks.plain(40)
    subject = Subject.of(network, data)
    ready = prepare(subject, tmp_path / "s", Choices((0.5,)), Full())
    list(ready)
    images = ready.study.header.order
    gone = next(iter(ready.lesions.values())).dropped
    cuts = {Joint((next(iter(ready.lesions)).target,)): gone}
    found = []
    for runner in (Here(), Runner()):
        bench = Bench.of(ready.study, subject, runner=runner)
        intact = bench.intact(images)
        (columns,) = bench.outcomes(cuts, images, intact).values()
        found.append((intact.margin.tobytes(), columns["top1"].tobytes()))
        runner.close()
    assert found[0] == found[1]
    ready.study.close()


def test_a_worker_is_the_same_wherever_it_is_opened():
    network, data = networks.plain(20)
    first, again = (Opening(Subject.of(network, data))() for _ in range(2))
    assert first.batches == again.batches
    assert first.dissection.anatomy == again.dissection.anatomy
    sources = [worker.engine.program.source.graph.nodes for worker in (first, again)]
    names = [[(node.index, node.kind, node.name) for node in nodes] for nodes in sources]
    assert names[0] == names[1]
    assert first.engine.program.position == again.engine.program.position

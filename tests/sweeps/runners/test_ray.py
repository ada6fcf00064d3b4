"""Tasks on Ray's workers: the same study as of one process, whoever is lost on the way."""

import os
import sys
import threading
import warnings
from itertools import count
from types import SimpleNamespace

import networks
import pytest
import ray
import torch
from elsewhere import GOALS, Here, outcomes
from hypothesis import given
from hypothesis import strategies as some
from torch import nn
from torch.utils.data import Dataset

from lesion import OnRay
from lesion.errors import LesionError, SubjectError
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.measure import Measured, Task
from lesion.sweeps.prepare import prepare
from lesion.sweeps.runners import ray as on_ray
from lesion.sweeps.runners import runner


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A Ray of three processors, on which workers see the modules beside the tests."""
    path = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env=path)
    yield
    ray.shutdown()


@pytest.fixture
def workers():
    """Makes runners, whose workers are ended after the test."""
    made = []

    def of(*args, **kwargs):
        made.append(OnRay(*args, **kwargs))
        return made[-1]

    yield of
    for each in made:
        each.close()


@pytest.mark.parametrize("goal", GOALS)
def test_the_study_is_that_of_one_process(goal, tmp_path, workers):
    wanted = outcomes(tmp_path / "here", GOALS[goal], Here())
    for many in (1, 2, 3):
        assert outcomes(tmp_path / f"{many}", GOALS[goal], workers(many)) == wanted


def test_networks_that_recover_may_be_there_too(tmp_path, workers):
    wanted = outcomes(tmp_path / "here", Full(), Here(), "bn")
    assert outcomes(tmp_path / "there", Full(), workers(2), "bn") == wanted


class Deadly(Dataset):
    """Images of which one ends the process that reads it, but not `home`, and a file of a folder,
    as long as there are any."""

    def __init__(self, data, deaths, home):
        self.data, self.deaths, self.home = data, deaths, home

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if index == 7 and os.getpid() != self.home:
            for file in self.deaths.iterdir():
                file.unlink()
                os._exit(1)
        return self.data[index]


def swept(tmp_path, where, deaths=0, **more):
    network, data = networks.plain(300)
    folder = tmp_path / "deaths"
    folder.mkdir()
    for number in range(deaths):
        (folder / str(number)).touch()
    subject = Subject.of(network, Deadly(data, folder, os.getpid()))
    ready = prepare(subject, tmp_path / "s", Choices((0.25, 0.75)), Full(), runner=where, **more)
    with ready.study as study:
        list(ready)
        return [study.outcomes(lesion).columns["margin"].tobytes() for lesion in study.lesions]


def test_what_a_lost_worker_had_is_done_again(tmp_path, workers):
    (tmp_path / "here").mkdir()
    assert swept(tmp_path, workers(2), deaths=2) == swept(tmp_path / "here", Here())
    assert not list((tmp_path / "deaths").iterdir())


def test_who_is_lost_three_times_over_the_intact_network_is_told(tmp_path, workers):
    with pytest.raises(LesionError, match=r"but its worker was lost .*, 3 times; see Ray's logs"):
        swept(tmp_path, workers(2), deaths=9)


class Lost(Exception):
    """A worker that is not there any more."""


class Failed(Lost):
    """A task that raised."""


class Memory(Lost):
    """A worker that took too much."""


def imitated(draw, fate):
    """What a round asks of Ray: tasks end in any order; `fate` says which are lost."""
    held = {}

    def wait(refs):
        (chosen,) = draw(some.permutations(refs).map(lambda order: order[:1]))
        return [chosen], [ref for ref in refs if ref != chosen]

    def get(ref):
        error = next(fate)
        if error is not None:
            raise error
        return held[ref]

    names = SimpleNamespace(RayTaskError=Failed, OutOfMemoryError=Memory, RayError=Lost)
    return SimpleNamespace(wait=wait, get=get, exceptions=names), held


@given(some.data(), some.integers(1, 4), some.integers(0, 12))
def test_tasks_come_in_their_order_and_few_ahead(data, seats, tasks):
    errors = some.sampled_from([None, None, None, Lost("gone"), Memory("full")])
    lost = iter(lambda: data.draw(errors), "never")
    imitation, held = imitated(data.draw, lost)
    numbers, ahead, done = count(), [], []

    def remote(sent, task):
        ref = next(numbers)
        held[ref] = Measured(None, {}, {}) if isinstance(task, Task) else task
        ahead.append(held[ref])
        assert task - len(done) < on_ray.AHEAD * seats
        return ref

    seat = SimpleNamespace(measure=SimpleNamespace(remote=remote))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_ray, "_ray", lambda: imitation)
        patch.setattr(on_ray, "_given_up", lambda task, reason: task)
        for measured in on_ray._Round(range(tasks), [seat] * seats, on_ray.Sent(1, [])):
            done.append(measured)
    assert done == list(range(tasks))
    assert all(1 <= ahead.count(task) <= on_ray.TRIES for task in range(tasks))


def test_lesions_of_a_task_that_cannot_be_done_fail_with_the_reason():
    task = Task([0], [0], {"a": None, "b": None}, known=[1])
    failed = on_ray._given_up(task, "its worker ran out of memory").failed
    assert failed == dict.fromkeys("ab", "its worker ran out of memory, 3 times")


class Locked(nn.Module):
    """A network that no process can hand to another."""

    def __init__(self):
        super().__init__()
        self.plain, self.lock = networks.plain(40)[0], threading.Lock()

    def forward(self, x):
        return self.plain(x)


def test_a_subject_that_cannot_be_sent_is_refused(tmp_path, workers):
    subject = Subject.of(Locked(), networks.plain(40)[1])
    ready = prepare(subject, tmp_path / "s", Choices((0.5,)), Full(), runner=workers(1))
    with (
        ready.study,
        pytest.raises(LesionError, match=r"cannot \(.*lock.*\); name it instead, as FILE"),
    ):
        list(ready)


def test_a_worker_that_opens_another_network_is_refused(tmp_path, workers):
    network, data = networks.plain(40)

    def other():
        torch.manual_seed(9)
        nn.init.normal_(network.get_parameter(next(iter(network.state_dict()))))
        return Subject.of(network, data)

    with pytest.raises(SubjectError, match="a worker opened has other weights"):
        ready = prepare(
            Subject.of(*networks.plain(40)), tmp_path / "s", Choices((0.5,)), Full(),
            runner=workers(1), reopen=other,
        )  # fmt: skip
        with ready.study:
            list(ready)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": 4}, "Expected from 1 to 3 workers, with a processor each"),
        ({"workers": -1}, "got -1"),
        ({"gpus": 1}, "Expected a cluster with GPUs for 1 a worker, got one without"),
    ],
)
def test_what_the_cluster_has_not_is_refused(options, text, workers):
    with pytest.raises(LesionError, match=text):
        list(workers(**options).run([1], lambda: None))


def test_other_versions_are_told(monkeypatch, workers):
    there = on_ray.versions()
    monkeypatch.setattr(on_ray, "versions", lambda: there | {"torch": "0.1"})
    with pytest.warns(
        UserWarning, match=f"workers have torch {there['torch']}, this process has 0"
    ):
        list(workers(1).run([3], lambda: lambda tasks: iter(tasks)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(on_ray, "versions", lambda: there)
        assert list(workers(1).run([3], lambda: lambda tasks: iter(tasks))) == [(3, 3)]


def test_a_cluster_that_does_not_answer_is_told(monkeypatch):
    def silent(*args, **kwargs):
        raise ConnectionError("no answer\nfrom there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", silent)
    for address in (None, "ray://nowhere:10001"):
        with pytest.raises(LesionError, match=r"that answers, but it does not \(no answer\)"):
            list(OnRay(address=address).run([1], lambda: None))


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LesionError, match=r'pip install "lesion\[ray\]"'):
        list(OnRay().run([1], lambda: None))


def test_a_runner_has_options_in_its_name():
    made = runner("ray:workers=4,gpus=0.5,address=ray://host:10001")
    assert (made.workers, made.gpus, made.address) == (4, 0.5, "ray://host:10001")
    with pytest.raises(LesionError, match="options that the runner ray takes, got 'seats=3'"):
        runner("ray:seats=3")

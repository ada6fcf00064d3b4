"""ray: workers in processes of their own, on this machine or a cluster, by Ray.

A worker is an actor of one processor that opens the subject once; the same workers stay from one
round of a sweep to the next.  Tasks go to whichever is free, a few ahead of the oldest that is not
done, so that what waits here is bounded.  A task whose worker was lost is done again elsewhere; at
the third time its lesions fail, with the reason.

Ray's own words for what it offers are in https://docs.ray.io; nothing else here knows of it.
"""

import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from lesion.errors import LesionError, first_line
from lesion.sweeps.measure import Measured, Task
from lesion.sweeps.runners import Work

PACKAGES = ("lesion", "torch", "numpy")  # of which workers should have the same versions
AHEAD = 2  # tasks for each worker that run, or are done and wait for an earlier one
TRIES = 3
REMEDY = "name it instead, as FILE.py:FACTORY, which every worker opens for itself"


class Sent(NamedTuple):
    """What opens a worker, in Ray's store; within a list, so that it is fetched when asked for.

    number: rises with what is to be opened next
    """

    number: int
    opening: list[Any]


class Seat:
    """What runs in a worker's process: a place where a subject is opened and measured."""

    def __init__(self) -> None:
        self._number = 0
        self._work: Work | None = None

    def versions(self) -> dict[str, str]:
        """Of the packages that outcomes depend on."""
        return versions()

    def measure(self, sent: Sent, task: Any) -> Any:
        """What a task gives; the subject is opened first where it is not yet."""
        if self._work is None or self._number != sent.number:
            self._work, self._number = _received(sent)(), sent.number
        (measured,) = self._work([task])
        return measured


def _received(sent: Sent) -> Callable[[], Work]:
    """What opens a worker, in its process."""
    ray = _ray()
    try:
        opening: Callable[[], Work] = ray.get(sent.opening[0])
    except ray.exceptions.RayError as error:
        raise LesionError(
            f"Expected a subject that workers can read, but there it fails ({first_line(error)}); "
            f"install its modules where the workers are, or {REMEDY}."
        ) from error
    return opening


@dataclass(eq=False)
class OnRay:
    """Measures on Ray's workers: `lesion.sweep(…, runner=lesion.OnRay(workers=4))`.

    workers: how many processes, 0 for one a processor that Ray knows, or one a GPU where gpus is
        given; gpus: how many each has, such as 1 or 0.5, on which the network then has to be
    address: of a running cluster, such as "auto" or "ray://host:10001"; by default the one that
        this program is connected to, else Ray is started on this machine, until `close`

    Outcomes are those of one process, whatever the order in which workers answer.  A subject that
    is given as objects is sent to the workers; what cannot be sent has to be named as
    FILE.py:FACTORY, in a file that all of them see.

    Raises LesionError where Ray is not installed or does not answer, where it has fewer processors
    or GPUs than are asked for, and for a subject that cannot be sent.
    """

    workers: int = 0
    gpus: float = 0
    address: str | None = None
    _seats: list[Any] = field(default_factory=list, init=False, repr=False)
    _opened: Any = field(default=None, init=False, repr=False)
    _sent: Sent = field(default=Sent(0, []), init=False, repr=False)
    _started: bool = field(default=False, init=False, repr=False)

    def run(self, tasks: Sequence[Any], open: Callable[[], Work]) -> Iterator[tuple[Any, Any]]:
        """Each task with what it gave, in their order."""
        if tasks:
            self._ready(open)
            yield from zip(tasks, _Round(tasks, self._seats, self._sent), strict=True)

    def _ready(self, open: Callable[[], Work]) -> None:
        """Workers that are to open just that."""
        ray = _ray()
        if not self._seats:
            self._connect()
            seat = ray.remote(Seat).options(num_cpus=1, num_gpus=self.gpus, max_restarts=-1)
            self._seats = [seat.remote() for _ in range(self._many())]
            _compare(ray.get([seat.versions.remote() for seat in self._seats]))
        if open is not self._opened:
            try:
                sent = ray.put(_shared(open, len(self._seats)))
            except Exception as error:  # what a subject is made of may refuse in any way
                raise LesionError(
                    f"Expected a subject that can be sent to other processes, but it cannot "
                    f"({first_line(error.__cause__ or error)}); {REMEDY}."
                ) from error
            self._opened, self._sent = open, Sent(self._sent.number + 1, [sent])

    def _connect(self) -> None:
        ray = _ray()
        if ray.is_initialized():
            return
        path = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}  # modules beside a script
        here = {"num_cpus": self.workers or None, "runtime_env": path}
        try:
            ray.init(
                self.address or "local", include_dashboard=False, log_to_driver=False,
                logging_level="error", **({} if self.address else here),
            )  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise LesionError(
                f"Expected a Ray cluster at {self.address or 'this machine'} that answers, but it "
                f"does not ({first_line(error)}); see `ray status` there, or leave the address out."
            ) from error
        self._started = True

    def _many(self) -> int:
        """How many workers. Raises LesionError where there is no room for so many."""
        there = _ray().cluster_resources()
        if self.gpus and not there.get("GPU"):
            raise LesionError(
                f"Expected a cluster with GPUs for {self.gpus:g} a worker, got one without; "
                "leave them out."
            )
        room = int(there.get("CPU", 0))
        if self.gpus:
            room = min(room, int(there["GPU"] / self.gpus))
        many = self.workers or room
        if not 0 < many <= room:
            what = f"processors and {self.gpus:g} GPUs each" if self.gpus else "a processor each"
            raise LesionError(
                f"Expected from 1 to {room} workers, with {what}, as many as Ray has there, got "
                f"{many}; ask for fewer."
            )
        return many

    def close(self) -> None:
        """Ends the workers, and Ray where they were what it was started for."""
        for seat in self._seats:
            _ray().kill(seat)
        if self._started:
            _ray().shutdown()
        self._seats, self._opened, self._started = [], None, False
        self._sent = Sent(self._sent.number, [])


Runner = OnRay


@dataclass(eq=False)
class _Round:
    """Tasks under way; iterating gives what they gave, in their order."""

    tasks: Sequence[Any]
    seats: Sequence[Any]
    sent: Sent

    def __iter__(self) -> Iterator[Any]:
        ray = _ray()
        waiting, free = deque(range(len(self.tasks))), deque(self.seats)
        running: dict[Any, tuple[int, Any]] = {}
        given: dict[int, Any] = {}
        tries = [0] * len(self.tasks)
        for place in range(len(self.tasks)):
            while place not in given:
                while free and waiting and waiting[0] < place + AHEAD * len(self.seats):
                    number, seat = waiting.popleft(), free.popleft()
                    running[seat.measure.remote(self.sent, self.tasks[number])] = number, seat
                (done,), _ = ray.wait(list(running))
                number, seat = running.pop(done)
                free.append(seat)
                lost, measured = _taken(done)
                tries[number] += 1
                if not lost:
                    given[number] = measured
                elif tries[number] < TRIES:
                    waiting.appendleft(number)
                else:
                    given[number] = _given_up(self.tasks[number], lost)
            yield given.pop(place)


def _taken(done: Any) -> tuple[str, Any]:
    """Why a task's worker was lost, "" if it was not, and what the task gave."""
    errors = _ray().exceptions
    try:
        return "", _ray().get(done)
    except errors.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, LesionError) else error) from error
    except errors.OutOfMemoryError:
        return "its worker ran out of memory", None
    except errors.RayError as error:
        return f"its worker was lost ({first_line(error)})", None


def _given_up(task: Any, reason: str) -> Any:
    """What a task gives that cannot be done: its lesions fail."""
    if not isinstance(task, Task) or task.known is None:
        raise LesionError(
            f"Expected the intact network's outcomes from a worker, but {reason}, {TRIES} times; "
            "see Ray's logs."
        )
    return Measured(None, {}, dict.fromkeys(task.cuts, f"{reason}, {TRIES} times"))


def _shared(open: Callable[[], Work], workers: int) -> Callable[[], Work]:
    """The same that leaves room for others on its machine, if it knows how."""
    sharing = getattr(open, "sharing", None)
    return sharing(workers) if sharing else open


def versions() -> dict[str, str]:
    """Of the packages that outcomes depend on, those that are installed."""
    known = {}
    for name in PACKAGES:
        try:
            known[name] = version(name)
        except PackageNotFoundError:  # run from its source
            continue
    return known


def _compare(workers: Sequence[dict[str, str]]) -> None:
    """Warns where workers have other versions than this process."""
    mine = versions()
    for name in PACKAGES:
        others = {theirs[name] for theirs in workers if name in theirs} - {mine.get(name, "")}
        if others:
            warnings.warn(
                f"workers have {name} {', '.join(sorted(others))}, this process has "
                f"{mine.get(name, 'none')}: outcomes may differ in their last digits",
                stacklevel=2,
            )


def _ray() -> Any:
    """Ray. Raises LesionError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise LesionError(
            "Expected Ray, which this runner needs, but it is not installed; run pip install "
            '"lesion[ray]".'
        ) from error
    return ray

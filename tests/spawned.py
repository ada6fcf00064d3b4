"""A runner that hands tasks to processes of their own: the proof that it can be done elsewhere."""

import multiprocessing
from multiprocessing.connection import Connection

PROCESSES = 2


class Runner:
    """Tasks go round robin to spawned processes, each of which opens a worker of its own.

    The processes stay from one round to the next, as long as the same is to be opened.
    """

    def __init__(self):
        self._opened, self._pipes, self._processes = None, [], []

    def run(self, tasks, open):
        """Each task with what it gave, in their order."""
        if tasks and open is not self._opened:
            self._start(open)
        for pipe, task in zip(self._pipes, tasks, strict=False):
            pipe.send(task)
        for number, task in enumerate(tasks):
            pipe = self._pipes[number % PROCESSES]
            result = pipe.recv()
            if isinstance(result, Exception):
                raise result
            if number + PROCESSES < len(tasks):
                pipe.send(tasks[number + PROCESSES])
            yield task, result

    def _start(self, open):
        self.close()
        spawn, self._opened = multiprocessing.get_context("spawn"), open
        for _ in range(PROCESSES):
            here, there = spawn.Pipe()
            process = spawn.Process(target=_work, args=(open, there), daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)

    def close(self):
        """Ends the processes."""
        for process in self._processes:
            process.terminate()
            process.join()
        self._opened, self._pipes, self._processes = None, [], []


def _work(open, pipe: Connection):
    """In its own process: opens a worker, and answers each task with what it gave."""
    try:
        worker = open()
        while True:
            (measured,) = worker([pipe.recv()])
            pipe.send(measured)
    except (EOFError, BrokenPipeError):  # nobody is left to be answered
        return
    except Exception as error:
        pipe.send(error)

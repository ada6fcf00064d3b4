"""What of a program depends on an edit: where a run pauses, and which steps are replayed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lesion.network.program import Program, frees


@dataclass(frozen=True)
class Behind:
    """What a cut changes: where the run pauses, what it computes ahead, what is replayed.

    reads: the values that the replayed steps take as they are; ends: those each is the last to read
    """

    pause: int
    ahead: tuple[int, ...]
    replayed: tuple[int, ...]
    ends: tuple[tuple[int, ...], ...]
    reads: tuple[int, ...]


def behind(program: Program, nodes: Iterable[int]) -> Behind:
    """The part of the program that depends on an edit of the operations `nodes`."""
    position = program.position
    edited = {program.place(node) for node in nodes}
    pause = min(edited)
    changed: set[int] = set()
    replayed = []
    for place in range(pause, len(program.steps)):
        step = program.steps[place]
        if place in edited or changed.intersection(step.inputs):
            changed.add(step.index)
            replayed.append(place)
    ahead = _ahead(program, pause, set(replayed), position)
    steps = [program.steps[place] for place in replayed]
    ends = frees(steps, (program.output,))
    own = tuple(tuple(index for index in done if index in changed) for done in ends)
    read = dict.fromkeys(index for step in steps for index in step.inputs)
    reads = tuple(index for index in read if index not in changed)
    return Behind(pause, ahead, tuple(replayed), own, reads)


def _ahead(
    program: Program, pause: int, replayed: set[int], position: Mapping[int, int]
) -> tuple[int, ...]:
    """Steps after the pause that the replayed ones read but that the cut does not reach."""
    wanted: set[int] = set()
    todo = [index for place in replayed for index in program.steps[place].inputs]
    while todo:
        place = position.get(todo.pop(), -1)
        if place >= pause and place not in replayed and place not in wanted:
            wanted.add(place)
            todo.extend(program.steps[place].inputs)
    return tuple(sorted(wanted))

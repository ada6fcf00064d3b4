"""What was measured on what, and the commands that do it again."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lesion.harmless import line
from lesion.network.cost import cost
from lesion.results.reading import Reading
from lesion.study.header import UNSAID, named_in
from lesion.study.study import Study
from lesion.subject.outcomes import EVALUATION
from lesion.words import grouped, scored

SHOWN = 16  # letters of a digest
HOLDOUT, SEED = 0.2, 0  # what `lesion sweep` takes where nothing is said


def title(study: Study) -> str:
    """What a study is called: by its network and data, or its file."""
    return line(str(study.header.settings.get("name") or study.path.name))


def facts(study: Study, readings: Sequence[Reading]) -> list[tuple[str, str]]:
    """Names and values, in words."""
    named = {name: value for name, value in _facts(study, readings) if value}
    return [(name, line(value)) for name, value in named.items()]


def _facts(study: Study, readings: Sequence[Reading]) -> Iterator[tuple[str, str]]:
    header, first, anatomy = study.header, readings[0], study.anatomy
    options, whole = named_in(header.settings), cost(anatomy)
    size = f"{len(anatomy.layers)} layers, {grouped(whole.macs)} MACs"
    network = f"{options.get('network', '')} ({size}, {grouped(whole.parameters)} parameters)"
    yield "Network", network.lstrip()
    digest = header.subject.get("weights", "")[:SHOWN]
    yield "Weights", f"{options.get('weights', '')} sha256 {digest}".lstrip()
    yield "Data", str(options.get("data", ""))
    if first.column != EVALUATION:
        seen = f"{grouped(first.images)} of {grouped(len(header.order))} in a random order"
        yield "Images", f"{seen}; {grouped(len(header.holdout))} kept back for checks of rates"
    yield "Preprocessing", header.subject.get("preprocessing", "")
    yield "Intact network", scored(first.column, first.baseline, first.images)
    yield "Damage", "; ".join(dict.fromkeys(map(_done, readings)))
    yield "Measured with", ", ".join(f"{name} {text}" for name, text in header.environment.items())
    yield "Followed", anatomy.whole and f"by whole forward passes: {anatomy.whole}"


def _done(reading: Reading) -> str:
    """What the lesions of a reading do, how often."""
    by = f" by {reading.criterion}" if reading.criterion else ""
    after = f", then {reading.recovery}" if reading.recovery else ""
    return f"{reading.damage}{by}{after} ({grouped(len(reading.planned))} lesions)"


def commands(study: Study, readings: Sequence[Reading]) -> str:
    """The commands that measure it again, as far as the study knows them, and give the advice."""
    file = study.path.name
    swept = (
        [_sweep(reading, file) for reading in readings] if readings[0].column != EVALUATION else []
    )
    advised = [_command("recommend", [file, *_family(reading)]) for reading in readings]
    said = [command for command in swept if command]
    return "\n".join(map(line, [*said, *advised, _command("report", [file, "-o", "report.html"])]))


def _sweep(reading: Reading, file: str) -> str:
    settings = reading.study.header.settings
    options = named_in(settings)
    if not options:
        return ""
    words = [word for name, value in options.items() for word in (_option(name), str(value))]
    words += ["-o", file, "--damage", reading.damage]
    amounts = reading.amounts.sort([lesion.amount for lesion in reading.planned])
    words += ["--amounts", ",".join(f"{amount:g}" for amount in amounts)]
    words += ["--criterion", reading.criterion] if reading.criterion else []
    words += ["--recover", reading.recovery, "--train", "…"] if reading.recovery else []
    return _command("sweep", [*words, *_goal(reading), *_fixed(settings)])


def _goal(reading: Reading) -> list[str]:
    """What the sweep was asked, and of how many images."""
    study, aim = reading.study, reading.aim
    images = ["--images", str(reading.images)] if reading.images < len(study.header.order) else []
    if not study.aims:
        return [*images, "--full"]
    if aim.half_width:
        return [*images, "--half-width", f"{aim.half_width:g}"]
    return [*images, "--max-drop", f"{aim.max_drop:g}", "--confidence", f"{aim.confidence:g}"]


def _fixed(settings: Mapping[str, Any]) -> list[str]:
    """What holds for the whole study, where it is not what silence means."""
    usual: dict[str, Any] = {"holdout": HOLDOUT, "seed": SEED, **UNSAID}
    names = [name for name in usual if name != "score"]
    said = {
        name: settings[name] for name in names if settings.get(name, usual[name]) != usual[name]
    }
    return [word for name, value in said.items() for word in (f"--{name}", str(value))]


def _family(reading: Reading) -> list[str]:
    words = ["--damage", reading.damage]
    words += ["--criterion", reading.criterion] if reading.criterion else []
    return words + (["--after", reading.recovery] if reading.recovery else [])


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _command(name: str, words: Sequence[str]) -> str:
    """A command line that a shell takes as it is."""
    return shlex.join(["lesion", name, *words])

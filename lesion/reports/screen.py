"""What a study holds while another process measures: how far it is, and what is certain by now."""

from collections.abc import Sequence
from dataclasses import dataclass

from lesion import harmless
from lesion.lesions.lesion import Lesion
from lesion.results.reading import Reading
from lesion.study.decisions import Decision, Decisions
from lesion.study.study import Study
from lesion.sweeps.goals import standings_of
from lesion.sweeps.work import Standing
from lesion.words import duration, grouped, points, scored

SIGNS = {"safe": "+", "sensitive": "x", "undecided": "."}
LEGEND = "+ safe, x sensitive, . open, or not needed"


@dataclass(frozen=True)
class Row:
    """A layer or another target.

    stands: the most that is safe by now; signs: one for each of its amounts, the least harm first
    images: seen by the lesion that saw most; certain: whether nothing more is needed of it
    """

    name: str
    stands: str
    signs: str
    images: int
    certain: bool


@dataclass(frozen=True)
class View:
    """A study at one moment, of the lesions that were recorded last.

    titles: of what it is, in sentences
    answers: outcomes of these lesions; most: as many as there can be, on the images that the intact
        network has seen; left: about how many more it takes until nothing more is needed
    amounts: the least and the most harmful, in words; target: what suffers them, such as "layer"
    """

    titles: tuple[str, ...]
    answers: int = 0
    most: int = 0
    left: int = 0
    rows: tuple[Row, ...] = ()
    amounts: str = ""
    target: str = "layer"

    @property
    def certain(self) -> int:
        """How many targets need nothing more."""
        return sum(row.certain for row in self.rows)

    @property
    def share(self) -> float:
        """How much of what it takes is done."""
        return self.answers / max(self.answers + self.left, 1)

    def over(self, before: "View | None") -> bool:
        """Whether the question is answered, and nothing else was measured since an earlier look."""
        asked = bool(self.rows) and not self.left
        return asked and before is not None and before.answers == self.answers


def view(study: Study) -> View:
    """What a study holds, judged by what was asked last.

    Verdicts are those of `lesion recommend`; where each lesion is evaluated as a whole there are
    none before a tolerance is named.
    """
    header, name = study.header, str(study.header.settings.get("name", ""))
    title = f"{harmless.name(str(study.path))}: {harmless.name(name)}"
    latest = study.latest or next(iter(study.lesions), None)
    seen = f"{grouped(study.images)} of {grouped(len(header.order))} images"
    if latest is None or (header.order and not study.images):
        return View((title, f"the intact network has seen {seen}"))
    reading = Reading.of(study, latest.criterion, None, latest.damage, latest.recovery)
    decisions = reading.decisions
    if not isinstance(decisions, Decisions):
        return _evaluated(title, reading)
    groups, standings = standings_of(decisions, dict.fromkeys(reading.lesions, 0.0))
    decided, aim = reading.verdicts, reading.aim
    pairs = zip(groups, standings, strict=True)
    left = sum(standing.left[place] for standing in standings for place in standing.next())
    how = f"{latest.damage}{f' by {latest.criterion}' if latest.criterion else ''}"
    how += f" after {latest.recovery}" if latest.recovery else ""
    return View(
        (
            title,
            f"{how}: at most {points(aim.max_drop)}, {aim.confidence:g} % confidence",
            f"the intact network: {scored(reading.column, reading.baseline, reading.images)}",
        ),
        sum(decision.images for decision in decided.values()),
        reading.images * len(reading.lesions),
        int(left),
        tuple(_row(reading, group, standing, decided) for group, standing in pairs),
        _ends(reading),
        reading.amounts.target,
    )


def _evaluated(title: str, reading: Reading) -> View:
    """Of whole evaluations: how many there are."""
    values, groups = reading.study.evaluations, dict[str, list[Lesion]]()
    for lesion in reading.lesions:
        groups.setdefault(lesion.target, []).append(lesion)
    rows = []
    for target, group in groups.items():
        known = [lesion in values for lesion in group]
        signs = "".join(".+"[there] for there in known)
        rows.append(Row(harmless.name(target), "", signs, 0, all(known)))
    done, most = len(values.keys() - {None}), len(reading.lesions)
    titles = (title, "evaluated as a whole; + stands for an evaluation")
    target = reading.amounts.target
    return View(titles, done, most, most - done, tuple(rows), _ends(reading), target)


def _ends(reading: Reading) -> str:
    """The least and the most harmful amount."""
    amounts = reading.amounts.sort([lesion.amount for lesion in reading.lesions])
    return f"{reading.amounts.text(amounts[0])} … {reading.amounts.text(amounts[-1])}"


def _row(
    reading: Reading, group: Sequence[Lesion], standing: Standing, decided: dict[Lesion, Decision]
) -> Row:
    verdicts = [decided[lesion].verdict for lesion in group]
    ends = verdicts.index("sensitive") if "sensitive" in verdicts else len(verdicts)
    safe = [group[place] for place in range(ends) if verdicts[place] == "safe"]
    certain = not standing.next()
    stands = reading.amounts.text(safe[-1].amount) if safe else "none" if certain else ""
    return Row(
        harmless.name(group[0].target),
        stands if certain else f"{stands} …".strip(),
        "".join(SIGNS[verdict] for verdict in verdicts),
        max(decided[lesion].images for lesion in group),
        certain,
    )


def lines(seen: View, rate: float | None = None, most: int | None = None) -> list[str]:
    """A view as lines of text.

    rate: answers a second, None where it is not known; most: of the lines, None for all; where
    there are more layers those that are certain go first
    """
    head = [*seen.titles, *_progress(seen, rate)]
    if not seen.rows:
        return head
    rows, note = list(seen.rows), f"{LEGEND}; {seen.amounts}"
    if most is not None and len(rows) > (room := max(most - len(head) - 3, 1)):
        first = sorted(range(len(rows)), key=lambda place: rows[place].certain)[:room]
        note += f"; {len(rows) - room} more {seen.target}s not shown"
        rows = [rows[place] for place in sorted(first)]
    width = max(len(seen.target), *(len(row.name) for row in rows))
    safe = max(len("stands"), *(len(row.stands) for row in rows))
    signs = max(len("amounts"), *(len(row.signs) for row in rows))
    table = [f"{seen.target:{width}}  {'stands':{safe}}  {'amounts':{signs}}  images"]
    table += [
        f"{row.name:{width}}  {row.stands:{safe}}  {row.signs:{signs}}  {grouped(row.images):>6}"
        for row in rows
    ]
    return [*head, "", *table, note]


def _progress(seen: View, rate: float | None) -> list[str]:
    """How much is certain, how many answers there are, and how long it takes."""
    if not seen.rows:
        return []
    certain = f"{seen.certain} of {len(seen.rows)} {seen.target}s certain"
    parts = [f"{grouped(seen.answers)} answers of at most {grouped(seen.most)}"]
    if seen.left:
        parts.append(f"about {grouped(seen.left)} to go ({100 * seen.share:.0f} %)")
    if rate is not None:
        parts.append(f"{rate:.0f} a second" if rate else "nothing new")
    if rate and seen.left:
        certain += f", the others in about {duration(seen.left / rate)}"
    return [certain, "; ".join(parts)]

"""How records look in a notebook: a sentence, a picture with a column a layer, and a table.

All that comes from networks and files is escaped; nothing is loaded from elsewhere.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from lesion import harmless
from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy
from lesion.rates.allocation import Allocation
from lesion.results.advice import Advice, LayerAdvice
from lesion.results.advise import advise
from lesion.results.reading import Reading
from lesion.study.study import Study
from lesion.words import grouped, lost, percent, scored, signed

# cividis (Nuñez et al. 2018): dark to bright, the same to all kinds of eyes
CIVIDIS = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)
KINDS = {"free": "#56B4E9", "coupled": "#E69F00", "tied": "#999999"}  # Okabe & Ito 2008
UNKNOWN = "#bbbbbb"
WIDE, HIGH, STRIP = 720, 60, 12  # pixels: of the picture at most, of its columns, of what is below
HEAVY = 3_000_000  # outcomes: a study of more is not judged just to be shown


class Column(NamedTuple):
    """A layer in the picture: its text on hovering, how high from 0 to 1, and its colour."""

    text: str
    height: float
    colour: str


def study_html(study: Study) -> str:
    """What a study has of each layer, judged by what was asked last."""
    title = repr(study).strip("<>")
    try:
        if study.answers > HEAVY:
            return _page([title, "recommend() says what each layer stands."])
        advice = advise(Reading.of(study))
    except LesionError as error:  # closed, or too little of it
        return _page([title, str(error)])
    return _page([title, _asked(advice)], _stood(advice), _WORDS, _layers(advice))


def advice_html(advice: Advice) -> str:
    """What each layer stands, and why."""
    return _page([_asked(advice), advice.guarantee], _stood(advice), _WORDS, _layers(advice))


def allocation_html(allocation: Allocation) -> str:
    """How much of each unit stays."""
    title = repr(allocation).strip("<>")
    columns = [
        Column(
            f"{rate.unit}: {len(rate.kept)} of {rate.channels} channels stay",
            1 - rate.rate,
            _shade(1 - rate.rate),
        )
        for rate in allocation.rates
    ]
    rows = [
        (
            rate.unit,
            rate.kind,
            f"{len(rate.kept)} of {rate.channels}",
            percent(rate.rate),
            _points(allocation.column, rate.drop),
            rate.reason,
        )
        for rate in allocation.rates
    ]
    rows += [
        (each.layer, "weights", "", each.words, _points(allocation.column, each.drop), each.damage)
        for each in allocation.weights
    ]
    titles = ("unit", "kind", "channels stay", "rate", "alone", "reason")
    words = "A column a unit: the share of its channels that stays, the less the darker."
    return _page([title, allocation.guarantee], columns, words, _table(titles, rows))


def anatomy_html(anatomy: Anatomy) -> str:
    """The layers, by what they compute and whether they can be cut."""
    most = max((layer.macs for layer in anatomy.layers), default=1) or 1
    columns = [
        Column(
            f"{layer.name}: {grouped(layer.macs)} MACs, {anatomy.unit[layer.unit].kind}",
            layer.macs / most,
            KINDS[anatomy.unit[layer.unit].kind],
        )
        for layer in anatomy.layers
    ]
    rows = [
        (
            layer.name,
            layer.stage,
            layer.kind,
            layer.channels,
            layer.unit,
            anatomy.unit[layer.unit].kind,
            grouped(layer.macs),
            anatomy.unit[layer.unit].reason,
        )
        for layer in anatomy.layers
    ]
    titles = ("layer", "stage", "kind", "channels", "unit", "status", "MACs", "reason")
    words = "A column a layer: its MACs; free blue, coupled orange, tied grey."
    notes = [repr(anatomy).strip("<>"), *anatomy.notes, anatomy.whole]
    return _page(notes, columns, words, _table(titles, rows))


_WORDS = (
    "A column a layer: the most that it stands; below it dark where it is sensitive, bright where "
    "it stands much, grey where that is not known."
)


def _asked(advice: Advice) -> str:
    base = scored(advice.column, advice.baseline, advice.images)
    return f"{repr(advice).strip('<>')}; the intact network: {base}."


def _stood(advice: Advice) -> list[Column]:
    """A column a target, as high as its safe amount among those that any stands."""
    safe = [entry.rate for entry in advice.layers if entry.status == "safe"]
    steps = [0.0, *advice.amounts.sort(safe)]

    def column(entry: LayerAdvice) -> Column:
        height = steps.index(entry.rate) / max(len(steps) - 1, 1) if entry.status == "safe" else 0.0
        known = entry.status in ("safe", "sensitive")
        return Column(f"{entry.layer}: {entry.reason}", height, _shade(height, known))

    return [column(entry) for entry in advice.layers]


def _layers(advice: Advice) -> str:
    """The table of what layers stand."""
    rows = [
        (
            entry.layer,
            entry.stage,
            entry.kind,
            entry.status,
            advice.amounts.text(entry.rate) if entry.status == "safe" else "",
            _points(advice.column, entry.drop),
            _ends(entry),
            entry.reason,
        )
        for entry in advice.layers
    ]
    titles = ("layer", "stage", "kind", "verdict", "stands", "drop", "interval", "reason")
    return _table(titles, rows)


def _ends(entry: LayerAdvice) -> str:
    known = entry.low is not None and entry.high is not None
    return f"[{signed(entry.low, 2)}, {signed(entry.high, 2)}]" if known else ""  # type: ignore[arg-type]


def _points(column: str, drop: float | None) -> str:
    return "" if drop is None or drop != drop else lost(column, drop)


def _shade(share: float, known: bool = True) -> str:
    """A colour from dark at 0 to bright at 1."""
    return CIVIDIS[round(share * (len(CIVIDIS) - 1))] if known else UNKNOWN


def _page(
    sentences: Iterable[str], columns: Sequence[Column] = (), words: str = "", table: str = ""
) -> str:
    said = "".join(f"<div>{_text(sentence)}</div>" for sentence in sentences if sentence)
    return f"<div>{said}{_picture(columns, words)}{table}</div>"


def _picture(columns: Sequence[Column], words: str) -> str:
    """The columns as SVG, each above a square of its colour."""
    if not columns:
        return ""
    step = min(24.0, WIDE / len(columns))
    parts = []
    for place, column in enumerate(columns):
        x, wide, tall = f"{place * step:.1f}", f"{0.85 * step:.1f}", HIGH * column.height
        parts.append(
            f'<g fill="{column.colour}"><title>{_text(column.text)}</title>'
            f'<rect x="{x}" y="{HIGH - tall:.1f}" width="{wide}" height="{tall:.1f}"/>'
            f'<rect x="{x}" y="{HIGH + 2}" width="{wide}" height="{STRIP}"/></g>'
        )
    size = f'width="{step * len(columns):.0f}" height="{HIGH + STRIP + 4}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_text(words)}">'
        f"{''.join(parts)}</svg><div><small>{_text(words)}</small></div>"
    )


def _table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{_text(title)}</th>" for title in titles)
    body = "".join(
        f"<tr>{''.join(f'<td>{_text(_shown(value))}</td>' for value in row)}</tr>" for row in rows
    )
    return (
        '<div style="max-height: 20em; overflow: auto"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _text(text: str) -> str:
    """A text as HTML shows it as it is: in one line, no tag, no attribute's end."""
    return escape(harmless.line(text))

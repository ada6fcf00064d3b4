"""The report: a study as one HTML file that holds all it needs."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lesion.boundary.files import write
from lesion.errors import LesionError
from lesion.reports.page.content import content, readings_of
from lesion.reports.page.facts import commands, facts, title
from lesion.study.study import Study

if TYPE_CHECKING:
    from lesion.joint.interactions import Interactions

ASSETS = resources.files(__package__) / "assets"
SCRIPTS = (  # in the order in which they run
    "model",
    "dom",
    "advice",
    "strip",
    "curves",
    "heatmap",
    "table",
    "tradeoff",
    "more",
    "page",
)


class Page(str):
    """A page of HTML: in a notebook it shows itself, and elsewhere a line about itself.

    >>> Page("<p>a page</p>")
    <Page: 1 kB of HTML>
    """

    def __repr__(self) -> str:
        return f"<Page: {-(-len(self.encode()) // 1000)} kB of HTML>"

    def _repr_html_(self) -> str:
        style = "width: 100%; height: 90vh; border: 1px solid #999"
        return f'<iframe title="report" style="{style}" srcdoc="{escape(self)}"></iframe>'


def report(
    study: Study,
    path: str | Path | None = None,
    tolerances: Sequence[float] | None = None,
    class_names: Mapping[int, str] | None = None,
    tradeoff: pd.DataFrame | None = None,
    interactions: "Interactions | pd.DataFrame | None" = None,
) -> Page:
    """A study as one HTML page that opens offline: advice at a choice of tolerances, the network
    layer by layer, curves, a heatmap and tables, for each kind of lesions that it holds.

    Everything on the page is in the study; advice at a tolerance is what `lesion.recommend` gives.

    path: where to write it, None for nowhere; tolerances: at which there is advice, in points,
        None for some from 0.1 to 30 and those that were swept; fewer where more than 1000 lesions
        stopped early, of which each tolerance takes its while
    class_names: of the labels of the images; tradeoff: what `lesion.tradeoff` gave; interactions:
        what `lesion.interactions` gave, or its table

    Raises EvidenceError where the study holds no measured lesion, LesionError for a tolerance that
    cannot be, for tables of another kind, a file that cannot be written, and without Jinja2.
    """
    from lesion import __version__

    readings = readings_of(study)
    pairs = (
        interactions
        if interactions is None or isinstance(interactions, pd.DataFrame)
        else interactions.table
    )
    values = content(study, readings, tolerances, class_names, tradeoff, pairs)
    script = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _rendered(
        title=title(study),
        facts=facts(study, readings),
        commands=commands(study, readings),
        version=__version__,
        style=_asset("style.css"),
        script=script,
        digest=digest,
        data=embedded(values),
    )
    if path is not None:
        write(path, page)
    return Page(page)


def embedded(values: Any) -> str:
    r"""Values as JSON that stands in an element `script` and cannot end it.

    >>> print(embedded({"a": "</script>\u2028"}))
    {"a":"\u003c/script\u003e\u2028"}
    """
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)  # beyond ASCII as escapes
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")


def _rendered(style: str, script: str, data: str, **texts: Any) -> str:
    """The page; style, script and data are ours and stand in it as they are."""
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise LesionError(
            'Expected Jinja2, which makes the report; pip install "lesion[report]".'
        ) from error
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        _asset("page.html.j2")
    )
    ours = {"style": Markup(style), "script": Markup(script), "data": Markup(data)}
    return template.render(**ours, **texts)

"""Options that say what is to be found out: tolerance, confidence, score, time."""

from functools import partial
from typing import Annotated

import typer

from lesion.cli.options.values import Estimand, Guarantee, Order, per_cent

_goal = partial(typer.Option, rich_help_panel="What to find out")
SCORES = (
    "top1, top5; agreement or tv (total variation) with the intact network, without labels; "
    "FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, score(outputs, targets) from 0 to 1 an image"
)

AtRatio = Annotated[
    float | None,
    typer.Option(
        "--ratio", help="rank by the drop at one ratio", metavar="X", show_default="mean over all"
    ),
]
Aimed = Annotated[
    float,
    typer.Option(
        help="tolerated, in percentage points: a lesion is measured until it is certain whether it "
        "costs more",
        metavar="POINTS",
        parser=per_cent,
    ),
]
Certain = Annotated[
    float,
    _goal(
        help="that no such claim of the study is wrong, in per cent",
        metavar="PERCENT",
        parser=per_cent,
    ),
]
HalfWidth = Annotated[
    float | None,
    _goal(
        help="instead: measure every lesion until its drop is known to so many points on both "
        "sides",
        metavar="POINTS",
        parser=per_cent,
    ),
]
Everything = Annotated[bool, _goal("--full", help="measure every lesion on every image")]
TimeLimit = Annotated[
    str | None,
    _goal(
        help="stop after about so long, such as 90s, 5min or 2h, with what is certain by then",
        metavar="TIME",
    ),
]
Dry = Annotated[bool, _goal("--dry-run", help="say what it would take, and measure nothing")]
KnownScore = Annotated[
    str | None, _goal("--score", help=SCORES, metavar="SCORE", show_default="top1, or the study's")
]
WhichOrder = Annotated[
    Order | None,
    _goal(
        help="look first where the intact network hesitates, or at images at random",
        show_default="margin, or the study's",
    ),
]
Of = Annotated[
    Estimand | None,
    _goal(
        help="drops of this evaluation set, or of the population that it is drawn from",
        show_default="set, or the study's",
    ),
]
Whose = Annotated[
    Guarantee,
    typer.Option(
        help="whether the confidence is that no claim of the study is wrong, or none of a layer"
    ),
]
Function = Annotated[
    str,
    _goal(
        "--evaluate",
        help="FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, evaluate(network) gives one "
        "number or a lesion.SetScore, larger being better",
        metavar="FUNCTION",
        show_default=False,
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        help="tolerated, in percentage points",
        metavar="POINTS",
        parser=per_cent,
        show_default="as swept",
    ),
]
Sure = Annotated[
    float | None,
    typer.Option(
        help="of the claims, in per cent",
        metavar="PERCENT",
        parser=per_cent,
        show_default="as swept",
    ),
]
Confidence = Annotated[
    float, typer.Option(help="of the intervals, in per cent", metavar="PERCENT", parser=per_cent)
]
ByClass = Annotated[
    bool, typer.Option("--by-class", help="drops class by class, of lesions that saw all images")
]

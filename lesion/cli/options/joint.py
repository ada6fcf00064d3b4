"""Options of what is measured of rates together."""

from typing import Annotated

import typer

CloseLoop = Annotated[
    bool,
    typer.Option(
        "--close-loop",
        help="where the rates lose too much, look on the study's own images for the "
        "largest cut that does not, and check that, until one is certified",
    ),
]
AllHeld = Annotated[
    bool,
    typer.Option(
        "--full", help="measure all images kept back, though the verdict be certain before"
    ),
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines/--no-baselines",
        help="measure one rate for all units, and a global ranking of filters, "
        "at the same MACs beside them",
    ),
]
Sets = Annotated[int, typer.Option(help="how many sets of rates", metavar="N", min=59)]
Rounds = Annotated[int, typer.Option(help="at most so many rounds", metavar="N", min=1)]
Pairs = Annotated[int, typer.Option(help="how many pairs to measure well", metavar="N", min=1)]
OnImages = Annotated[int, typer.Option("--images", help="on how many images", metavar="N", min=2)]

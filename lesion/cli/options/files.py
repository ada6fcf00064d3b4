"""Options that name files and how they are written."""

from pathlib import Path
from typing import Annotated

import typer

from lesion.cli.options.values import Format

AlsoDrawn = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", help="folder for the picture", metavar="FOLDER", show_default="none"
    ),
]
Tables = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        help="folder for the picture, and for the tables as CSV",
        metavar="FOLDER",
        show_default="none",
    ),
]
NewStudy = Annotated[
    Path,
    typer.Option(
        "-o", "--out", help="study file, new or to go on with", metavar="STUDY", show_default=False
    ),
]
MergedStudy = Annotated[
    Path, typer.Option("-o", "--out", help="new study file", metavar="STUDY", show_default=False)
]
Folder = Annotated[Path, typer.Option("-o", "--out", help="folder to write to", metavar="FOLDER")]
StudyFile = Annotated[Path, typer.Argument(help="a file that `lesion sweep` wrote")]
StudyFiles = Annotated[list[Path], typer.Argument(help="study files of one subject")]
As = Annotated[Format, typer.Option("--format", help="for people, or for programs")]
Formats = Annotated[str, typer.Option(help="any of png, svg, pdf, with commas between them")]
Exported = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="file to write", metavar="FILE", show_default="printed"),
]
PrunedFile = Annotated[
    Path,
    typer.Option(
        "-o",
        "--out",
        help="file for the pruned network, .safetensors, .onnx or .pt2",
        metavar="FILE",
        show_default=False,
    ),
]
TimesOut = Annotated[
    Path,
    typer.Option(
        "-o", "--out", help="file for the table, as JSON", metavar="FILE", show_default=False
    ),
]
PageOut = Annotated[
    Path,
    typer.Option("-o", "--out", help="file for the page", metavar="FILE"),
]
Tolerances = Annotated[
    str | None,
    typer.Option(
        help="points at which there is advice, with commas between them",
        metavar="POINTS",
        show_default="some from 0.1 to 30, and as swept",
    ),
]
NamedClasses = Annotated[
    Path | None,
    typer.Option(
        "--class-map",
        help="names of the classes: a .json, .csv or .txt as for `lesion sweep`",
        metavar="FILE",
        show_default="the network's own",
    ),
]
TradeoffTable = Annotated[
    Path | None,
    typer.Option(
        "--tradeoff",
        help="what `lesion tradeoff --format csv` (or json) printed",
        metavar="FILE",
        show_default="none",
    ),
]
PairsTable = Annotated[
    Path | None,
    typer.Option(
        "--interactions",
        help="what `lesion interactions --format csv` (or json) printed",
        metavar="FILE",
        show_default="none",
    ),
]

"""Options that say which rates: budgets, limits, saved ones, and who takes them."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lesion.cli.options.values import By, Per

_rates = partial(typer.Option, rich_help_panel="Which rates")

Macs = Annotated[
    str | None,
    _rates(help="multiply-accumulates that may remain, such as 50%, or least", metavar="SHARE"),
]
Params = Annotated[str | None, _rates(help="parameters that may remain", metavar="SHARE")]
Latency = Annotated[
    str | None, _rates(help="time that may remain, by the table of --times", metavar="SHARE")
]
Bytes = Annotated[
    str | None, _rates(help="stored bytes of layers that may remain, such as 25%", metavar="SHARE")
]
Bops = Annotated[
    str | None,
    _rates(help="bit operations that may remain: MACs times bits", metavar="SHARE"),
]
TimesFile = Annotated[
    Path | None, _rates("--times", help="a table that `lesion time` wrote", metavar="FILE")
]
ByWhat = Annotated[
    By | None,
    _rates(
        help="what the joint drop is predicted by", show_default="margins, where the study has them"
    ),
]
PerWhat = Annotated[Per, _rates(help="what has a rate of its own")]
Align = Annotated[int, _rates(help="channels that stay are a multiple of it", metavar="N", min=1)]
Least = Annotated[int, _rates("--least", help="and no fewer than this", metavar="N", min=1)]
MaxRate = Annotated[
    float,
    _rates(help="the highest rate of a layer, such as 0.6", metavar="RATE", show_default="any"),
]
Pins = Annotated[
    list[str] | None,
    _rates(
        "--pin",
        help="the rate of a layer, by name or pattern, such as 'layer1.*=0.3'; may be given "
        "several times",
        metavar="PATTERN=RATE",
    ),
]
Whole = Annotated[
    str | None, _rates("--skip", help="patterns of layers that stay whole", metavar="PATTERN,…")
]
RatesFile = Annotated[
    Path | None,
    _rates("--rates", help="rates that were saved, instead of a budget", metavar="FILE"),
]
DrawnRates = Annotated[
    Path | None,
    typer.Option("--rates", help="rates that were saved, to draw as well", metavar="FILE"),
]
SavedRates = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="file to save the rates in, as JSON", metavar="FILE"),
]
Shares = Annotated[
    str, typer.Option(help="of the MACs that may remain", metavar="X,…", show_default="0.9 to 0.3")
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        help="torch-pruning, torch-prune, fasterai, nni, json, yaml, csv, markdown, masks; of "
        "--damage quantise, nncf, onnxruntime, torchao, modelopt, tensorrt, aimet; or a target of "
        "another package",
        metavar="TARGET",
        show_default=False,
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(
        "--bits",
        help="the width that a tool quantises to: layers that are not surely safe at it are "
        "excluded",
        metavar="N",
        min=2,
        max=16,
        show_default="8, or each layer's own",
    ),
]
Onnx = Annotated[
    Path | None,
    typer.Option(
        "--onnx",
        help="the ONNX file of the network that a tool quantises, whose nodes are named",
        metavar="FILE",
        show_default=False,
    ),
]

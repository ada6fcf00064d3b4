"""Options of memory, device and processes."""

from functools import partial
from typing import Annotated

import typer

_means = partial(typer.Option, rich_help_panel="With what means")

Memory = Annotated[
    str | None,
    _means(
        help="how much to use, such as 800M or 4G",
        metavar="SIZE",
        show_default="half of what is free",
    ),
]
Device = Annotated[
    str | None, _means(help="cpu, cuda, cuda:1", show_default="cuda where there is one")
]
WhichRunner = Annotated[
    str,
    _means(
        "--runner",
        help="where it is measured: here; ray, on workers of this machine or a cluster, such as "
        "ray:workers=4,gpus=1,address=auto; or by one of another package",
    ),
]
Workers = Annotated[int | None, _means(help="processes that read images", metavar="N", min=0)]
Logs = Annotated[
    list[str] | None,
    _means(
        "--log",
        help="where else it tells how far it is and what came out: jsonl:FILE, tensorboard:FOLDER, "
        "wandb:PROJECT, mlflow:EXPERIMENT; may be repeated",
        metavar="LOG",
    ),
]
Once = Annotated[bool, typer.Option("--once", help="show it once, as text, and end")]
Every = Annotated[
    float,
    typer.Option("--every", help="seconds between two looks, at least", metavar="SECONDS", min=0.2),
]
WhichRuntime = Annotated[
    str,
    _means(
        "--with",
        help="where layers are timed: torch, onnxruntime, or FILE.py:FUNCTION of module and images",
        metavar="RUNTIME",
    ),
]
BatchTimed = Annotated[int, typer.Option("--batch", help="images at once", metavar="N", min=1)]

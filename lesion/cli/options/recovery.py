"""Options of what lesioned networks go through before they are scored."""

from functools import partial
from typing import Annotated

import typer

_recovery = partial(typer.Option, rich_help_panel="Recovery before scoring")
_rates = partial(typer.Option, rich_help_panel="Which rates")

Recover = Annotated[
    str,
    _recovery(
        help="what each lesioned network goes through before it is scored; without training or "
        "labels: reconstruct (least squares of the layers behind), bias (of their constants), fold "
        "(into what is most alike), bn (batch norms' statistics estimated anew); by training: "
        "finetune:STEPS (SGD; also finetune:STEPS,lr=0.001,momentum=0,decay=0; by masks=gdp, dns, "
        "soft or agp it is decided anew which channels are gone), distill:STEPS, FILE.py:FUNCTION "
        "or PACKAGE.MODULE:FUNCTION, recover(network, batches); several with commas, such as "
        "reconstruct,bn",
        metavar="RECOVERY",
        show_default="nothing",
    ),
]
Train = Annotated[
    str | None,
    _recovery(
        help="its training images, as --data, such as torchvision:CIFAR10:data:train; none of them "
        "may be scored",
        metavar="DATA",
    ),
]
Recovered = Annotated[
    str,
    _rates(
        "--after",
        help="judge the lesions that recovered in this way, such as bn or finetune:50",
        metavar="RECOVERY",
        show_default="those that did not",
    ),
]
Compared = Annotated[
    str | None,
    typer.Option(
        "--after", help="which recovery, where the study holds several", metavar="RECOVERY"
    ),
]

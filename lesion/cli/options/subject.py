"""Options that say what is measured, and how its images are prepared.

Network, weights and data stand first in help, in no panel, with what else a beginner needs; where a
study says them, they stand behind what the command is for.
"""

from functools import partial
from typing import Annotated

import typer

_subject = partial(typer.Option, rich_help_panel="What is measured")
_preprocessing = partial(typer.Option, rich_help_panel="Preprocessing of the images")
WIDEST = 16_384  # pixels of a side: more would fill memory
NETWORK = (
    "FILE.py:FACTORY or PACKAGE.MODULE:FACTORY, a function that returns the module; "
    "torchvision:NAME; timm:NAME; hf:NAME, of the hub or a folder; demo:resnet20; demo:resnet56"
)
DATA = (
    "imagefolder:DIR, one folder a class; npz:FILE; torchvision:SET:ROOT, such as "
    "torchvision:CIFAR10:data, or torchvision:SET:ROOT:train; hf:NAME, of the hub or a "
    "folder, or hf:NAME:SPLIT:IMAGES,LABELS; FILE.py:FACTORY or PACKAGE.MODULE:FACTORY, a function "
    "that returns a Dataset or DataLoader; demo:fashion-mnist"
)
WEIGHTS = (
    "a file (safetensors or a saved state_dict), default, a tag or enum's name, or random; needed "
    "for torchvision:NAME, timm:NAME and hf:NAME"
)

Network = Annotated[str, typer.Option(help=NETWORK, metavar="NETWORK", show_default=False)]
Data = Annotated[str, typer.Option(help=DATA, metavar="DATA", show_default=False)]
KnownNetwork = Annotated[
    str | None,
    typer.Option("--network", help=NETWORK, metavar="NETWORK", show_default="the study's"),
]
KnownData = Annotated[
    str | None, typer.Option("--data", help=DATA, metavar="DATA", show_default="the study's")
]
OtherNetwork = Annotated[
    str | None, _subject("--network", help=NETWORK, metavar="NETWORK", show_default="the study's")
]
OtherData = Annotated[
    str | None, _subject("--data", help=DATA, metavar="DATA", show_default="the study's")
]
ShownData = Annotated[
    str | None, typer.Option("--data", help=DATA, metavar="DATA", show_default="noise of --input")
]
InputShape = Annotated[
    str | None,
    _subject(
        "--input",
        help="the shape of one input, in place of --data where nothing is scored: 3x224x224",
        metavar="SHAPE",
    ),
]
Weights = Annotated[str | None, typer.Option(help=WEIGHTS, metavar="WEIGHTS")]
OtherWeights = Annotated[
    str | None,
    _subject("--weights", help=WEIGHTS, metavar="WEIGHTS", show_default="the study's"),
]
Classes = Annotated[
    int | None,
    _subject(
        help="outputs of a torchvision or timm network whose weights come from a file",
        metavar="N",
        min=1,
    ),
]
ClassMap = Annotated[
    str | None,
    _subject(
        help="which outputs the class folders are: a .json of names and outputs, a .csv of "
        "folder,output, or a .txt of the classes in the order of the outputs",
        metavar="FILE",
        show_default="by name where the network's classes are known, else by alphabet",
    ),
]
Scored = Annotated[
    str | None,
    _subject(
        "--output",
        help="which of several outputs is scored: its name, or its place from 0",
        metavar="NAME",
        show_default="logits, out, or the first",
    ),
]
Resize = Annotated[
    int | None, _preprocessing(help="shorter side, in pixels", metavar="N", min=1, max=WIDEST)
]
Crop = Annotated[
    int | None,
    _preprocessing(help="square at the centre, in pixels", metavar="N", min=1, max=WIDEST),
]
Mean = Annotated[
    str | None,
    _preprocessing(
        help="one number a channel, on the scale 0 to 1, such as 0.485,0.456,0.406", metavar="X,…"
    ),
]
Std = Annotated[str | None, _preprocessing(help="the same", metavar="X,…")]
DemoNetwork = Annotated[str, typer.Option(help="demo:resnet20 or demo:resnet56")]

"""The options of the command line that several commands share."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

SUBJECT, PREPROCESSING = "What is measured", "Preprocessing of the images"
RECOVERY = "Recovery before scoring"
BUDGET = "Which rates"
WIDEST = 16_384  # pixels of a side: more would fill memory
GOAL, LESIONS, MEANS = "What to find out", "Which lesions", "With what means"


class Format(str, Enum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"


class Units(str, Enum):
    """What is cut."""

    free = "free"
    all = "all"


class Order(str, Enum):
    """Which images a lesion sees first."""

    margin = "margin"
    uniform = "uniform"


class By(str, Enum):
    """What a joint drop is predicted by."""

    margins = "margins"
    drops = "drops"


class Per(str, Enum):
    """What has a rate of its own."""

    unit = "unit"
    layer = "layer"
    stage = "stage"


class Estimand(str, Enum):
    """What a drop is of."""

    set = "set"
    population = "population"


class Guarantee(str, Enum):
    """What the confidence is of."""

    study = "study"
    layer = "layer"


class Rounding(str, Enum):
    """How the number of filters that stay is rounded."""

    floor_kept = "floor-kept"
    nearest = "nearest"


NETWORK = (
    "FILE.py:FACTORY or PACKAGE.MODULE:FACTORY, a function that returns the module; "
    "torchvision:NAME; timm:NAME; demo:resnet20; demo:resnet56"
)
DATA = (
    "imagefolder:DIR, one folder a class; npz:FILE; torchvision:SET:ROOT, such as "
    "torchvision:CIFAR10:data, or torchvision:SET:ROOT:train; FILE.py:FACTORY or "
    "PACKAGE.MODULE:FACTORY, a function that returns a Dataset or DataLoader; "
    "demo:fashion-mnist"
)
Network = Annotated[str, typer.Option(
    help=NETWORK, rich_help_panel=SUBJECT, metavar="NETWORK", show_default=False,
)]  # fmt: skip
Data = Annotated[str, typer.Option(
    help=DATA, rich_help_panel=SUBJECT, metavar="DATA", show_default=False,
)]  # fmt: skip
KnownNetwork = Annotated[str | None, typer.Option(
    "--network", help=NETWORK, rich_help_panel=SUBJECT, metavar="NETWORK",
    show_default="the study's",
)]  # fmt: skip
KnownData = Annotated[str | None, typer.Option(
    "--data", help=DATA, rich_help_panel=SUBJECT, metavar="DATA", show_default="the study's",
)]  # fmt: skip
Weights = Annotated[str | None, typer.Option(
    help="a file (safetensors or a saved state_dict), default, a tag or enum's name, or random; "
    "needed for torchvision:NAME and timm:NAME",
    rich_help_panel=SUBJECT, metavar="WEIGHTS",
)]  # fmt: skip
Classes = Annotated[int | None, typer.Option(
    help="outputs of a torchvision or timm network whose weights come from a file",
    rich_help_panel=SUBJECT, metavar="N", min=1,
)]  # fmt: skip

Scored = Annotated[str | None, typer.Option(
    "--output", help="which of several outputs is scored: its name, or its place from 0",
    rich_help_panel=SUBJECT, metavar="NAME", show_default="logits, out, or the first",
)]  # fmt: skip

Resize = Annotated[int | None, typer.Option(
    help="shorter side, in pixels", rich_help_panel=PREPROCESSING, metavar="N", min=1,
    max=WIDEST,
)]  # fmt: skip
Crop = Annotated[int | None, typer.Option(
    help="square at the centre, in pixels", rich_help_panel=PREPROCESSING, metavar="N", min=1,
    max=WIDEST,
)]  # fmt: skip
Mean = Annotated[str | None, typer.Option(
    help="one number a channel, on the scale 0 to 1, such as 0.485,0.456,0.406",
    rich_help_panel=PREPROCESSING, metavar="X,…",
)]  # fmt: skip
Std = Annotated[str | None, typer.Option(
    help="the same", rich_help_panel=PREPROCESSING, metavar="X,…",
)]  # fmt: skip


Recover = Annotated[str, typer.Option(
    help="what each lesioned network goes through before it is scored: bn (batch norms' statistics "
    "estimated anew), finetune:STEPS (SGD; also finetune:STEPS,lr=0.001,momentum=0,decay=0), "
    "FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, recover(network, batches)",
    rich_help_panel=RECOVERY, metavar="RECOVERY", show_default="nothing",
)]  # fmt: skip
Train = Annotated[str | None, typer.Option(
    help="its training images, as --data, such as torchvision:CIFAR10:data:train; none of them may "
    "be scored", rich_help_panel=RECOVERY, metavar="DATA",
)]  # fmt: skip
Recovered = Annotated[str, typer.Option(
    "--recovery", help="judge the lesions that recovered in this way, such as bn or finetune:50",
    rich_help_panel=BUDGET, metavar="RECOVERY", show_default="those that did not",
)]  # fmt: skip
Compared = Annotated[str | None, typer.Option(
    "--recovery", help="which recovery, where the study holds several", metavar="RECOVERY",
)]  # fmt: skip
AtRatio = Annotated[float | None, typer.Option(
    "--ratio", help="rank by the drop at one ratio", metavar="X", show_default="mean over all",
)]  # fmt: skip
AlsoDrawn = Annotated[Path | None, typer.Option(
    "-o", "--out", help="folder for the picture", metavar="FOLDER", show_default="none",
)]  # fmt: skip

Ratios = Annotated[str, typer.Option(
    help="shares of the filters to remove", rich_help_panel=LESIONS, metavar="X,…",
    show_default="0.1 to 0.9",
)]  # fmt: skip
NewCriterion = Annotated[str, typer.Option(
    help="which filters go first: l1, l2, fpgm, bn_scale; to compare with, random, largest",
    rich_help_panel=LESIONS,
)]  # fmt: skip
Layers = Annotated[str | None, typer.Option(
    help="patterns of layer names with commas between them, such as 'layer3.*'",
    rich_help_panel=LESIONS, metavar="PATTERN,…", show_default="all",
)]  # fmt: skip
WhichUnits = Annotated[Units, typer.Option(
    help="what one layer makes alone (and the stem's part), or what is coupled too",
    rich_help_panel=LESIONS,
)]  # fmt: skip
WhichRounding = Annotated[Rounding, typer.Option(
    help="how many filters stay: rounded down, or to the nearest", rich_help_panel=LESIONS,
)]  # fmt: skip
Limit = Annotated[int | None, typer.Option(
    help="how many images to measure, the first of the study's random order",
    rich_help_panel=LESIONS, metavar="N", show_default="all",
)]  # fmt: skip
Holdout = Annotated[float | None, typer.Option(
    help="share of the images kept back for checking advice",
    rich_help_panel=LESIONS, metavar="SHARE", show_default="0.2, or the study's",
)]  # fmt: skip
KnownSeed = Annotated[int | None, typer.Option(
    "--seed", help="of the images' order, the images kept back, and --criterion random",
    rich_help_panel=LESIONS, metavar="N", min=0, show_default="0, or the study's",
)]  # fmt: skip
Seed = Annotated[int, typer.Option(
    help="of --criterion random", rich_help_panel=LESIONS, metavar="N", min=0,
)]  # fmt: skip

Aimed = Annotated[float, typer.Option(
    help="tolerated, in percentage points: a lesion is measured until it is certain whether it "
    "costs more", rich_help_panel=GOAL, metavar="POINTS",
)]  # fmt: skip
Certain = Annotated[float, typer.Option(
    help="that no such claim of the study is wrong, in per cent",
    rich_help_panel=GOAL, metavar="PERCENT",
)]  # fmt: skip
HalfWidth = Annotated[float | None, typer.Option(
    help="instead: measure every lesion until its drop is known to so many points on both sides",
    rich_help_panel=GOAL, metavar="POINTS",
)]  # fmt: skip
Everything = Annotated[bool, typer.Option(
    "--full", help="measure every lesion on every image", rich_help_panel=GOAL,
)]  # fmt: skip
Budget = Annotated[str | None, typer.Option(
    help="stop after about so long, such as 90s, 5min or 2h, with what is certain by then",
    rich_help_panel=GOAL, metavar="TIME",
)]  # fmt: skip
Dry = Annotated[bool, typer.Option(
    "--dry-run", help="say what it would take, and measure nothing", rich_help_panel=GOAL,
)]  # fmt: skip
SCORES = (
    "top1, top5; agreement or tv (total variation) with the intact network, without labels; "
    "FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, score(outputs, targets) from 0 to 1 an image"
)
KnownScore = Annotated[str | None, typer.Option(
    "--score", help=SCORES, rich_help_panel=GOAL, metavar="SCORE",
    show_default="top1, or the study's",
)]  # fmt: skip
WhichOrder = Annotated[Order | None, typer.Option(
    help="look first where the intact network hesitates, or at images at random",
    rich_help_panel=GOAL, show_default="margin, or the study's",
)]  # fmt: skip
Of = Annotated[Estimand | None, typer.Option(
    help="drops of this evaluation set, or of the population that it is drawn from",
    rich_help_panel=GOAL, show_default="set, or the study's",
)]  # fmt: skip
Whose = Annotated[Guarantee, typer.Option(
    help="whether the confidence is that no claim of the study is wrong, or none of a layer",
)]  # fmt: skip

Memory = Annotated[str | None, typer.Option(
    help="how much to use, such as 800M or 4G",
    rich_help_panel=MEANS, metavar="SIZE", show_default="half of what is free",
)]  # fmt: skip
Device = Annotated[str | None, typer.Option(
    help="cpu, cuda, cuda:1", rich_help_panel=MEANS, show_default="cuda where there is one",
)]  # fmt: skip
Workers = Annotated[int | None, typer.Option(
    help="processes that read images", rich_help_panel=MEANS, metavar="N", min=0,
)]  # fmt: skip

Function = Annotated[str, typer.Option(
    "--evaluate", help="FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, evaluate(network) gives one "
    "number, larger being better", rich_help_panel=GOAL, metavar="FUNCTION", show_default=False,
)]  # fmt: skip
Part = Annotated[str, typer.Option(
    help="submodule to look for layers in, such as backbone, where the network as a whole cannot "
    "be followed; the data are then the part's input", rich_help_panel=LESIONS, metavar="NAME",
    show_default="all",
)]  # fmt: skip

NewStudy = Annotated[Path, typer.Option(
    "-o", "--out", help="study file, new or to go on with", metavar="STUDY", show_default=False,
)]  # fmt: skip
MergedStudy = Annotated[Path, typer.Option(
    "-o", "--out", help="new study file", metavar="STUDY", show_default=False,
)]  # fmt: skip
Folder = Annotated[Path, typer.Option(
    "-o", "--out", help="folder to write to", metavar="FOLDER",
)]  # fmt: skip
StudyFile = Annotated[Path, typer.Argument(help="a file that `lesion sweep` wrote")]
StudyFiles = Annotated[list[Path], typer.Argument(help="study files of one subject")]
As = Annotated[Format, typer.Option("--format", help="for people, or for programs")]
Formats = Annotated[str, typer.Option(help="any of png, svg, pdf, with commas between them")]
MaxDrop = Annotated[float | None, typer.Option(
    help="tolerated, in percentage points", metavar="POINTS", show_default="as swept",
)]  # fmt: skip
Sure = Annotated[float | None, typer.Option(
    help="of the claims, in per cent", metavar="PERCENT", show_default="as swept",
)]  # fmt: skip
Confidence = Annotated[float, typer.Option(
    help="of the intervals, in per cent", metavar="PERCENT",
)]  # fmt: skip
ByClass = Annotated[bool, typer.Option(
    "--by-class", help="drops class by class, of lesions that saw all images",
)]  # fmt: skip
Criterion = Annotated[str | None, typer.Option(
    help="which of the study's criteria, where it holds several", show_default="l1, or the first",
)]  # fmt: skip
Damage = Annotated[str | None, typer.Option(
    help="which kind of damage, where the study holds several",
    show_default="filters, or the first",
)]  # fmt: skip
DemoNetwork = Annotated[str, typer.Option(help="demo:resnet20 or demo:resnet56")]


Macs = Annotated[str | None, typer.Option(
    help="multiply-accumulates that may remain, such as 50%, or least", rich_help_panel=BUDGET,
    metavar="SHARE",
)]  # fmt: skip
Params = Annotated[str | None, typer.Option(
    help="parameters that may remain", rich_help_panel=BUDGET, metavar="SHARE",
)]  # fmt: skip
Latency = Annotated[str | None, typer.Option(
    help="time that may remain, by the table of --times", rich_help_panel=BUDGET, metavar="SHARE",
)]  # fmt: skip
TimesFile = Annotated[Path | None, typer.Option(
    "--times", help="a table that `lesion time` wrote", rich_help_panel=BUDGET, metavar="FILE",
)]  # fmt: skip
ByWhat = Annotated[By | None, typer.Option(
    help="what the joint drop is predicted by", rich_help_panel=BUDGET,
    show_default="margins, where the study has them",
)]  # fmt: skip
PerWhat = Annotated[Per, typer.Option(
    help="what has a rate of its own", rich_help_panel=BUDGET,
)]  # fmt: skip
Align = Annotated[int, typer.Option(
    help="channels that stay are a multiple of it", rich_help_panel=BUDGET, metavar="N", min=1,
)]  # fmt: skip
Least = Annotated[int, typer.Option(
    "--least", help="and no fewer than this", rich_help_panel=BUDGET, metavar="N", min=1,
)]  # fmt: skip
MaxRate = Annotated[float, typer.Option(
    help="the highest rate of a layer, such as 0.6", rich_help_panel=BUDGET, metavar="RATE",
    show_default="any",
)]  # fmt: skip
Pins = Annotated[list[str] | None, typer.Option(
    "--pin", help="the rate of a layer, by name or pattern, such as 'layer1.*=0.3'; may be given "
    "several times", rich_help_panel=BUDGET, metavar="PATTERN=RATE",
)]  # fmt: skip
Whole = Annotated[str | None, typer.Option(
    "--skip", help="patterns of layers that stay whole", rich_help_panel=BUDGET,
    metavar="PATTERN,…",
)]  # fmt: skip
RatesFile = Annotated[Path | None, typer.Option(
    "--rates", help="rates that were saved, instead of a budget", rich_help_panel=BUDGET,
    metavar="FILE",
)]  # fmt: skip
DrawnRates = Annotated[Path | None, typer.Option(
    "--rates", help="rates that were saved, to draw as well", metavar="FILE",
)]  # fmt: skip
SavedRates = Annotated[Path | None, typer.Option(
    "-o", "--out", help="file to save the rates in, as JSON", metavar="FILE",
)]  # fmt: skip
CloseLoop = Annotated[bool, typer.Option(
    "--close-loop", help="where the rates lose too much, look on the study's own images for the "
    "largest cut that does not, and check that, until one is certified",
)]  # fmt: skip
AllHeld = Annotated[bool, typer.Option(
    "--full", help="measure all images kept back, though the verdict be certain before",
)]  # fmt: skip
Rivals = Annotated[bool, typer.Option(
    "--rivals/--no-rivals", help="measure one rate for all units, and a global ranking of filters, "
    "at the same MACs beside them",
)]  # fmt: skip
Shares = Annotated[str, typer.Option(
    help="of the MACs that may remain", metavar="X,…", show_default="0.9 to 0.3",
)]  # fmt: skip
Sets = Annotated[int, typer.Option(help="how many sets of rates", metavar="N", min=59)]
Rounds = Annotated[int, typer.Option(help="at most so many rounds", metavar="N", min=1)]
To = Annotated[str, typer.Option(
    "--to", help="torch-pruning, torch-prune, fasterai, nni, json, yaml, csv, markdown, masks, or "
    "a target of another package", metavar="TARGET", show_default=False,
)]  # fmt: skip
Exported = Annotated[Path | None, typer.Option(
    "-o", "--out", help="file to write", metavar="FILE", show_default="printed",
)]  # fmt: skip
PrunedFile = Annotated[Path, typer.Option(
    "-o", "--out", help="file for the pruned network, .safetensors or .pt2", metavar="FILE",
    show_default=False,
)]  # fmt: skip
Pairs = Annotated[int, typer.Option(help="how many pairs to measure well", metavar="N", min=1)]
OnImages = Annotated[int, typer.Option(
    "--images", help="on how many images", metavar="N", min=2,
)]  # fmt: skip


TimesOut = Annotated[Path, typer.Option(
    "-o", "--out", help="file for the table, as JSON", metavar="FILE", show_default=False,
)]  # fmt: skip
BatchTimed = Annotated[int, typer.Option("--batch", help="images at once", metavar="N", min=1)]

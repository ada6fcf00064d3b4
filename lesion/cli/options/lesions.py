"""Options that say which lesions are measured, and on which images."""

from functools import partial
from typing import Annotated

import typer

from lesion.cli.options.values import Rounding, Units

_lesions = partial(typer.Option, rich_help_panel="Which lesions")

NewDamage = Annotated[
    str,
    _lesions(
        "--damage",
        help="what is done to a layer, of several kinds one after the other: filters (removed); "
        "weights zero, sparsity, weight_threshold, n_m, groups; in few bits, quantise, codebook, "
        "product, binary, ternary, power_of_two, dorefa, hash; of low rank, low_rank, vbmf; "
        "disturbed, noise, shuffle, rerandomise; of what it reads few bits, activations, or the "
        "smallest zero, activation_threshold; outputs copied, perforation; blocks gone, "
        "delete_block, truncate, delete_blocks, or in other places, reorder; or one of another "
        "package. Options stand behind a name: quantise:per=tensor,clip=mse",
        metavar="DAMAGE,…",
    ),
]
Ratios = Annotated[
    str | None,
    _lesions(
        "--amounts",
        "--ratios",
        help="how much of the damage: shares of the filters to remove, bits, ratios",
        metavar="X,…",
        show_default="0.1 to 0.9, or the damage's own",
    ),
]
NewCriterion = Annotated[
    str,
    _lesions(
        help="which filters go first: l1, l2, fpgm, bn_scale; by what reads them too, group_norm, "
        "consumer_l1; by what they give on images of --train, apoz, chip, entropy, hrank, "
        "mean_activation, mean_l1, mean_l2, mean_mean, mean_std, var_l2; by how alike that is, "
        "dpp, noiseout; by what the next layers make of it, thinet, lasso; by the loss's "
        "gradients, taylor, taylor_fo, taylor_fg, gdp, fisher_block; by the loss there without "
        "it, oracle; to compare with, random, largest; or "
        "one of another package"
    ),
]
Several = Annotated[
    str | None,
    _lesions(
        "--criteria",
        help="which criteria, with commas between them",
        metavar="CRITERION,…",
        show_default="all that there are",
    ),
]
Shown = Annotated[
    str | None,
    _lesions(
        "--train",
        help="training images that criteria see and removals are measured on, as --data, such as "
        "torchvision:CIFAR10:data:train; none of them may be among --data",
        metavar="DATA",
        show_default=False,
    ),
]
Removed = Annotated[
    int | None,
    _lesions(
        "--images",
        help="on how many training images each filter is removed",
        metavar="N",
        min=1,
        show_default="512",
    ),
]
Layers = Annotated[
    str | None,
    _lesions(
        help="patterns of layer names with commas between them, such as 'layer3.*'",
        metavar="PATTERN,…",
        show_default="all",
    ),
]
WhichUnits = Annotated[
    Units, _lesions(help="what one layer makes alone (and the stem's part), or what is coupled too")
]
WhichRounding = Annotated[
    Rounding, _lesions(help="how many filters stay: rounded down, or to the nearest")
]
FirstImages = Annotated[
    int | None,
    _lesions(
        "--images",
        help="how many images to measure, the first of the study's random order",
        metavar="N",
        show_default="all",
    ),
]
Holdout = Annotated[
    float | None,
    _lesions(
        help="share of the images kept back for checking advice",
        metavar="SHARE",
        show_default="0.2, or the study's",
    ),
]
KnownSeed = Annotated[
    int | None,
    _lesions(
        "--seed",
        help="of the images' order, the images kept back, and --criterion random",
        metavar="N",
        min=0,
        show_default="0, or the study's",
    ),
]
Seed = Annotated[int, _lesions(help="of --criterion random", metavar="N", min=0)]
Part = Annotated[
    str,
    _lesions(
        help="submodule to look for layers in, such as backbone, where the network as a whole "
        "cannot be followed; the data are then the part's input",
        metavar="NAME",
        show_default="all",
    ),
]
Criterion = Annotated[
    str | None,
    typer.Option(
        help="which of the study's criteria, where it holds several",
        show_default="l1, or the first",
    ),
]
Damage = Annotated[
    str | None,
    typer.Option(
        help="which kind of damage, where the study holds several; within a budget one or more, "
        "such as filters,quantise",
        show_default="filters, or the first; within a budget all",
    ),
]

"""Remake the figures of the bundled networks: `python figures/remake.py`."""

from pathlib import Path
from typing import Annotated

import typer

import lesion
from lesion import zoo
from lesion.reports.plots.save import save_all, save_damages
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full
from lesion.sweeps.prepare import prepare

HERE = Path(__file__).parent
DAMAGES = {
    "filters": (0.125, 0.25, 0.375, 0.5, 0.625, 0.75),
    "quantise": (8, 6, 4, 3, 2),
    "quantise:clip=mse": (8, 6, 5, 4, 3, 2),
    "quantise:clip=mse,sparse=0.5": (6, 4, 3, 2),
    "quantise:clip=mse,sparse=0.75": (6, 4, 3),
    "codebook": (6, 4, 3, 2),
    "power_of_two": (6, 4, 3),
    "ternary": (2,),
    "binary": (1, 2, 3),
    "sparsity": (0.5, 0.75, 0.9),
    "sparsity:grain=kernel": (0.25, 0.5, 0.75),
    "n_m": (2, 1),
    "low_rank:form=spatial": (0.25, 0.5, 0.75),
}

FEWER = 500  # images for so many damages


def main(
    studies: Annotated[Path, typer.Option(help="where study files are kept or made")] = Path("."),
    limit: Annotated[int, typer.Option(help="images of the order to measure")] = 2000,
    damages: Annotated[bool, typer.Option("--damages", help="ResNet-56's damages alone")] = False,
) -> None:
    """Sweep ResNet-20 and ResNet-56 on Fashion-MNIST and draw every figure as PNG."""
    for name, folder in () if damages else (("resnet20", "demo"), ("resnet56", "resnet56")):
        subject = zoo.open_subject(f"demo:{name}", None, "demo:fashion-mnist")
        ready = prepare(subject, studies / f"{name}.lesion", goal=Full(), images=limit)
        for step in ready:
            print(f"\r{name}: {step.done} of {step.total}", end="", flush=True)
        advice = lesion.recommend(ready.study)
        curves = lesion.curves(ready.study)
        anatomy, norms = ready.study.anatomy, ready.study.norms
        for path in save_all(curves, HERE / folder, advice=advice, norms=norms, anatomy=anatomy):
            print(f"\n{path}", end="")
        print(f"\n{advice.text()}")
        ready.study.close()
    side_by_side(studies / "resnet56-damages.lesion", min(limit, FEWER))


def side_by_side(path: Path, limit: int) -> None:
    """Measure thirteen damages of ResNet-56 in one study and draw them by the bytes they save."""
    subject = zoo.open_subject("demo:resnet56", None, "demo:fashion-mnist")
    for damage, amounts in DAMAGES.items():
        choices = Choices(amounts, holdout=0.5, damage=damage)
        ready = prepare(subject, path, choices, Full(), images=limit)
        for step in ready:
            print(f"\r{damage}: {step.done} of {step.total}", end="", flush=True)
        ready.study.close()
    with lesion.Study.open(path) as study:
        for picture in save_damages(lesion.curves(study), HERE / "damages", study=study):
            print(f"\n{picture}", end="")


if __name__ == "__main__":
    typer.run(main)

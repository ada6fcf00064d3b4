"""Remake the figures of the bundled networks: `python figures/remake.py`."""

from pathlib import Path
from typing import Annotated

import typer

import lesion
from lesion import zoo
from lesion.reports.plots.save import save_all
from lesion.sweeps.goals import Full
from lesion.sweeps.prepare import prepare

HERE = Path(__file__).parent


def main(
    studies: Annotated[Path, typer.Option(help="where study files are kept or made")] = Path("."),
    limit: Annotated[int, typer.Option(help="images of the order to measure")] = 2000,
) -> None:
    """Sweep ResNet-20 and ResNet-56 on Fashion-MNIST and draw every figure as PNG."""
    for name, folder in (("resnet20", "demo"), ("resnet56", "resnet56")):
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


if __name__ == "__main__":
    typer.run(main)

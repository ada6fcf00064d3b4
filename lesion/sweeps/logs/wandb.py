"""A log for Weights & Biases: `pip install "lesion[wandb]"`; offline with `WANDB_MODE=offline`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesion.sweeps.logs import AMOUNT, ANSWERS, missing


class Log:
    """A run of a project; its charts of drops stand along amounts, the others along answers."""

    def __init__(self, place: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing("wandb") from error
        self.wandb: Any = wandb
        self.run = wandb.init(project=place, job_type="sweep")
        self.run.define_metric("sweep/*", step_metric=ANSWERS)
        for name in ("drop/*", "accuracy/*"):
            self.run.define_metric(name, step_metric=AMOUNT)

    def begin(self, about: Mapping[str, str | float]) -> None:
        """The run's configuration."""
        self.run.config.update(dict(about), allow_val_change=True)

    def numbers(self, numbers: Mapping[str, float], at: int, axis: str) -> None:
        """A point of each chart."""
        self.run.log({axis: at, **numbers})

    def table(self, name: str, rows: pd.DataFrame) -> None:
        """A table of the run."""
        plain = rows.astype(object).where(rows.notna(), None)
        table = self.wandb.Table(columns=[*map(str, rows.columns)], data=plain.to_numpy().tolist())
        self.run.log({name: table})

    def end(self, whole: bool) -> None:
        """The run is over, as failed where the sweep was broken off."""
        self.run.finish(exit_code=0 if whole else 1)

"""A log for MLflow: `pip install "lesion[mlflow]"`; where to is said by `MLFLOW_TRACKING_URI`."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesion.harmless import cell
from lesion.sweeps.logs import missing

LONGEST = 500  # letters of a parameter's value that every store takes


class Log:
    """A run of an experiment: parameters, metrics, and tables as CSV files."""

    def __init__(self, place: str) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise missing("mlflow") from error
        self.mlflow: Any = mlflow
        mlflow.set_experiment(place)
        self.run = mlflow.start_run(nested=mlflow.active_run() is not None)

    def begin(self, about: Mapping[str, str | float]) -> None:
        """The run's parameters."""
        self.mlflow.log_params({name: str(value)[:LONGEST] for name, value in about.items()})

    def numbers(self, numbers: Mapping[str, float], at: int, axis: str) -> None:
        """A metric each, whose names have letters that MLflow takes."""
        named = {re.sub(r"[^\w\-. :/]", "_", name): number for name, number in numbers.items()}
        self.mlflow.log_metrics(named, step=at)

    def table(self, name: str, rows: pd.DataFrame) -> None:
        """A file of the run."""
        self.mlflow.log_text(rows.map(cell).to_csv(index=False), f"{name}.csv")

    def end(self, whole: bool) -> None:
        """The run is over, as killed where the sweep was broken off."""
        self.mlflow.end_run("FINISHED" if whole else "KILLED")

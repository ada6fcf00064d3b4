"""A log for TensorBoard: `pip install "lesion[tensorboard]"`, `tensorboard --logdir FOLDER`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesion.boundary.files import check_folder
from lesion.harmless import markdown
from lesion.sweeps.logs import missing


class Log:
    """Scalars along answers given, drops along amounts, and tables as texts, in a run of its own
    in the folder."""

    def __init__(self, place: str) -> None:
        check_folder(place)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing("tensorboard") from error
        self.writer = SummaryWriter(place)

    def begin(self, about: Mapping[str, str | float]) -> None:
        """A text with a line for each."""
        lines = [f"**{name}** {markdown(str(value))}" for name, value in about.items()]
        self.writer.add_text("study", "  \n".join(lines))

    def numbers(self, numbers: Mapping[str, float], at: int, axis: str) -> None:
        """A scalar each."""
        for name, number in numbers.items():
            self.writer.add_scalar(name, number, at)
        self.writer.flush()

    def table(self, name: str, rows: pd.DataFrame) -> None:
        """A text: a table in Markdown."""
        cells = [[str(title) for title in rows.columns], ["-"] * rows.shape[1]]
        cells += [[markdown(_text(value)) for value in row] for row in rows.to_numpy(object)]
        self.writer.add_text(name, "\n".join(f"| {' | '.join(row)} |" for row in cells))

    def end(self, whole: bool) -> None:
        """Everything is on the disk."""
        self.writer.close()


def _text(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value)

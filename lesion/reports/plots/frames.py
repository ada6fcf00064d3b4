"""What a frame that is handed in must hold."""

from collections.abc import Sequence

import pandas as pd

from lesion.errors import LesionError


def check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises LesionError where one of the columns is not there."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise LesionError(
            f"Expected columns {', '.join(columns)}, got none named {', '.join(missing)}; add "
            f"{'it' if len(missing) == 1 else 'them'}."
        )

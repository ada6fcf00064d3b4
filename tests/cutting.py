"""How tests cut a network: the labels that fall, as an engine takes them."""

import numpy as np

from lesion.engine.base import Cut, Engine, Measurable


def cut(engine: Engine, name: Measurable, gone: np.ndarray, rows: np.ndarray | None = None) -> Cut:
    """The removal of labels of a lesion's or a set of units' channels, on some rows of a batch."""
    return Cut(engine.edit(name.at, gone), rows)

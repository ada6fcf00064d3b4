"""What cells that look by strata do next, and what they meet there."""

from dataclasses import dataclass

import numpy as np

from lesion.sequential.posterior import Beliefs
from lesion.sequential.question import Array


@dataclass(frozen=True, eq=False)
class Step:
    """The next images of cells, fixed before they are seen, and the bets on them.

    left, weight: (cells, groups); bet: (cells, 2); guess: (cells, 2, groups) in the side's own
    sign; group, positions: (cells, images); time: (cells,) how long the draw takes
    """

    cells: Array
    left: Array
    weight: Array
    bet: Array
    guess: Array
    beliefs: Beliefs
    group: Array
    positions: Array
    count: Array
    time: Array

    def of(self, cells: Array) -> "Step | None":
        """The step of some of its cells, in their order; None where others are among them."""
        rows = np.flatnonzero(np.isin(self.cells, cells))
        if not np.array_equal(self.cells[rows], cells):
            return None
        most = int(self.count[rows].max(initial=0))
        return Step(
            cells,
            self.left[rows],
            self.weight[rows],
            self.bet[rows],
            self.guess[rows],
            Beliefs(*(part[rows] for part in self.beliefs)),
            self.group[rows, :most],
            self.positions[rows, :most],
            self.count[rows],
            self.time[rows],
        )


@dataclass(frozen=True, eq=False)
class Met:
    """The images of a step as they came: (cells, images).

    weight: of all unseen before each image, an image of the set; scale: that over the image's own;
    before: ΣD of the step before each image, an image of the set
    """

    drops: Array
    real: Array
    weight: Array
    scale: Array
    before: Array

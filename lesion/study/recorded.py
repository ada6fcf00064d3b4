"""Scores of lesions as a study holds them, read once for all questions about them."""

from collections.abc import Iterable, Sequence

import numpy as np

from lesion.lesions.lesion import Lesion
from lesion.sequential import Verdict
from lesion.study.aim import Aim
from lesion.study.study import Study


class Recorded:
    """What a study holds of lesions' scores, read once however many questions are asked of it.

    images: how many, the first of the order, count
    verdicts: what followed from them under some aims
    """

    def __init__(self, study: Study, column: str, lesions: Sequence[Lesion], images: int) -> None:
        self.study, self.column, self.lesions = study, column, tuple(lesions)
        self.place = {lesion: place for place, lesion in enumerate(self.lesions)}
        self.verdicts: dict[Aim, list[Verdict]] = {}
        self._scores = np.empty((len(self.lesions), images))  # rows take memory when they are read
        self._stale = set(self.lesions)

    @property
    def table(self) -> np.ndarray:
        """(lesions, images) all scores, NaN where there is none."""
        for lesion in tuple(self._stale):
            self._read(lesion)
        return self._scores

    @property
    def counts(self) -> np.ndarray:
        """(lesions,) how many images each has scores of."""
        return np.array([np.count_nonzero(~np.isnan(row)) for row in self.table], int)

    def __getitem__(self, lesion: Lesion) -> np.ndarray:
        """(images,) the scores of a lesion."""
        if lesion in self._stale:
            self._read(lesion)
        return np.asarray(self._scores[self.place[lesion]])

    def _read(self, lesion: Lesion) -> None:
        outcomes, row = self.study.outcomes(lesion), self._scores[self.place[lesion]]
        row.fill(np.nan)
        inside = outcomes.images < len(row)
        row[outcomes.images[inside]] = outcomes[self.column][inside]
        self._stale.discard(lesion)

    def refresh(self, lesions: Iterable[Lesion]) -> None:
        """Read some lesions again at their next use, for more may be recorded by now."""
        self._stale.update(lesions)
        self.verdicts.clear()

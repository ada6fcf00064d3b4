"""What to measure next: pure functions of what is known of each lesion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lesion.lesions.lesion import Lesion

CHUNK = 128  # images read at once
TOGETHER = 256  # where each lesion looks at few of them
PILOT = 100  # images before a forecast of a lesion is believed


@dataclass(frozen=True, eq=False)
class Work:
    """Images to read at once, and on which of them each lesion is measured.

    images, lesions: positions in the study's order, rising
    """

    images: np.ndarray
    lesions: Mapping[Lesion, np.ndarray]

    @property
    def passes(self) -> int:
        """How many answers it gives: of its lesions, or of the intact network alone."""
        return sum(map(len, self.lesions.values())) or len(self.images)


def in_order(missing: Mapping[Lesion, np.ndarray], images: int, known: int) -> Iterator[Work]:
    """The work that brings every lesion to all of the first `images`, from the first on.

    missing: for each lesion the images it has no outcomes of, as booleans over the order; known:
    how many of the first images the intact network has seen
    """
    for start in range(0, images, CHUNK):
        now = np.arange(start, min(start + CHUNK, images))
        wanted = {lesion: now[left[now]] for lesion, left in missing.items() if left[now].any()}
        if now[-1] >= known:
            yield Work(now, wanted)
        elif wanted:
            yield Work(np.unique(np.concatenate(list(wanted.values()))), wanted)


def gathered(wanted: Mapping[Lesion, np.ndarray]) -> Iterator[Work]:
    """The work that measures each lesion on images of its own, those that most want together."""
    images, wishes = np.unique(np.concatenate([*wanted.values()]), return_counts=True)
    by_wish = images[np.argsort(-wishes, kind="stable")]
    for start in range(0, len(by_wish), TOGETHER):
        now = np.sort(by_wish[start : start + TOGETHER])
        parts = {
            lesion: np.sort(positions[np.isin(positions, now)])
            for lesion, positions in wanted.items()
        }
        yield Work(now, {lesion: part for lesion, part in parts.items() if len(part)})


@dataclass(frozen=True, eq=False)
class Standing:
    """How far the lesions of one target have come, the least harm first.

    verdict: "safe", "sensitive" or "undecided"; seen: images looked at; safe: the forecast that
    it is safe, a probability; left: images that a verdict is expected to take, 0 where none is
    left; gain: what it saves, such as MACs
    """

    verdict: Sequence[str]
    seen: Sequence[int]
    safe: Sequence[float]
    left: Sequence[float]
    gain: Sequence[float]

    def next(self) -> list[int]:
        """The lesions to go on with, none when the boundary is certified on both sides.

        The most harm is tried first; between the most that looks safe and the least above it that
        does not, amounts are bisected by a few images each; then those two are certified.
        Less harm than a safe one does and more than a sensitive one is not needed; a safe one
        that does more than a sensitive one counts for nothing.
        """
        known = list(self.verdict)
        high = known.index("sensitive") if "sensitive" in known else len(known)
        low = max((place for place in range(high) if known[place] == "safe"), default=-1)
        for place in range(low + 1, high):
            if self._tried(place):
                if not self._likely(place):
                    high = place
                    break
                low = place
        if high == len(self.verdict) and low < high - 1:
            return [high - 1]
        if high - low > 1:
            return [(low + high) // 2]
        return [place for place in (low, high) if self._open(place)]

    def _open(self, place: int) -> bool:
        known = 0 <= place < len(self.verdict)
        return known and self.verdict[place] == "undecided" and self.left[place] > 0

    def _tried(self, place: int) -> bool:
        return not self._open(place) or self.seen[place] >= PILOT

    def _likely(self, place: int) -> bool:
        if self.verdict[place] == "undecided":
            return self.safe[place] >= 0.5
        return self.verdict[place] == "safe"

    def worth(self, place: int) -> float:
        """What a lesion's verdict is expected to save for every image it takes."""
        pairs = zip(self.gain, self.verdict, strict=True)
        best = max((gain for gain, verdict in pairs if verdict == "safe"), default=0.0)
        return self.safe[place] * max(self.gain[place] - best, 0.0) / max(self.left[place], 1.0)


def chosen(standings: Sequence[Standing], share: float = 0.25) -> list[tuple[int, int]]:
    """(target, lesion) pairs for the next round: those whose worth is near the best, half at least.

    What would cost much and save little waits, and so does certifying what is sensitive.
    """
    pairs = [(target, place) for target, each in enumerate(standings) for place in each.next()]
    worth = [standings[target].worth(place) for target, place in pairs]
    middle = sorted(worth)[len(worth) // 2] if worth else 0.0
    least = min(share * max(worth, default=0.0), middle)
    return [pair for pair, value in zip(pairs, worth, strict=True) if value >= least]

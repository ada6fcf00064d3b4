"""The file that holds what was measured, and of what: one SQLite file that can be copied."""

import shutil
import weakref
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from lesion.boundary.public import public
from lesion.errors import StudyError
from lesion.harmless import name
from lesion.lesions.lesion import Lesion
from lesion.methods import Bound
from lesion.network.anatomy import Anatomy
from lesion.study import database
from lesion.study.catalogue import Catalogue
from lesion.study.database import Store
from lesion.study.header import Header, conflicts, differences
from lesion.study.ledger import Ledger
from lesion.study.notes import Notes
from lesion.study.snapshot import copied
from lesion.subject.outcomes import Intact, Outcomes
from lesion.words import grouped

UNREADABLE = (  # what whatever content may raise
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    zlib.error,
)


class Study(Catalogue, Notes):
    """Lesions, their outcomes on images of a fixed order, and the scores behind them.

    `record` writes in one transaction, so that a process that dies loses what it had not recorded
    and nothing else. Writing is idempotent: what is there already may be written again, and
    what contradicts it is refused with a StudyError. Every method raises StudyError where the file
    is locked, damaged, read-only or the disk full. A notebook shows what each layer stands.
    """

    curves = Bound("curves")
    recommend = Bound("recommend")
    plot = Bound("plot")
    report = Bound("report")
    _repr_html_ = Bound("study_html", "lesion.reports.notebook")

    def __init__(self, store: Store, header: Header) -> None:
        super().__init__(store)
        self.header = header
        self._removal: Callable[[], object] | None = None
        self._ledger = Ledger(store, header.columns, len(header.order))

    @classmethod
    @public
    def create(cls, path: str | Path, header: Header, timeout: float = 30) -> "Study":
        """A new study in a new file, open. Raises StudyError where the file exists."""
        database.create(Path(path), header.to_bytes())
        return cls.open(path, timeout)

    @classmethod
    @public
    def open(cls, path: str | Path, timeout: float = 30) -> "Study":
        """The study in a file; `timeout` is how many seconds another process's lock is awaited.

        Raises StudyError when the file is missing, no study, damaged, or of a newer format.
        """
        return cls._of(database.connect(Path(path), timeout))

    @classmethod
    @public
    def snapshot(cls, path: str | Path, timeout: float = 30) -> "Study":
        """What a file holds at this moment, in memory: read once, in milliseconds, so that a sweep
        that writes it goes on; what is written to the study is lost.  Errors are those of `open`.
        """
        return cls._of(copied(Path(path), timeout))

    @classmethod
    def _of(cls, store: Store) -> "Study":
        try:
            ((content,),) = store.rows("SELECT content FROM header")
            header = Header.from_bytes(content)
            study = cls(store, header)
            study._check_lesions()
        except UNREADABLE as error:
            store.close()
            raise database.damaged(store.path, "its header cannot be read") from error
        except BaseException:
            store.close()
            raise
        return study

    def _check_lesions(self) -> None:
        """Raises StudyError where a lesion is not what its key says, or cuts what is not there."""
        keyed = list(self.keyed())  # before the damages: another process may add to both
        damages = self.damages
        for key, lesion in keyed:
            possible = 0 <= lesion.pruned <= lesion.channels and lesion.damage in damages
            if key != lesion.key or not possible:
                raise database.damaged(self.path, f"its lesion {key} cannot be")
        _ = self.savings  # refused where one is none

    def vanish(self, folder: Path) -> None:
        """Remove a folder that is there for the study's file alone, once the study is closed or
        collected, at the latest when the process ends."""
        self._removal = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    @property
    def temporary(self) -> bool:
        """Whether its file is removed with it."""
        return self._removal is not None

    def close(self) -> None:
        """Let go of the file; one that is temporary is removed."""
        super().close()
        if self._removal is not None:
            self._removal()

    def __repr__(self) -> str:
        place = "a temporary file" if self.temporary else name(str(self.path))
        try:
            lesions, images = grouped(self.count), grouped(self.images)
        except StudyError:  # closed, or no longer to be read
            return f"<Study in {place}>"
        of = f"{images} of {grouped(len(self.header.order))} images"
        network = name(str(self.header.settings.get("name", "network")))
        return f"<Study in {place}: {network}, {lesions} lesions, {of}>"

    def __enter__(self) -> "Study":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def anatomy(self) -> Anatomy:
        """The layers and units of the network that was measured."""
        return self.header.anatomy

    def check(
        self, subject: Mapping[str, str], environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """Warnings, one for each entry of the environment that differs from the study's.

        Raises StudyError, naming what differs with both values, where the subject is another.
        """
        self._refuse(differences(self.header.subject, subject))
        return self._elsewhere(environment or self.header.environment)

    def check_same(self, header: Header) -> list[str]:
        """The same of another header: its anatomy, order, columns and settings count as well."""
        self._refuse(conflicts(self.header, header))
        return self._elsewhere(header.environment)

    def _refuse(self, phrases: list[str]) -> None:
        if phrases:
            raise StudyError(
                f"Expected the subject of {self.path}, but another came: {'; '.join(phrases)}; "
                "give the study's network, weights, images and settings, or name a new study file."
            )

    def _elsewhere(self, environment: Mapping[str, str]) -> list[str]:
        return [
            f"measured in another environment: {text}"
            for text in differences(self.header.environment, environment)
        ]

    @property
    def norms(self) -> dict[str, np.ndarray]:
        """The l1 norm of each filter of each layer that has them, in order of execution."""
        layers = [layer.name for layer in self.anatomy.layers]
        held = {name: self.scores(name, "norms", "l1") for name in layers}
        return {name: norms for name, norms in held.items() if norms is not None}

    def record(self, measured: Mapping[Lesion, Outcomes], intact: Intact | None = None) -> None:
        """Write outcomes of lesions, and rows of the intact network's; all or nothing.

        Raises StudyError where images differ from an earlier read, where an outcome contradicts a
        recorded one, where the intact network's rows leave a gap, and where it has none of a
        lesion's images.
        """
        try:
            with self._store.transaction():
                if intact is not None and len(intact):
                    self._ledger.add_intact(intact)
                for lesion, outcomes in measured.items():
                    self._ledger.add(self._id(lesion), lesion.key, outcomes)
        except BaseException:
            self._ledger.forget()
            raise

    @property
    def images(self) -> int:
        """How many images, from the first of the order on, the intact network has seen."""
        return self._ledger.images()

    @property
    def answers(self) -> int:
        """How many outcomes all lesions have, together."""
        return self._ledger.answers()

    def intact(self, images: int | None = None) -> Intact:
        """What the intact network made of the first `images` of the order, or of all seen."""
        return self._ledger.intact(images)

    def outcomes(self, lesion: Lesion) -> Outcomes:
        """A lesion's outcomes on all images that it is recorded on."""
        return self._ledger.outcomes(self._id(lesion))

    def seen(self, lesion: Lesion) -> np.ndarray:
        """Which positions of the order a lesion has outcomes of, as booleans."""
        return self._ledger.seen(self._id(lesion)).copy()

"""Nothing is read from a study file but what was written: flipped bits, edits, lies."""

import sqlite3
import zlib
from contextlib import closing

import numpy as np
import planted
import pytest

from lesion.compression.footprint import Footprint, Saving
from lesion.errors import StudyError
from lesion.lesions.amounts import FILTERS, Amounts
from lesion.lesions.lesion import Skipped
from lesion.study import database, seals
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.subject.set_score import Resampled

IMAGES = 60
BASE = planted.intact(IMAGES)
FLIPS = 400
DAMAGE = r"is damaged \(.+\): restore a copy|is something else|of format"
TABLES = ("header", "lesions", "recoveries", "skipped", "scores", "aims", "intact", "outcomes",
          "checks", "calibration", "evaluations", "resampled", "plans", "damages",
          "criteria", "savings")  # fmt: skip
SAVING = Saving(Footprint(8, 256, 8, 8, 8192), Footprint(4, 128, 4, 4, 4096))
BITS = Amounts(
    (8, 6, 4, 2), "bit width", "bits of weights", "bits", rising=False, high=33, whole=True
)


@pytest.fixture
def path(tmp_path):
    """A study in which every table has rows."""
    with Study.create(tmp_path / "a.lesion", planted.header(images=IMAGES)) as study:
        lesions = planted.lesions(study.anatomy, (0.5,))[0][:4]
        study.add(lesions, [Skipped("fc", "tied", "it is read by nothing")])
        study.set_recovery("bn", "100 images")
        study.set_damage("quantise", BITS)
        study.set_criterion("taylor", "1024 images")
        study.set_savings({lesions[0]: SAVING})
        study.set_scores("conv1", "branch", "l1", 0, np.arange(4.0))
        study.aim(Aim())
        study.add_plan("l1", "a plan")
        study.add_check('{"number": 1}')
        study.set_calibration("{}")
        study.set_evaluation(0.5, lesions[3], Resampled(60, np.linspace(0.4, 0.6, 50)))
        study.fail(lesions[3], "it is not finite")
        for start, stop in ((0, 40), (40, IMAGES)):
            rows = slice(start, stop)
            measured = {lesion: planted.lesioned(BASE, 20, 2, seed).take(rows)
                        for seed, lesion in enumerate(lesions[:3])}  # fmt: skip
            study.record(measured, BASE.take(rows))
    return tmp_path / "a.lesion"


def everything(path):
    """All that a study tells, in a form that can be compared."""
    with Study.open(path) as study:
        outcomes = [study.outcomes(lesion) for lesion in study.lesions]
        intact = study.intact()
        arrays = [intact.label, intact.prediction, intact.margin, intact.digest]
        for part in (intact.outcomes, *outcomes):
            arrays += [part.images, *(part[name] for name in study.header.columns)]
        scores = {key: values.tolist() for key, values in study.all_scores().items()}
        return (
            study.header, study.lesions, study.skipped, study.failed, study.aims, study.plans,
            study.checks, study.calibration, study.recoveries, study.evaluations, scores,
            [values.tobytes() for values in arrays], study.damages, study.criteria,
            {lesion: (each.images, *each.values) for lesion, each in study.resampled.items()},
            study.savings,
        )  # fmt: skip


def test_every_table_has_rows_here(path):
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")}  # fmt: skip
        assert names == {*TABLES, "seals"}
        for name in names:
            assert connection.execute(f"SELECT count(*) FROM {name}").fetchone() > (0,)


def test_a_flipped_bit_is_told_or_changes_nothing(path, tmp_path):
    content, expected = path.read_bytes(), everything(path)
    rng, refused = np.random.default_rng(1), 0
    used = [at for at in range(len(content)) if content[at]]  # most of the others are unused
    for at in rng.choice(used, FLIPS, replace=False):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "flipped").write_bytes(flipped)
        try:
            assert everything(tmp_path / "flipped") == expected
        except StudyError as error:
            refused += 1
            assert "Traceback" not in str(error)
    assert refused > FLIPS // 2


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("change", ["DELETE FROM {0}", "INSERT INTO {0} SELECT * FROM {0}",
                                    "UPDATE {0} SET {1} = {2}"])  # fmt: skip
def test_a_table_that_was_changed_by_hand_is_told(path, name, change):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        columns = [row[1:3] for row in connection.execute(f"PRAGMA table_info({name})")]
        column, kind = columns[-1]
        other = {"TEXT": "'other'", "BLOB": "x'00'", "REAL": "0.75", "INTEGER": "7"}[kind]
        try:
            connection.execute(change.format(name, column, other))
        except sqlite3.IntegrityError:
            return  # SQLite itself has refused a row twice
    with pytest.raises(StudyError, match=f"its table {name} does not hold what was written"):
        Study.open(path)


@pytest.mark.parametrize("statement", [
    "CREATE TRIGGER t AFTER INSERT ON aims BEGIN DELETE FROM outcomes; END",
    "CREATE VIEW v AS SELECT 1",
    "CREATE TABLE more (content TEXT)",
    "CREATE INDEX i ON outcomes (images)",
    "DROP TABLE calibration",
    "DROP TABLE seals",
    "ALTER TABLE checks ADD COLUMN more TEXT GENERATED ALWAYS AS (lower(content))",
    "DROP TABLE aims; CREATE VIEW aims AS SELECT 5.0, 95.0, 'top1', 'study', 0.0",
])  # fmt: skip
def test_tables_of_another_form_are_refused(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statement)
    with pytest.raises(StudyError, match=r"is damaged \(\w+ in it is not as lesion makes it\)"):
        Study.open(path)


LIES = {
    "more images than there are": "UPDATE outcomes SET images = 1000000000000",
    "fewer images": "UPDATE outcomes SET images = 3",
    "images below zero": "UPDATE outcomes SET images = -1",
    "a text for a number": "UPDATE outcomes SET images = 'many'",
    "no outcomes": "UPDATE outcomes SET content = x''",
    "positions that are no archive": "UPDATE outcomes SET positions = x'00'",
    "images twice": "INSERT INTO outcomes SELECT * FROM outcomes",
    "the intact network's images twice": "INSERT INTO intact SELECT * FROM intact",
    "fewer labels": "UPDATE intact SET label = x'00000000'",
    "a lesion of more than there is": "UPDATE lesions SET pruned = 1000",
    "a lesion by another's name": "UPDATE lesions SET amount = 0.25",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_under_good_seals_gets_a_sentence(path, lie):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(LIES[lie])
        connection.execute("DELETE FROM seals")
        seals.renew(connection, TABLES)
    with pytest.raises(StudyError, match=DAMAGE):
        everything(path)


@pytest.mark.parametrize("content", ["", "[]", "[[1, 2, 3, 4, 5], [1, 2, 3, 4, -5]]", "[[1], [1]]",
                                     "[[1, 2, 3, 4, 5.5], [1, 2, 3, 4, 5]]"])  # fmt: skip
def test_savings_that_are_none_are_told(path, content):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE savings SET content = ?", (content,))
        connection.execute("DELETE FROM seals")
        seals.renew(connection, TABLES)
    with pytest.raises(StudyError, match=DAMAGE):
        everything(path)


def test_positions_beyond_the_order_and_archives_that_swell_are_told(path):
    for content in (np.full(40, 2**31, "<u4").tobytes(), bytes(2**26)):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            packed = zlib.compress(content)
            connection.execute("UPDATE outcomes SET positions = ? WHERE images = 40", (packed,))
            connection.execute("DELETE FROM seals")
            seals.renew(connection, TABLES)
        with pytest.raises(StudyError, match=DAMAGE):
            everything(path)


def as_before(path, version):
    """Makes a study file one of an earlier format."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in database.LATER[version]:
            connection.execute(f"DROP TABLE {name}")
            if version > 3:
                connection.execute("DELETE FROM seals WHERE name = ?", (name,))
        connection.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("version", [3, 4, 5, 6])
def test_a_study_of_before_is_read_as_it_is_and_renewed_by_the_first_write(path, version):
    whole = everything(path)
    as_before(path, version)
    content = path.read_bytes()
    before = everything(path)
    assert before[:5] == whole[:5] and before[6:-4] == whole[6:-4]
    assert before[5] == (() if version == 3 else whole[5]) and path.read_bytes() == content
    resampled = whole[-2] if version == 6 else {}
    notes = ({"filters": FILTERS}, {}) if version < 5 else whole[-4:-2]
    assert before[-4:] == (*notes, resampled, {})
    with Study.open(path) as study:
        study.add_plan("l1", "a plan")
        study.set_damage("quantise", BITS)
        study.set_criterion("taylor", "1024 images")
    assert everything(path) == (*whole[:-2], resampled, {})
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (database.VERSION,)
        connection.execute("UPDATE outcomes SET images = 3")
    with pytest.raises(StudyError, match="its table outcomes does not hold what was written"):
        Study.open(path)


def test_a_write_that_comes_to_nothing_leaves_the_seals_as_they_were(path):
    before = path.read_bytes()
    with Study.open(path) as study:
        study.add(study.lesions, study.skipped)
        with pytest.raises(StudyError):
            study.set_scores("conv1", "branch", "l1", 0, np.ones(4))
    assert everything(path) and path.read_bytes()[100:] == before[100:]

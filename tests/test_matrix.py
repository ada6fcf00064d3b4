"""The page of Pythons and torches is read as it was written, and says what each pair gave."""

import matrix
import pytest
from matrix import Tried

ROWS = [
    Tried(
        "3.10.13", "2.6.0+cpu", "0.21.0", "2.2.6", "2.3.3", "400 passed, 3 skipped", "2026-01-02"
    ),
    Tried("3.10", "2.8.0", "", "", "", "cannot be installed", "2026-01-02"),
    Tried(
        "3.12.1", "2.8.0", "0.23.0", "2.4.0", "3.0.0", "1 failed, 9 passed; `a.py::b`", "2026-01-03"
    ),
]


def test_the_page_is_read_as_it_was_written(monkeypatch, tmp_path):
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "versions.md")
    assert matrix.read() == []
    matrix.PAGE.write_text(matrix.text(ROWS))
    assert matrix.read() == ROWS
    grid = [line.strip("| ").split(" | ") for line in matrix.text(ROWS).splitlines()]
    cells = {row[0]: row[1:4] for row in grid if row[0].startswith("2.")}
    assert cells == {
        "2.6": ["passes", "not tried", "not tried"],
        "2.7": ["not tried", "not tried", "not tried"],
        "2.8": ["cannot be installed", "not tried", "**fails**"],
    }


@pytest.mark.parametrize(
    "printed, result",
    [
        ("....\n======= 4 passed, 1 skipped, 2 warnings in 8.31s =======", "4 passed, 1 skipped"),
        ("4 passed in 83.1s (0:01:23)", "4 passed"),
        (
            "FAILED tests/zoo/test_a.py::test_b[c] - assert 1 == 2\n1 failed, 3 passed in 8.31s",
            "1 failed, 3 passed; `test_a.py::test_b[c]`",
        ),
        ("ERROR tests/network/test_d.py - ImportError\n1 error in 2.00s", "1 error; `test_d.py`"),
    ],
)
def test_results_are_what_was_counted_and_what_failed(printed, result):
    assert matrix._result(printed) == result

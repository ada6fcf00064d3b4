"""No test fails for being slow: a machine that has much else to do is no fault of the code."""

import re
from pathlib import Path

from hypothesis import settings

HERE = Path(__file__).parent
LIMITS = re.compile(
    r"\b(?:timeout|deadline)=(?!None\b)(?!0\.01\b)"  # 0.01: of a lock that is held
    r"|assert\b.*\b(?:monotonic|perf_counter)\("
)


def test_no_test_has_a_time_limit_of_its_own():
    assert settings.default.deadline is None
    limited = [
        f"{path.name}: {line.strip()}"
        for path in sorted(HERE.rglob("*.py")) if path != Path(__file__)
        for line in path.read_text().splitlines()
        if LIMITS.search(line) and "startup_timeout=HOUR" not in line
    ]  # fmt: skip
    assert not limited

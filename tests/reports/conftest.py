"""What holds for every picture."""

import matplotlib
import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def untouched():
    """No drawing function changes matplotlib's settings; what a test drew is closed."""
    before = matplotlib.rcParams.copy()
    yield
    plt.close("all")
    assert matplotlib.rcParams == before

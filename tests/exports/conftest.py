"""One network, and rates for it, that the tests of pruned networks share."""

import allocations
import pytest
import removal


@pytest.fixture(scope="module")
def case():
    return removal.small("flattened")


@pytest.fixture(scope="module")
def rates(case):
    return allocations.by_channels(case.dissection.anatomy, {"a": [1, 4], "f": [0, 2, 9]})

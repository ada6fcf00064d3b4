"""What older torches cannot do: tests of it fail there, and pass from then on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch


def since(version: str, why: str) -> Callable[..., Any]:
    """Marks what works from this torch on, and says why it does not before."""
    return pytest.mark.xfail(torch.__version__ < version, reason=why, strict=True)

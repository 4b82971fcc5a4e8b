"""Parameters of which only some belong to the quick selection, `make check`."""

from collections.abc import Iterable
from typing import Any

import pytest


def only(quick: Iterable[Any], values: Iterable[Any]) -> list[Any]:
    """The values as parameters of a test; those that are not quick are marked slow."""
    quick = list(quick)
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]

"""Grids of cases, which are too many to run every time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def thinned(cases: Iterable[tuple[Any, ...]], every: int) -> list[Any]:
    """Parameters for all cases: one in `every` runs by default, the others are marked slow.

    If this number has no common factor with the lengths of the grid's axes, the cases that run by
    default contain every value of every axis.
    """
    return [
        pytest.param(*case, marks=() if number % every == 0 else pytest.mark.slow)
        for number, case in enumerate(cases)
    ]

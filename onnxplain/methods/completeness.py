"""Completeness: the values of a method should add up to the change of the score."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxplain.tensors import Array

LARGE = 0.05
"""A gap worth a warning, in units of the change."""


def gap(values: Array, change: float) -> float:
    """Σ values − change: what the values say too much, of the change S(x) − S(x')."""
    return float(values.sum(dtype=np.float64) - change)


def completeness(
    values: Array, change: float, remedy: str, allowed: float = LARGE
) -> dict[str, Any]:
    """Diagnostics of one target: the gap, and a warning with the remedy where it is too large."""
    missed = gap(values, change)
    found: dict[str, Any] = {"completeness_gap": missed}
    if abs(missed) > allowed * abs(change):
        found["warnings"] = [
            f"The values add up to {change + missed:.4g}, and the score changes by {change:.4g}: "
            f"{remedy}."
        ]
    return found

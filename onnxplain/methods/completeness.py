"""Completeness: the values of a method should add up to the change of the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxplain.execution.sampling import Original
from onnxplain.execution.wants import InputGradient, SampleWeights
from onnxplain.formulas.namespace import Namespace, over_samples
from onnxplain.methods.base import SampledMethod, Sums
from onnxplain.methods.gradient import InputGradientMethod
from onnxplain.tensors import Array

LARGE = 0.05
"""A gap above this share of the change causes a warning."""


def gap(values: Array, change: float) -> float:
    """Σ values − change, where change is S(x) − S(x'); 0 if the values are complete."""
    return float(values.sum(dtype=np.float64) - change)


def completeness(
    values: Array, change: float, remedy: str, allowed: float = LARGE
) -> dict[str, Any]:
    """Diagnostics of one target: the gap, and a warning with the remedy if it is too large.

    `allowed` is the largest gap without a warning, as a share of the change.
    """
    missed = gap(values, change)
    found: dict[str, Any] = {"completeness_gap": missed}
    if abs(missed) > allowed * abs(change):
        found["warnings"] = [
            f"The values add up to {change + missed:.4g}, and the score changes by {change:.4g}: "
            f"{remedy}."
        ]
    return found


@dataclass(frozen=True, kw_only=True)
class CompleteMethod(SampledMethod, InputGradientMethod):
    """Σ_i w_i ⊙ g_i, with gradients g_i and weights w_i such that the values add up."""

    wants = (InputGradient(), SampleWeights())

    def terms(self, xp: Namespace, original: Original, g: Any, weights: Any) -> Sums:
        """See `SampledMethod`."""
        return {"values": over_samples(xp, weights * g)}

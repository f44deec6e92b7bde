"""Statistics of the values of a metric over several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from onnxplain.tensors import Array

_RESAMPLES = 2000
LEVEL = 0.95
"""Of intervals; what is not told apart at 1 − LEVEL counts as the same."""


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95% percentile interval of the mean, from resampled inputs (Efron 1979).

    With one value it is that value.
    """
    given = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(0, given.size, (_RESAMPLES, given.size))
    low, high = np.quantile(given[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def sign_test(differences: Array) -> float:
    """The two-sided p-value of the exact sign test, of paired differences; zeros do not count.

    It says how likely it is that at least so many of them have one sign, if both signs are as
    likely. With n inputs it is at least 2 / 2ⁿ.
    """
    positive, negative = int((differences > 0).sum()), int((differences < 0).sum())
    count, fewer = positive + negative, min(positive, negative)
    tail = sum(comb(count, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**count))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that any wrong one stays as unlikely (Holm 1979)."""
    given = np.asarray(p, np.float64)
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    corrected = np.empty(len(given))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(one) for one in corrected]

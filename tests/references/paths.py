"""Integrated gradients along paths: one point and one feature at a time, in float64.

Everywhere: `gradient` maps a float64 array of the shape of `x` to the gradient of the score there.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Gradient = Callable[[Float64], Float64]


# --- Sundararajan et al. 2017, equations 1 and 3 ------------------------------------------------


def along(points: Sequence[Float64], gradient: Gradient) -> Float64:
    """sum_k g(midpoint of p_k and p_k+1) * (p_k+1 - p_k): any path with small enough steps."""
    total = np.zeros_like(points[0])
    for before, after in pairwise(points):
        total += gradient((before + after) / 2) * (after - before)
    return total


def straight(x: Float64, baseline: Float64, pieces: int) -> list[Float64]:
    """Points of the line from the baseline to x."""
    return [baseline + k / pieces * (x - baseline) for k in range(pieces + 1)]


# --- Kapishnikov et al. 2021, algorithm 1 -------------------------------------------------------


def guided_ig(
    x: Float64,
    baseline: Float64,
    gradient: Gradient,
    steps: int,
    fraction: float,
    max_distance: float,
) -> Float64:
    """The path moves the features of the smallest absolute gradient first, within its corridor.

    Features are handled one by one, as in the paper. "Smallest" refers to all features: `fraction`
    of them are candidates, and features with equal gradients are candidates together.
    """
    count = x.size
    start, end = baseline.ravel(), x.ravel()
    point, values = start.copy(), np.zeros(count)
    whole = np.abs(end - start).sum()
    for step in range(1, steps + 1):
        slope = gradient(point.reshape(x.shape)).ravel()
        old = point.copy()
        least = max(step / steps - max_distance, 0.0)
        most = min(step / steps + max_distance, 1.0)
        lower, upper = start + least * (end - start), start + most * (end - start)
        for i in range(count):
            if abs(point[i] - start[i]) < abs(lower[i] - start[i]):
                point[i] = lower[i]
        goal = whole * (1 - step / steps)
        done: set[int] = {i for i in range(count) if _near(point[i], upper[i])}
        while np.abs(end - point).sum() - goal > 1e-12 * whole:
            ranked = sorted(abs(slope[i]) for i in range(count) if i not in done)
            ranked += [np.inf] * len(done)
            limit = ranked[int(np.floor(fraction * (count - 1)))]
            chosen = [i for i in range(count) if i not in done and abs(slope[i]) <= limit]
            excess = np.abs(end - point).sum() - goal
            room = sum(abs(upper[i] - point[i]) for i in chosen)
            for i in chosen:
                if excess >= room:
                    point[i] = upper[i]
                    done.add(i)
                else:
                    point[i] += excess / room * (upper[i] - point[i])
        values += slope * (point - old)
    return values.reshape(x.shape)


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-12 * max(abs(a), abs(b), 1.0)

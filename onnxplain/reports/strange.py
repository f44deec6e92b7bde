"""Inputs whose maps are unlike the other maps of their class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxplain.reports.extras import needed
from onnxplain.tensors import Array

_NEIGHBORS = 5
_LEAST_SPREAD = 0.02
"""Least spread of distances that is counted as one unit, so that equal maps do not make every
small difference a large one."""


@dataclass(frozen=True)
class Strange:
    """A map, its mean distance from its nearest maps of the class, and how unusual this is.

    `distance` is Hellinger's, 0 for equal maps to 1 for maps without a common cell. `unusual` is
    its distance from the class's median, in units of the class's spread (1.4826 times the median
    absolute deviation).
    """

    index: int
    distance: float
    unusual: float


def strangest(vectors: Array, classes: Mapping[str, Array], count: int) -> list[Strange]:
    """The most unusual maps of all classes, at most `count`.

    Classes with ten maps or fewer are left out. `vectors` are the features of all maps, and
    `classes` has the indices of each class's maps.
    """
    found = list[Strange]()
    for indices in classes.values():
        if len(indices) <= 2 * _NEIGHBORS:
            continue
        distance = _distances(vectors[indices])
        median = np.median(distance)
        spread = 1.4826 * np.median(np.abs(distance - median))
        unusual = (distance - median) / max(float(spread), _LEAST_SPREAD)
        facts = zip(indices.tolist(), distance.tolist(), unusual.tolist(), strict=True)
        found += [Strange(*one) for one in facts]
    return sorted(found, key=lambda one: -one.unusual)[:count]


def _distances(vectors: Array) -> Array:
    """The mean distance of each map from its nearest ones."""
    nearest = needed("sklearn.neighbors").NearestNeighbors(n_neighbors=_NEIGHBORS).fit(vectors)
    distances, _ = nearest.kneighbors()
    mean: Array = distances.mean(1)
    return mean

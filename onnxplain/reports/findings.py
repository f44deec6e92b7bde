"""Classes whose maps have more heat in a place than is normal for the other classes.

Two classes are compared by an exceedance test: of n and m maps of two classes that do not differ,
the number among the n that exceed the r-th largest of the m is beta-binomial, whatever the
distribution of the heat. A class is named only if it exceeds at least half of the other classes
(partial conjunction: Benjamini and Heller, "Screening for Partial Conjunction Hypotheses",
Biometrics 64, 2008), so that a second class with a fault hides nothing, and only if it does so by
much. The level is divided by the number of classes and places (Bonferroni).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from onnxplain.reports.extras import needed
from onnxplain.reports.places import AREAS, OUTSIDE
from onnxplain.tensors import Array

LEVEL = 0.01
"""Probability that a report on classes that do not differ names any of them."""

NORMAL = 0.95
"""Share of the maps of another class that a map must exceed."""

LEAST_MAPS = 5
"""A class with fewer maps is neither tested nor compared with."""

LEAST_SHARE = 0.25
"""Least share of the class's maps that exceed the others; by chance it is 1 − NORMAL."""

LEAST_EXCESS = 0.15
"""Least distance of the median of these maps from that of the other classes, as a share of heat."""

_FACTORS = {OUTSIDE: 2.0}
"""By place, a factor for both: how much heat is outside of objects depends on their form, too."""


@dataclass(frozen=True, eq=False)
class Finding:
    """A class whose maps have more heat in a place than those of most other classes.

    Attributes:
        class_name: the class.
        place: one of `PLACES`, or `OUTSIDE`.
        members: the indices of the maps that exceed `limit`.
        count: the number of the class's maps.
        limit: the median of the other classes' limits: the share of heat that one in twenty of
            their maps exceeds.
        median: the median share of heat in the place, over `members`.
        others: the median share over the maps of the other classes.
        p: the probability of so many members if the class did not differ, times the number of
            tests, at most 1.
        also: other places in which the class exceeds the others, which overlap this one or follow
            from it.
    """

    class_name: str
    place: str
    members: Sequence[int]
    count: int
    limit: float
    median: float
    others: float
    p: float
    also: Sequence[str] = ()


def find(classes: Sequence[str], places: Mapping[str, Array]) -> list[Finding]:
    """The findings of a set of maps, at most one for each class, the surest first.

    Args:
        classes: the class of each map.
        places: the share of each map's heat in each place, (maps,); NaN where it is not known.
    """
    names = np.array(classes)
    of_class = {name: np.flatnonzero(names == name) for name in dict.fromkeys(classes)}
    tests = len(of_class) * len(places)
    found = defaultdict[str, list[Finding]](list)
    for place, share in places.items():
        members = {name: i[np.isfinite(share[i])] for name, i in of_class.items()}
        members = {name: i for name, i in members.items() if len(i) >= LEAST_MAPS}
        normals = {name: _normal(share[i]) for name, i in members.items()}
        for name in members if len(members) > 1 else ():
            one = _test(name, place, share, members, normals, tests)
            if one is not None:
                found[name].append(one)
    ordered = (sorted(own, key=_surest) for own in found.values())
    named = [replace(first, also=[one.place for one in rest]) for first, *rest in ordered]
    return sorted(named, key=_surest)


def testable(classes: Sequence[str]) -> bool:
    """Whether there are two classes with enough maps to be compared."""
    counts = [classes.count(name) for name in set(classes)]
    return sum(count >= LEAST_MAPS for count in counts) > 1


def _surest(finding: Finding) -> tuple[float, float]:
    """A small place says more than a large one, so what counts is the excess for its area."""
    area = AREAS.get(finding.place, 1.0)
    return (finding.limit - finding.median) / area, finding.p


class _Normal(NamedTuple):
    """What is normal for a class: its number of maps, and the share that is the `rank`-th largest.

    One in twenty of its maps has this share or more.
    """

    maps: int
    rank: int
    limit: float


def _normal(share: Array) -> _Normal:
    rank = max(1, int((1 - NORMAL) * len(share)))
    return _Normal(len(share), rank, float(np.sort(share)[-rank]))


def _test(
    name: str,
    place: str,
    share: Array,
    members: Mapping[str, Array],
    normals: Mapping[str, _Normal],
    tests: int,
) -> Finding | None:
    """The finding of one class and one place, if there is one; `members` are those of classes."""
    rest = [normal for other, normal in normals.items() if other != name]
    own = np.sort(share[members[name]])
    limit = float(np.median([normal.limit for normal in rest]))
    above = members[name][share[members[name]] > limit]
    factor = _FACTORS.get(place, 1.0)
    if len(above) < factor * LEAST_SHARE * len(own):
        return None
    median = float(np.median(share[above]))
    others = float(np.median(np.concatenate([share[i] for n, i in members.items() if n != name])))
    if median - others < factor * LEAST_EXCESS:
        return None
    numbers = len(own) - np.searchsorted(own, [normal.limit for normal in rest], side="right")
    ps = [
        exceedance(int(number), len(own), normal.maps, normal.rank)
        for number, normal in zip(numbers, rest, strict=True)
    ]
    p = min(1.0, tests * partial_conjunction(ps, len(ps) // 2 + 1))
    if p > LEVEL:
        return None
    return Finding(name, place, above.tolist(), len(own), limit, median, others, p)


@lru_cache(maxsize=1 << 16)
def exceedance(count: int, own: int, other: int, rank: int) -> float:
    """P(at least `count` of `own` values exceed the `rank`-th largest of `other`), all alike.

    The values are independent, from one continuous distribution.
    """
    stats: Any = needed("scipy.stats")
    # The sum, because scipy's survival function is 1 minus the others, and loses small ones.
    numbers = np.arange(count, own + 1)
    return float(min(1.0, stats.betabinom.pmf(numbers, own, rank, other - rank + 1).sum()))


def partial_conjunction(ps: Sequence[float], least: int) -> float:
    """p-value of "fewer than `least` of the hypotheses are false", by Bonferroni's method."""
    ordered = sorted(ps)
    return float(min(1.0, (len(ordered) - least + 1) * ordered[least - 1]))

"""Classes whose maps have more heat in a place than is normal for the other classes.

Two classes are compared by an exceedance test: of n and m maps of two classes that do not differ,
the number among the n that exceed the r-th largest of the m is beta-binomial, whatever the
distribution of the heat. A class is named only if it exceeds at least half of the other classes
(partial conjunction: Benjamini and Heller, "Screening for Partial Conjunction Hypotheses",
Biometrics 64, 2008), so that a second class with a fault hides nothing, and only if it does so by
much. The level is divided by the number of classes and places (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxplain.reports.extras import needed
from onnxplain.reports.places import AREAS
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
    of_class = {name: np.flatnonzero(np.array(classes) == name) for name in dict.fromkeys(classes)}
    tests = len(of_class) * len(places)
    found = list[Finding]()
    for name in of_class:
        own = [
            one
            for place, share in places.items()
            if (one := _test(name, place, share, of_class, tests)) is not None
        ]
        if own:
            own.sort(key=_surest)
            found.append(_with_others(own))
    return sorted(found, key=_surest)


def testable(classes: Sequence[str]) -> bool:
    """Whether there are two classes with enough maps to be compared."""
    counts = [classes.count(name) for name in set(classes)]
    return sum(count >= LEAST_MAPS for count in counts) > 1


def _surest(finding: Finding) -> tuple[float, float]:
    """A small place says more than a large one, so what counts is the excess for its area."""
    area = AREAS.get(finding.place, 1.0)
    return (finding.limit - finding.median) / area, finding.p


def _with_others(found: Sequence[Finding]) -> Finding:
    return replace(found[0], also=[one.place for one in found[1:]])


def _test(
    name: str, place: str, share: Array, of_class: Mapping[str, Array], tests: int
) -> Finding | None:
    """The finding of one class and one place, if there is one."""
    known = {c: i[np.isfinite(share[i])] for c, i in of_class.items()}
    known = {c: i for c, i in known.items() if len(i) >= LEAST_MAPS}
    members = known.pop(name, None)
    if members is None or not known:
        return None
    own = share[members]
    limits, ps = zip(*(_exceeds(own, share[i]) for i in known.values()), strict=True)
    limit = float(np.median(limits))
    above = members[own > limit]
    median = float(np.median(share[above])) if len(above) else limit
    p = min(1.0, tests * partial_conjunction(ps, len(ps) // 2 + 1))
    others = float(np.median(np.concatenate([share[i] for i in known.values()])))
    if p > LEVEL or len(above) < LEAST_SHARE * len(own) or median - others < LEAST_EXCESS:
        return None
    return Finding(name, place, above.tolist(), len(own), limit, median, others, p)


def _exceeds(own: Array, other: Array) -> tuple[float, float]:
    """The limit of the other class, and the probability of so many own values above it."""
    rank = max(1, int((1 - NORMAL) * len(other)))
    limit = float(np.sort(other)[-rank])
    return limit, exceedance(int((own > limit).sum()), len(own), len(other), rank)


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

"""What the records of an evaluation say of methods, and which one to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from onnxplain.metrics.metric import Metric
from onnxplain.metrics.records import Record
from onnxplain.metrics.statistics import LEVEL, bootstrap_interval, holm, sign_test

Pair = tuple[str, str]


@dataclass(frozen=True)
class Cell:
    """The values of a method by a metric: their mean, its 95% interval, and their number."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Cost:
    """The mean cost of a map: passes through the model, and seconds."""

    forwards: float
    backwards: float
    seconds: float

    @property
    def passes(self) -> float:
        """Forward and backward passes together."""
        return self.forwards + self.backwards


@dataclass(frozen=True, eq=False)
class Summary:
    """A table of methods and metrics.

    `cells` and `p` are by metric, then by method or pair of methods in the order of `methods`. `p`
    are p-values of the sign test, corrected for the number of pairs of a metric (Holm).
    """

    methods: Sequence[str]
    references: Sequence[str]
    metrics: Sequence[Metric]
    cells: Mapping[str, Mapping[str, Cell]]
    p: Mapping[str, Mapping[Pair, float]]
    costs: Mapping[str, Cost]
    inputs: int

    def best(self, metric: Metric) -> list[str]:
        """The methods that cannot be told apart from that with the best mean; it comes first."""
        found = [name for name in self.methods if name in self.cells[metric.name]]
        if metric.better == "neither" or not found:
            return []
        sign = 1 if metric.better == "higher" else -1
        order = sorted(found, key=lambda name: -sign * self.cells[metric.name][name].mean)
        first = order[0]
        return [name for name in order if name == first or self.same(metric, first, name)]

    def same(self, metric: Metric, one: str, other: str) -> bool:
        """Whether two methods cannot be told apart by a metric on these inputs."""
        own = self.p[metric.name]
        return own.get((one, other), own.get((other, one), 1.0)) > 1 - LEVEL

    @property
    def judging(self) -> list[Metric]:
        """The metrics that say which method is better, and have a value of one."""
        return [metric for metric in self.metrics if self.best(metric)]

    @property
    def recommended(self) -> str | None:
        """The method that is among the best by the most metrics; of several, the cheapest.

        Of several that cost the same, it is the one with the best mean rank. None if no metric says
        which method is better.
        """
        wins = {name: self.wins(name) for name in self.methods if name in self.costs}
        if not self.judging or not wins:
            return None
        most = max(wins.values())
        return min(
            (name for name in wins if wins[name] == most),
            key=lambda name: (self.costs[name].passes, self._mean_rank(name)),
        )

    def wins(self, name: str) -> int:
        """By how many metrics a method is among the best."""
        return sum(name in self.best(metric) for metric in self.judging)

    def _mean_rank(self, name: str) -> float:
        """The mean place of a method by its means, 0 for the first; the last one without a mean."""
        places = []
        for metric in self.judging:
            sign = -1 if metric.better == "higher" else 1
            own = {one: sign * cell.mean for one, cell in self.cells[metric.name].items()}
            mine = own.get(name, np.inf)
            places.append(sum(own[one] < mine for one in self.methods if one in own))
        return float(np.mean(places))

    def no_better_than(self, reference: str) -> list[str]:
        """The methods whose mean is not better than a reference map's by any metric."""
        found = []
        for name in self.methods:
            both = [
                metric
                for metric in self.metrics
                if metric.better != "neither" and {name, reference} <= set(self.cells[metric.name])
            ]
            if both and not any(self._beats(metric, name, reference) for metric in both):
                found.append(name)
        return found

    def _beats(self, metric: Metric, name: str, reference: str) -> bool:
        own = self.cells[metric.name]
        difference = own[name].mean - own[reference].mean
        return difference > 0 if metric.better == "higher" else difference < 0

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "inputs": self.inputs,
            "methods": {
                name: {
                    "reference": name in self.references,
                    "cost": vars(self.costs[name]) if name in self.costs else None,
                    "metrics": {
                        metric: vars(own[name]) for metric, own in self.cells.items() if name in own
                    },
                }
                for name in (*self.methods, *self.references)
            },
            "metrics": {
                metric.name: {
                    "better": metric.better,
                    "best": self.best(metric),
                    "p": {" / ".join(pair): p for pair, p in self.p[metric.name].items()},
                }
                for metric in self.metrics
            },
            "recommended": self.recommended,
            "no_better_than": {name: self.no_better_than(name) for name in self.references},
        }


def summarized(
    records: Sequence[Record],
    methods: Sequence[str],
    references: Sequence[str],
    metrics: Sequence[Metric],
) -> Summary:
    """The summary of the records of one evaluation."""
    values: dict[str, dict[str, dict[str, float]]] = {metric.name: {} for metric in metrics}
    costs: dict[str, list[Mapping[str, float]]] = {}
    for one in records:
        if one.value is not None:
            values[one.metric].setdefault(one.method, {})[one.input] = one.value
            costs.setdefault(one.method, []).append(one.map_cost)
    return Summary(
        methods,
        references,
        metrics,
        {
            metric: {name: _cell(list(own.values())) for name, own in by_method.items()}
            for metric, by_method in values.items()
        },
        {metric: _told_apart(by_method, methods) for metric, by_method in values.items()},
        {name: _cost(own) for name, own in costs.items() if name in methods},
        len({one.input for one in records}),
    )


def _cell(values: Sequence[float]) -> Cell:
    return Cell(float(np.mean(values)), *bootstrap_interval(values), len(values))


def _cost(own: Sequence[Mapping[str, float]]) -> Cost:
    names = "forward_passes", "backward_passes", "seconds"
    return Cost(*(float(np.mean([one.get(name, 0) for one in own])) for name in names))


def _told_apart(
    by_method: Mapping[str, Mapping[str, float]], methods: Sequence[str]
) -> dict[Pair, float]:
    """The corrected p-value of each pair, on the inputs that both have a value for."""
    pairs = list(combinations([name for name in methods if name in by_method], 2))
    found = []
    for one, other in pairs:
        shared = sorted(by_method[one].keys() & by_method[other].keys())
        found.append(sign_test(np.array([by_method[one][i] - by_method[other][i] for i in shared])))
    return dict(zip(pairs, holm(found), strict=True)) if pairs else {}

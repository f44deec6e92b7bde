"""Metrics of whether the values of a map add up to what they should."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from onnxplain.errors import MapError, OptionError
from onnxplain.execution.points import Given
from onnxplain.methods.base import InputMethod
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Measured, Metric
from onnxplain.metrics.options import PerturbBaseline


@dataclass(frozen=True, kw_only=True)
class GapMetric(Metric):
    """|Σ Φ − due| / |due|, for methods whose values are parts of the score of an input."""

    good = "lower"

    misleads = (
        "values that add up may be at the wrong places: a map that puts everything on one pixel "
        "can have a gap of 0"
    )

    @abstractmethod
    def due(self, judged: Judged, score: float) -> float:
        """What the values should add up to; `score` is the one that the method explains."""

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        method = judged.made_by
        if not isinstance(method, InputMethod) or not method.adds_up or method.makes_picture:
            raise OptionError(
                f"The values of {method.name} are not parts of a score, so that {self.name} does "
                "not apply: it is for methods such as integrated_gradients, deeplift and lrp."
            )
        due = self.due(judged, judged.case.score(method.score))
        total = float(judged.values.sum(dtype=np.float64))
        if not due:
            raise MapError(f"The score that should be divided is 0, so {self.name} has no unit.")
        return Measured(abs(total - due) / abs(due), {"sum": total, "due": due})


@dataclass(frozen=True, kw_only=True)
class Completeness(GapMetric):
    """|Σ Φ − (S(x) − S(x'))| / |S(x) − S(x')|, the gap of completeness; x' is the baseline.

    `perturb_baseline` must be the baseline of the method.

    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017. Quantus's
    Completeness says only whether the gap is 0. Cost: 2 forwards.
    """

    name = "completeness"
    summary = "how far the values are from adding up to the change of the score"
    paper = "Sundararajan 2017"
    cost = "2 forwards"

    perturb_baseline: PerturbBaseline = "black"

    def due(self, judged: Judged, score: float) -> float:
        """See `GapMetric`."""
        absent = judged.case.baseline(self.perturb_baseline)
        (empty,) = judged.case.scores(Given(1, lambda _: absent), judged.made_by.score)
        return score - float(empty)


@dataclass(frozen=True, kw_only=True)
class Conservation(GapMetric):
    """|Σ Φ − S(x)| / |S(x)|, the gap of conservation: what biases keep, or rules lose.

    Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
    Relevance Propagation", PLOS ONE 2015. Cost: 1 forward.
    """

    name = "conservation"
    summary = "how far the values are from adding up to the score"
    paper = "Bach 2015"
    cost = "1 forward"

    def due(self, judged: Judged, score: float) -> float:
        """See `GapMetric`."""
        return score

"""Metrics that describe a map alone: how few places carry it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from onnxplain.errors import MapError
from onnxplain.methods.options import Number, Option
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Measured, Metric
from onnxplain.tensors import Array


@dataclass(frozen=True, kw_only=True)
class ComplexityMetric(Metric):
    """A number of |a|, the absolute heat of each place of the model's input."""

    cost = "none"
    good = "neither"
    misleads = (
        "few places are not the right places: a gradient's single pixels and a sharp edge do "
        "well, whether or not the model used them"
    )

    @abstractmethod
    def of(self, sizes: Array) -> float:
        """The number, from |a|, float64 (places,), which is not zero everywhere."""

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        sizes = np.abs(judged.heat).ravel()
        if not sizes.any():
            raise MapError(f"The map of {judged.name} is zero everywhere, so {self.name} is 0 / 0.")
        return Measured(self.of(sizes))


@dataclass(frozen=True, kw_only=True)
class Sparseness(ComplexityMetric):
    """The Gini index of |a|: Σ_i (2i − n − 1) a_i / (n Σ a), with a_i sorted, from 0 to 1 − 1/n.

    0 if all places have the same heat, 1 − 1/n if one place has it all.

    Chalasani et al., "Concise Explanations of Neural Networks using Adversarial Training", ICML
    2020. Cost: none.
    """

    name = "sparseness"
    summary = "how few places carry the map: its Gini index"
    paper = "Chalasani 2020"

    def of(self, sizes: Array) -> float:
        """See the class."""
        count = sizes.size
        factors = 2 * np.arange(1, count + 1) - count - 1
        return float(factors @ np.sort(sizes) / (count * sizes.sum()))


@dataclass(frozen=True, kw_only=True)
class Complexity(ComplexityMetric):
    """The entropy −Σ p ln p of p = |a| / Σ|a|, in nats, from 0 to ln n for n places.

    Bhatt, Weller and Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI
    2020. Cost: none.
    """

    name = "complexity"
    summary = "over how many places the map is spread: its entropy"
    paper = "Bhatt 2020"

    def of(self, sizes: Array) -> float:
        """See the class."""
        shares = sizes[sizes > 0] / sizes.sum()
        # Adding 0 makes a 0 of −0.
        return float(-(shares @ np.log(shares))) + 0.0


@dataclass(frozen=True, kw_only=True)
class EffectiveComplexity(ComplexityMetric):
    """The number of places with |a| > eps · max |a|.

    Nguyen and Martínez, "On quantitative aspects of model interpretability", 2020, counts the
    features whose absence changes the score by more than a tolerance; here, as in Quantus, those
    with a larger value than a tolerance. Cost: none.
    """

    name = "effective_complexity"
    summary = "the number of places with more than a little heat"
    paper = "Nguyen 2020"

    eps: Annotated[Number, Option("SHARE", "Of the largest heat: smaller values do not count.")] = (
        1e-5
    )

    def of(self, sizes: Array) -> float:
        """See the class."""
        self.require(self.eps >= 0, "eps >= 0")
        return float(np.count_nonzero(sizes > self.eps * sizes.max()))

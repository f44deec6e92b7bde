"""DeepLIFT: how differences from a baseline contribute to the change of the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxplain.autodiff.propagation.deeplift import BASELINE, DEEPLIFT
from onnxplain.execution.baselines import BaselineSpec
from onnxplain.execution.wants import Input, InputGradient, Reference, ReferenceScore, Want
from onnxplain.formulas.namespace import Namespace
from onnxplain.methods.completeness import completeness
from onnxplain.methods.gradient import BackwardMethod
from onnxplain.methods.options import Baseline
from onnxplain.tensors import FloatArray


@dataclass(frozen=True, kw_only=True)
class DeepLIFT(BackwardMethod):
    """(x − x') ⊙ m, with multipliers m that follow the chain rule (Rescale rule).

    A nonlinearity's multiplier is Δy/Δx, between the sample x and the `baseline` x'. Maxima,
    products of activations, softmax and normalizations have rules that also preserve the sum. So
    the values add up to S(x) − S(x'), except for rounding; `completeness_gap` is the difference.

    Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating Activation
    Differences", ICML 2017.
    """

    name = "deeplift"
    summary = "what the difference from a baseline adds to the score, in one pass"
    paper = "Shrikumar 2017"
    cost = "2 with a backward"
    distributes = True
    runs_beside = 2

    baseline: Baseline = "black"

    @property
    def references(self) -> Mapping[str, BaselineSpec]:
        """See `SinglePassMethod`."""
        return {BASELINE: self.baseline}

    @property
    def wants(self) -> Sequence[Want]:
        """See `SinglePassMethod`."""
        multipliers = InputGradient(DEEPLIFT, (BASELINE,))
        return Input(), Reference(BASELINE), multipliers, ReferenceScore(BASELINE)

    def map(self, xp: Namespace, x: Any, baseline: Any, m: Any, absent: Any) -> Any:
        """See the class."""
        return m * (x - baseline)

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """The score of the baseline."""
        return {"absent": wanted[-1]}

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """See `SinglePassMethod`."""
        remedy = "try another baseline, or integrated_gradients"
        return completeness(values, score - report["absent"], remedy)

"""DeepLIFT: what a sample's difference from a baseline contributes to the score's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxplain.autodiff.propagation.deeplift import DEEPLIFT
from onnxplain.autodiff.propagation.difference import BASELINE
from onnxplain.execution.baselines import BaselineSpec
from onnxplain.methods.base import Maps, Subject
from onnxplain.methods.completeness import completeness
from onnxplain.methods.gradient import InputGradientMethod
from onnxplain.methods.points import passes


@dataclass(frozen=True, kw_only=True)
class DeepLIFT(InputGradientMethod):
    """(x − x') ⊙ m, with multipliers m that follow the chain rule (Rescale rule).

    A nonlinearity's multiplier is Δy/Δx, between the sample x and the `baseline` x'; maxima,
    products of activations, softmax and normalisations have rules that keep the sum as well. So the
    values add up to S(x) − S(x') but for rounding: `completeness_gap` says how well.

    Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating Activation
    Differences", ICML 2017.
    """

    name: ClassVar[str] = "deeplift"
    summary: ClassVar[str] = "what the difference from a baseline adds to the score, in one pass"
    paper: ClassVar[str] = "Shrikumar 2017"
    cost: ClassVar[str] = "3 + one backward"

    baseline: BaselineSpec = "black"

    def maps(self, subject: Subject) -> Maps:
        """See `Method`."""
        baseline = subject.baseline(self.baseline)
        values = subject.gradient(DEEPLIFT, {BASELINE: baseline}) * (subject.x - baseline)
        changes = subject.scores - subject.scores_of(baseline)
        # The baseline runs forward along with the sample.
        told = passes(1, len(values), before=2, forwards=2)
        return Maps(
            values,
            told,
            [
                completeness(own, float(change), "try another baseline, or integrated_gradients")
                for own, change in zip(values, changes, strict=True)
            ],
        )

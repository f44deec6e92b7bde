"""Metrics that change the sample as a map says, and read the score."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from onnxplain.errors import MapError
from onnxplain.execution.points import Blend, Feeds
from onnxplain.methods.options import Score
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Better, Measured, Metric
from onnxplain.metrics.options import CurveSteps, Order, PerturbBaseline
from onnxplain.tensors import Array
from onnxplain.transforms.masks import Before, Drawn


def ranks(heat: Array, order: str) -> Array:
    """The place of each element in the order, int64: 0 is the first.

    Equal values are in row-major order.
    """
    signed = -heat.ravel() if order == "morf" else heat.ravel()
    found = np.empty(heat.size, np.int64)
    found[np.argsort(signed, kind="stable")] = np.arange(heat.size)
    return found.reshape(heat.shape)


def shares_of(count: int, steps: int) -> tuple[Array, Array]:
    """The number of places that are changed after each step, int64, and their shares, (steps+1,).

    Steps are as equal as they can be; there are no more steps than places.
    """
    changed = np.linspace(0, count, min(steps, count) + 1).round().astype(np.int64)
    return changed, changed / count


@dataclass(frozen=True, kw_only=True)
class CurveMetric(Metric):
    """The area below a curve: the score against the share of the places that were changed."""

    steps: CurveSteps = 50
    order: Order = "morf"
    score: Score = "probability"

    def curve(self, judged: Judged, insert: bool, baseline: Array) -> Measured:
        """The area (trapezoids), for places that are put into the baseline, or removed."""
        self.require(self.steps >= 1, "steps >= 1")
        case, heat = judged.case, judged.heat
        changed, shares = shares_of(heat.size, self.steps)
        step = np.searchsorted(changed[1:], ranks(heat, self.order), side="right")
        last = len(changed) - 1
        # A place is kept where its step is before that of the mask.
        steps = step if insert else last - 1 - step
        before = np.arange(last + 1) if insert else last - np.arange(last + 1)
        shape = (-1, *[1] * (len(case.scene.shape) - 1))
        feeds = Feeds.of({"before": before.astype(np.float32).reshape(shape)})
        shared = Feeds(feeds.count, feeds.make, {"steps": steps.astype(np.float32)[None]})
        scores = case.scores(Blend(Before(case.scene.spatial), shared, baseline), self.score)
        return Measured(
            area(shares, scores), {"shares": shares.tolist(), "scores": scores.tolist()}
        )


def area(x: Array, y: Array) -> float:
    """The area below a curve, by trapezoids."""
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


@dataclass(frozen=True, kw_only=True)
class Deletion(CurveMetric):
    """AUC of S(x with its k most relevant places removed) over k / places, from 0 to 1.

    The places are removed in `steps` equal steps; removed ones are those of `perturb_baseline`.
    With `order` lerf, the least relevant places go first, and high values are good.

    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018. Quantus calls the curve PixelFlipping (Bach 2015; Samek 2017). Cost: steps + 2
    forwards.
    """

    name = "deletion"
    summary = "the area below the score while the hottest places are removed"
    paper = "Petsiuk 2018"
    cost = "steps + 2 forwards (52)"
    misleads = (
        "a picture with removed places is unlike those of the training, so the score may fall "
        "for this reason alone: compare with road, or with another perturb_baseline"
    )

    perturb_baseline: PerturbBaseline = "black"

    @property
    def better(self) -> Better:
        """See `Metric`."""
        return "lower" if self.order == "morf" else "higher"

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        return self.curve(judged, False, judged.case.baseline(self.perturb_baseline))


@dataclass(frozen=True, kw_only=True)
class Insertion(CurveMetric):
    """AUC of S(baseline with the k most relevant places of x put in) over k / places.

    As `Deletion`, from the other end: it begins with `perturb_baseline`, by default a blur.

    Petsiuk, Das and Saenko 2018, see `Deletion`. Cost: steps + 2 forwards.
    """

    name = "insertion"
    summary = "the area below the score while the hottest places are put into a blurred copy"
    paper = "Petsiuk 2018"
    cost = "steps + 2 forwards (52)"
    misleads = (
        "a blurred copy may keep what a map must find, such as a color, and maps with one large "
        "area do better than fine ones of the same places"
    )

    perturb_baseline: PerturbBaseline = "blur"

    @property
    def better(self) -> Better:
        """See `Metric`."""
        return "higher" if self.order == "morf" else "lower"

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        return self.curve(judged, True, judged.case.baseline(self.perturb_baseline))


@dataclass(frozen=True, kw_only=True)
class SeenThroughMap(Metric):
    """A number of y = S(x) and o = S(H ⊙ x + (1 − H) ⊙ x'), the score seen through the map.

    H is the map scaled to [0, 1] by its smallest and largest value, and x' is `perturb_baseline`.
    """

    cost = "2 forwards"
    misleads = (
        "a map that is hot nearly everywhere scores best, as it hides nothing of the picture: "
        "compare with deletion and sparseness"
    )

    score: Score = "probability"
    perturb_baseline: PerturbBaseline = "black"

    @abstractmethod
    def of(self, y: float, o: float) -> float:
        """The number."""

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        case = judged.case
        feeds = Feeds.of({"drawn": judged.weights[None]})
        made = Blend(Drawn(case.scene.spatial), feeds, case.baseline(self.perturb_baseline))
        y, (o,) = case.score(self.score), case.scores(made, self.score)
        return Measured(self.of(y, float(o)), {"score": y, "seen_through_map": float(o)})

    def positive(self, number: float, what: str) -> float:
        """A denominator.

        Raises:
            MapError: it is not positive.
        """
        if not number > 0:
            raise MapError(
                f"{self.name} divides by {what}, which is {number:.4g} here: it is for "
                "probabilities between 0 and 1."
            )
        return number


@dataclass(frozen=True, kw_only=True)
class AverageDrop(SeenThroughMap):
    """max(0, y − o) / y, where y is the score, and o the score of the sample seen through the map.

    Chattopadhay et al., "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
    WACV 2018. The paper's average drop is the mean over pictures, in percent. Cost: 2 forwards.
    """

    name = "average_drop"
    summary = "the share of the score that is lost when only what the map shows is seen"
    paper = "Chattopadhay 2018"
    good = "lower"

    def of(self, y: float, o: float) -> float:
        """See the class."""
        return max(0.0, y - o) / self.positive(y, "the score")


@dataclass(frozen=True, kw_only=True)
class AverageGain(SeenThroughMap):
    """max(0, o − y) / (1 − y), where y and o are as for `AverageDrop`.

    Zhang et al., "Opti-CAM: Optimizing Saliency Maps for Interpretability", CVIU 2024. Cost: 2
    forwards.
    """

    name = "average_gain"
    summary = "the score that is gained when only what the map shows is seen"
    paper = "Zhang 2024"
    good = "higher"

    def of(self, y: float, o: float) -> float:
        """See the class."""
        return max(0.0, o - y) / self.positive(1 - y, "1 minus the score")


@dataclass(frozen=True, kw_only=True)
class Increase(SeenThroughMap):
    """1 if o > y, else 0, where y and o are as for `AverageDrop`; the mean is the paper's share.

    Chattopadhay et al. 2018, see `AverageDrop`, where it is called increase in confidence. Cost: 2
    forwards.
    """

    name = "increase"
    summary = "whether the score is larger when only what the map shows is seen"
    paper = "Chattopadhay 2018"
    good = "higher"

    def of(self, y: float, o: float) -> float:
        """See the class."""
        return float(o > y)

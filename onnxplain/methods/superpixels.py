"""Methods that switch segments of the input on and off, and fit a linear model to the scores."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import comb
from typing import Annotated, Any

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.subject import Subject
from onnxplain.methods.base import AdaptiveMethod, InputMethod, Maps
from onnxplain.methods.options import Baseline, Number, Option, Samples, Score, Seed, Segments
from onnxplain.methods.segments import find_segments, needed
from onnxplain.tensors import Array, FloatArray

_FITS = 0.5
"""A linear model that explains less than this share of the score's variance fits badly."""

_Width = Annotated[Number, Option("NUMBER", "How far from the picture samples still count.")]


@dataclass(frozen=True, kw_only=True)
class SegmentMethod(InputMethod, AdaptiveMethod):
    """A method with one value for each segment; scikit-image or the user makes the segments."""

    segments: Annotated[Segments, Option("COUNT", "Approximate number of superpixels.")] = 50
    samples: Samples = 1000
    seed: Seed = 0
    baseline: Baseline = "black"

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        self.require(self.samples >= 1 and self.seed >= 0, "samples >= 1 and seed >= 0")


@dataclass(frozen=True, kw_only=True)
class SlopesMethod(SegmentMethod):
    """The slopes w of the ridge regression that minimizes Σ_z π(z) (S(z) − w·z − b)² + r‖w‖².

    z says which segments are kept; the others show the baseline. r is `ridge`.
    """

    score: Score = "probability"
    kernel_width: _Width = 0.25
    ridge: Annotated[Number, Option("NUMBER", "Penalty on the slopes of a fit.")] = 1.0

    @abstractmethod
    def drawn(self, count: int) -> tuple[Array, Array]:
        """All z, bool (samples, count), and their weights π, (samples,), for `count` segments."""

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        super().check(scene)
        fits = self.kernel_width > 0 and self.ridge >= 0
        self.require(fits, "kernel_width > 0 and ridge >= 0")

    def maps(self, subject: Subject) -> Maps:
        """See `AdaptiveMethod`.

        Raises:
            OptionError: scikit-learn is missing.
        """
        linear = needed("sklearn.linear_model", self.name)
        found = find_segments(self.name, subject.scene, self.segments)
        kept, weights = self.drawn(found.count)
        baseline = found.baseline(subject.scene, self.baseline)
        scores = found.scores(subject, kept, baseline)
        fit = linear.Ridge(alpha=self.ridge).fit(kept, scores.astype(np.float64), weights)
        slopes = fit.coef_.reshape(len(subject.scores), found.count)
        explained = _explained(scores, fit.predict(kept).reshape(scores.shape), weights)
        return Maps(
            found.placed(subject.scene, slopes),
            {**subject.spent, "segments": found.count},
            each=[_fitted(r2, found.warning) for r2 in explained],
        )


@dataclass(frozen=True, kw_only=True)
class LIME(SlopesMethod):
    """The slopes w of the ridge regression that minimizes Σ_z π(z) (S(z) − w·z − b)² + r‖w‖².

    z says which segments are kept; the others show the baseline. The first z keeps all; for the
    others, `numpy.random.default_rng(seed)` keeps each segment with probability ½. π(z) =
    exp(−D²/2σ²), with D = 1 − cos(z, 1), the cosine distance to the z that keeps all, and σ =
    `kernel_width`. r is `ridge`. `segments` is a number of SLIC superpixels, or an array (rows,
    columns) with the segment of each pixel of the model's input; a pixel with −1 always stays, and
    its value is 0. An input that is no picture is cut into runs of neighbors instead, or into
    single values if there are enough segments.

    Ribeiro, Singh and Guestrin, "'Why Should I Trust You?': Explaining the Predictions of Any
    Classifier", KDD 2016.
    """

    name = "lime"
    summary = "slopes of a local linear model over superpixels"
    paper = "Ribeiro 2016"
    cost = "1 + samples (1000)"

    def drawn(self, count: int) -> tuple[Array, Array]:
        """See `SlopesMethod`."""
        kept = np.random.default_rng(self.seed).random((self.samples, count)) < 0.5
        kept[0] = True
        distance = 1 - np.sqrt(kept.mean(axis=1))
        return kept, np.exp(-(distance**2) / (2 * self.kernel_width**2))


@dataclass(frozen=True, kw_only=True)
class GLIME(SlopesMethod):
    """The slopes w that minimize Σ_z (S(z) − w·z − b)² + r‖w‖², over z near the sample.

    Instead of weights, the distribution of z says how much a z counts: with the kernel
    exp(−‖1 − z‖² / σ²), each segment is kept with probability 1 / (1 + exp(−1/σ²)), independently,
    drawn by `numpy.random.default_rng(seed)`. σ is `kernel_width`, and r is `ridge`. This is
    GLIME-Binomial. `segments` is as in `lime`.

    Tan, Tian and Li, "GLIME: General, Stable and Local LIME Explanation", NeurIPS 2023.
    """

    name = "glime"
    summary = "lime with samples drawn near the picture instead of weights"
    paper = "Tan 2023"
    cost = "1 + samples (1000)"

    kernel_width: _Width = 1.0

    def drawn(self, count: int) -> tuple[Array, Array]:
        """See `SlopesMethod`."""
        keep = 1 / (1 + np.exp(-1 / self.kernel_width**2))
        kept = np.random.default_rng(self.seed).random((self.samples, count)) < keep
        return kept, np.ones(self.samples)


def _fitted(r2: float, warning: str) -> dict[str, Any]:
    """Diagnostics: the fit's R², and `warning`, or if it is empty, a warning about a bad fit."""
    if r2 >= _FITS and not warning:
        return {"fit_r2": r2}
    warning = warning or (
        f"The linear model explains only {max(r2, 0):.0%} of the score's variance, so its slopes "
        "are not reliable: take more samples, fewer segments, or the logit as score."
    )
    return {"fit_r2": r2, "warnings": [warning]}


@dataclass(frozen=True, kw_only=True)
class KernelSHAP(SegmentMethod):
    """Shapley values φ of the segments, computed by a weighted linear fit.

    Σ φ = S(x) − S(baseline), exactly. The fit minimizes Σ_z π(z) (S(z) − S(baseline) − φ·z)² over
    sets z of segments that are kept, with π(z) = (M − 1) / (C(M, |z|) |z| (M − |z|)) for M
    segments. If there are at most `samples` sets, without the empty and the full set, all are used
    and φ is exact. Else `numpy.random.default_rng(seed)` draws `samples` / 2 sets with
    probabilities π, and the complement of each is used too. `segments` is as in `lime`.

    Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017; the
    complements after Covert and Lee, "Improving KernelSHAP", AISTATS 2021.
    """

    name = "kernelshap"
    summary = "Shapley values of superpixels"
    paper = "Lundberg 2017"
    cost = "2 + samples (2048)"

    samples: Samples = 2048

    def maps(self, subject: Subject) -> Maps:
        """See `AdaptiveMethod`.

        Raises:
            OptionError: there are more segments than samples, or scikit-learn is missing.
        """
        linear = needed("sklearn.linear_model", self.name)
        found = find_segments(self.name, subject.scene, self.segments)
        if self.samples < found.count:
            raise OptionError(
                f"kernelshap needs at least as many samples as segments, {found.count}, and was "
                f"given {self.samples}."
            )
        baseline = found.baseline(subject.scene, self.baseline)
        absent = subject.scores_of(baseline).astype(np.float64)
        total = subject.scores - absent
        kept, weights = coalitions(found.count, self.samples, self.seed)
        shares = np.zeros((len(total), found.count))
        if found.count > 1:
            scores = found.scores(subject, kept, baseline) - absent
            # The last value is not fitted: it is the total minus the others, so the sum is exact.
            last = kept[:, -1:].astype(np.float64)
            fit = linear.LinearRegression(fit_intercept=False).fit(
                kept[:, :-1] - last, scores - last * total, weights
            )
            shares[:, :-1] = fit.coef_
        shares[:, -1] = total - shares.sum(axis=1)
        return Maps(
            found.placed(subject.scene, shares),
            {
                **subject.spent,
                "segments": found.count,
                "exact": len(kept) == 2**found.count - 2,
            },
        ).warned(found.warning)


def coalitions(count: int, samples: int, seed: int) -> tuple[Array, Array]:
    """Sets of segments, neither empty nor full, as bool (n, count), and their weights (n,).

    All sets if there are at most `samples`; else random ones and their complements.
    """
    sizes = np.arange(1, count)
    if 2**count - 2 <= samples:
        numbers = np.arange(1, 2**count - 1)
        kept = (numbers[:, None] >> np.arange(count)) & 1 == 1
        kernel = [0.0, *((count - 1) / (comb(count, int(s)) * s * (count - s)) for s in sizes)]
        return kept, np.array(kernel)[kept.sum(axis=1)]
    random = np.random.default_rng(seed)
    chances = 1 / (sizes * (count - sizes))
    drawn = random.choice(sizes, samples // 2, p=chances / chances.sum())
    ranks = random.random((len(drawn), count)).argsort(axis=1).argsort(axis=1)
    kept = ranks < drawn[:, None]
    return np.concatenate([kept, ~kept]), np.ones(2 * len(kept))


def _explained(scores: FloatArray, fitted: Any, weights: Array) -> list[float]:
    """R² for each target: the share of the weighted variance that the fit explains."""
    mean = np.average(scores, axis=0, weights=weights)
    left = np.average((scores - fitted) ** 2, axis=0, weights=weights)
    spread = np.average((scores - mean) ** 2, axis=0, weights=weights)
    return [float(1 - a / b) if b else 0.0 for a, b in zip(left, spread, strict=True)]

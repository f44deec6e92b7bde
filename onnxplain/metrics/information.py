"""Performance information curves: the score against how much of the picture is shown."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from onnxplain.errors import MapError, OptionError
from onnxplain.execution.points import Given
from onnxplain.formulas.namespace import Namespace
from onnxplain.images.opencv import cv2
from onnxplain.methods.options import Number, Option
from onnxplain.metrics.faithfulness import area
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Measured, Metric
from onnxplain.metrics.options import MetricSeed, Numbers
from onnxplain.metrics.scientific import scipy_module
from onnxplain.model.shapes import Shape
from onnxplain.targets import Target
from onnxplain.targets.classes import Class
from onnxplain.tensors import Array

_LOSSLESS = 101
"""OpenCV writes WebP without loss if the quality is above 100."""

_POINTS = 1000
"""Points of a curve; the last one, at 1, comes besides."""


@dataclass(frozen=True, kw_only=True)
class InformationMetric(Metric):
    """AUC of a score against the information that the picture shows, both scaled to [0, 1].

    The picture is first blurred: a share `fraction` of its pixels, drawn with `seed`, and its
    corners are kept, and the others interpolated linearly. Then the hottest pixels are shown, a
    share of `saliency_thresholds` at a time, and the others interpolated again, all at the size of
    the model's input. Information is the size of the picture as lossless WebP. The curve is made
    monotonic, as in the paper.
    """

    cost = "2 + one forward per threshold (15)"
    good = "higher"
    misleads = (
        "the size of a file is a rough measure of information, and depends on the version of the "
        "compressor; it is for pictures that the model classifies well"
    )

    saliency_thresholds: Annotated[
        Numbers, Option("NUMBERS", "Shares of the pixels to show, in ascending order.")
    ] = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75)
    fraction: Annotated[
        Number, Option("SHARE", "Of the pixels that the blurred picture keeps.")
    ] = 0.01
    seed: MetricSeed = 0

    @abstractmethod
    def read(self, judged: Judged, made: Given) -> Array:
        """The score of each picture, float64 (n,)."""

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        shares = self.saliency_thresholds
        fits = bool(shares) and list(shares) == sorted(shares)
        fits = fits and shares[0] > 0 and shares[-1] <= 1 and 0 <= self.fraction <= 1
        self.require(fits and self.seed >= 0, "ascending thresholds in 0 to 1 and seed >= 0")
        taken, scene = judged.case.taken, judged.case.scene
        if taken.array is not None or scene.planes is None:
            raise OptionError(f"{self.name} compresses pictures, and this is an array.")
        axes = (0, *scene.planes[2:], scene.planes[1])
        planes = np.transpose(scene.x, axes)[0].astype(np.float64)
        shown = self.kept(judged.heat.shape)
        masks = [shown, *(shown | hottest(judged.heat, share) for share in shares)]
        made = [*(interpolated(planes, mask, self.name) for mask in masks), planes]
        samples = np.transpose(np.stack(made), np.argsort(axes)).astype(np.float32)
        sizes = np.array([webp_size(taken.to_picture(one)) for one in samples], np.float64)
        scores = self.read(judged, Given(len(samples), lambda part: samples[part]))
        x, y = scaled(sizes, self.name, "size"), scaled(scores, self.name, "score")
        return Measured(monotonic_area(x, y), {"information": x.tolist(), "scores": y.tolist()})

    def kept(self, shape: tuple[int, ...]) -> Array:
        """The pixels that the blurred picture keeps, bool (H, W)."""
        mask = np.zeros(shape, bool)
        drawn = np.random.default_rng(self.seed)
        count = int(mask.size * self.fraction)
        mask.ravel()[drawn.choice(mask.size, size=count, replace=False)] = True
        return mask


def scaled(values: Array, metric: str, what: str) -> Array:
    """Values relative to the first and the last one, clipped to [0, 1].

    Raises:
        MapError: the last one is not larger.
    """
    first, last = values[0], values[-1]
    if not last > first:
        raise MapError(
            f"The {what} of the blurred picture is not below that of the picture, so {metric} has "
            "no curve here."
        )
    found: Array = np.clip((values - first) / (last - first), 0, 1)
    return found


def monotonic_area(x: Array, y: Array) -> float:
    """The area below the curve through the points, with the largest y so far at each of them."""
    highest = np.maximum.accumulate(y)
    points = np.append(x[1:-1], [0, 1])
    order = np.argsort(points, kind="stable")
    grid = np.linspace(0, 1, _POINTS, endpoint=False)
    curve = np.interp(grid, points[order], np.append(highest[1:-1], [0, 1])[order])
    return area(np.append(grid, 1), np.append(curve, 1))


def hottest(heat: Array, share: float) -> Array:
    """The places with the largest heat, bool; as many as that share of them."""
    found: Array = heat >= np.quantile(heat, 1 - share)
    return found


def interpolated(planes: Array, known: Array, metric: str) -> Array:
    """A picture, float64 (rows, columns, channels), whose pixels but `known` ones are interpolated.

    The interpolation is linear, between the corners of triangles; the corners of the picture are
    always known.

    Raises:
        OptionError: SciPy is missing.
    """
    known = known.copy()
    known[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    filled = planes.copy()
    if not known.all():
        interpolate = scipy_module("interpolate", metric)
        made = interpolate.LinearNDInterpolator(np.argwhere(known), planes[known])
        filled[~known] = made(np.argwhere(~known))
    return filled


def webp_size(picture: Array) -> int:
    """Bytes of a picture, uint8 (H, W, 3), as lossless WebP."""
    colors = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".webp", colors, [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS])
    return len(encoded)


@dataclass(frozen=True, kw_only=True)
class SIC(InformationMetric):
    """The softmax information curve: the score is the probability. See `InformationMetric`.

    Kapishnikov et al., "XRAI: Better Attributions Through Regions", ICCV 2019. Cost: 2 + one
    forward for each threshold; the pictures are interpolated on the host.
    """

    name = "sic"
    summary = "the area below the probability while the information that is shown grows"
    paper = "Kapishnikov 2019"

    def read(self, judged: Judged, made: Given) -> Array:
        """See `InformationMetric`."""
        return judged.case.scores(made, "probability")


@dataclass(frozen=True, kw_only=True)
class AIC(InformationMetric):
    """The accuracy information curve: the score is 1 if the class has the largest score, else 0.

    Kapishnikov et al. 2019, see `SIC`. Cost: that of `SIC`.
    """

    name = "aic"
    summary = "the area below the accuracy while the information that is shown grows"
    paper = "Kapishnikov 2019"

    def read(self, judged: Judged, made: Given) -> Array:
        """See `InformationMetric`.

        Raises:
            OptionError: the target is no class of a classifier.
        """
        target = judged.case.target
        if type(target) is not Class:
            raise OptionError("aic asks whether a class is the first, so it is for classifiers.")
        return judged.case.with_target(IsFirst(target.index)).scores(made, "logit")


@dataclass(frozen=True)
class IsFirst(Target):
    """1 if a class has the largest score, else 0."""

    index: int

    @property
    def name(self) -> str:
        """See `Target`."""
        return f"whether {self.index} is first"

    def parameters(self, shape: Shape) -> Mapping[str, Array]:
        """See `Target`."""
        return {"code": np.array(self.index, np.int64)}

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """See the class."""
        flat = xp.flatten(answer)
        return xp.where(xp.take(flat, parameters["code"]) >= xp.max(flat, axis=-1), 1.0, 0.0)

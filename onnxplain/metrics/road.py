"""ROAD: remove and debias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.points import Given
from onnxplain.methods.options import Noise, Option, Score, one_of
from onnxplain.metrics.faithfulness import ranks
from onnxplain.metrics.imputation import imputed
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Better, Measured, Metric
from onnxplain.metrics.options import MetricSeed, Numbers
from onnxplain.tensors import Array, FloatArray

_RoadOrder = Literal["morf", "lerf", "combined"]
_BETTER: Mapping[str, Better] = {"morf": "lower", "lerf": "higher", "combined": "higher"}


@dataclass(frozen=True, kw_only=True)
class ROAD(Metric):
    """The mean score of x with its most (least) relevant pixels imputed, over `percentages`.

    Imputed pixels are the weighted mean of their neighbors, a linear system, plus Gaussian noise of
    sigma = `noise` · (max x − min x). So the shape of the removed part tells the model little.
    `order` combined is (least relevant first − most relevant first) / 2. `percentages` are of
    pixels that are imputed.

    Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML
    2022. Cost: a forward for each percentage, twice as many if combined, + 1. The system is solved
    on the host.
    """

    name = "road"
    summary = "deletion with removed pixels imputed from their neighbors"
    paper = "Rong 2022"
    cost = "1 + 2 forwards per percentage (19)"
    misleads = (
        "large uniform areas are imputed without a loss, so a map of them changes nothing; it is "
        "for pictures only"
    )

    percentages: Annotated[Numbers, Option("NUMBERS", "Percentages of the pixels to impute.")] = (
        10,
        20,
        30,
        40,
        50,
        60,
        70,
        80,
        90,
    )
    order: Annotated[
        _RoadOrder,
        one_of(_RoadOrder),
        Option("NAME", "morf, lerf, or combined: half the difference of both."),
    ] = "combined"
    noise: Noise = 0.01
    seed: MetricSeed = 0
    score: Score = "probability"

    @property
    def better(self) -> Better:
        """See `Metric`."""
        return _BETTER[self.order]

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        inside = all(0 <= one <= 100 for one in self.percentages)
        fits = inside and bool(self.percentages) and self.noise >= 0 and self.seed >= 0
        self.require(fits, "percentages between 0 and 100, noise >= 0 and seed >= 0")
        orders = ("lerf", "morf") if self.order == "combined" else (self.order,)
        curves = {order: self._curve(judged, order) for order in orders}
        means = [float(curve.mean()) for curve in curves.values()]
        value = (means[0] - means[1]) / 2 if len(means) == 2 else means[0]
        details = {order: curve.tolist() for order, curve in curves.items()}
        return Measured(value, {"percentages": list(self.percentages), **details})

    def _curve(self, judged: Judged, order: str) -> Array:
        """The score for each percentage."""
        case = judged.case
        if case.scene.planes is None:
            raise OptionError(
                f"road imputes pixels, and this input has the shape {case.scene.shape}: use "
                "deletion."
            )
        # As rows, columns and channels.
        axes = (0, *case.scene.planes[2:], case.scene.planes[1])
        planes = np.transpose(case.scene.x, axes)[0].astype(np.float64)
        back, place = np.argsort(axes), ranks(judged.heat, order)
        sigma = self.noise * float(planes.max() - planes.min())

        def made(part: slice) -> FloatArray:
            chosen = range(len(self.percentages))[part]
            return np.concatenate([picture(i) for i in chosen]).astype(np.float32)

        def picture(i: int) -> Array:
            removed = place < int(place.size * self.percentages[i] / 100)
            drawn = np.random.default_rng([self.seed, i]).normal(size=planes.shape)
            filled = imputed(planes, removed) + sigma * np.where(removed[..., None], drawn, 0)
            return np.transpose(filled[None], back)

        return case.scores(Given(len(self.percentages), made), self.score)

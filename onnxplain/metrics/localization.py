"""Metrics that compare a map with where the object really is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from onnxplain.errors import MapError, OptionError
from onnxplain.methods.options import Number, Option
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Measured, Metric
from onnxplain.tensors import Array


@dataclass(frozen=True, kw_only=True)
class LocalizationMetric(Metric):
    """A number of the heat on the picture's pixels, and of the region of the object.

    Only pixels that the model saw count.
    """

    cost = "none"
    good = "higher"
    misleads = (
        "a model may use what is next to the object, such as the rails for a train: then a right "
        "map scores badly"
    )

    @abstractmethod
    def of(self, heat: Array, inside: Array) -> float:
        """The number, from the heat of each pixel, float64 (n,), and bool (n,): in the region."""

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        region = judged.case.inside
        if region is None:
            raise OptionError(
                f"{self.name} compares with where the object is: name its annotations with "
                "--annotations, or give inside=."
            )
        heat, seen = judged.on_picture
        if region.shape != heat.shape:
            raise OptionError(
                f"The region of the object has the shape {region.shape}, and the picture "
                f"{heat.shape}."
            )
        inside = region[seen].astype(bool)
        if not inside.any() or inside.all():
            extent = "all" if inside.any() else "nothing"
            raise MapError(f"The region of the object is {extent} of what the model saw.")
        return Measured(self.of(heat[seen], inside))


def positive_heat(judged_heat: Array) -> Array:
    """The heat above 0; above its smallest value, where no value is 0 or negative."""
    return np.maximum(judged_heat - max(float(judged_heat.min()), 0.0), 0.0)


@dataclass(frozen=True, kw_only=True)
class PointingGame(LocalizationMetric):
    """1 if a pixel with the largest heat is in the region, else 0.

    Zhang et al., "Top-down Neural Attention by Excitation Backprop", IJCV 2018. Several pixels may
    have the largest heat; the details give the share of them that is inside. Cost: none.
    """

    name = "pointing_game"
    summary = "whether the hottest pixel is on the object"
    paper = "Zhang 2018"

    def of(self, heat: Array, inside: Array) -> float:
        """See the class."""
        return float(inside[heat == heat.max()].any())


@dataclass(frozen=True, kw_only=True)
class RelevanceMassAccuracy(LocalizationMetric):
    """The share of the positive heat that is in the region.

    Arras, Osman and Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of
    neural network explanations", Information Fusion 2022. If no value is 0 or negative, as in a map
    of scores, the smallest value counts as 0. Cost: none.
    """

    name = "relevance_mass_accuracy"
    summary = "the share of the heat that is on the object"
    paper = "Arras 2022"

    def of(self, heat: Array, inside: Array) -> float:
        """See the class."""
        positive = positive_heat(heat)
        if not positive.any():
            raise MapError("No heat is positive, so no share of it is on the object.")
        return float(positive[inside].sum() / positive.sum())


@dataclass(frozen=True, kw_only=True)
class RelevanceRankAccuracy(LocalizationMetric):
    """The share of the K hottest pixels that is in the region of K pixels.

    Arras, Osman and Samek 2022, see `RelevanceMassAccuracy`. Equal values count in proportion: so
    the result does not depend on the order of the pixels. Cost: none.
    """

    name = "relevance_rank_accuracy"
    summary = "the share of the hottest pixels, as many as the object has, that is on it"
    paper = "Arras 2022"

    def of(self, heat: Array, inside: Array) -> float:
        """See the class."""
        count = int(inside.sum())
        least = np.partition(heat, heat.size - count)[heat.size - count]
        above, equal = heat > least, heat == least
        # Of the pixels with the value at the limit, only some are among the hottest.
        rest = (count - above.sum()) / equal.sum()
        return float((inside[above].sum() + rest * inside[equal].sum()) / count)


@dataclass(frozen=True, kw_only=True)
class IoU(LocalizationMetric):
    """Intersection over union of the region and the pixels with heat at or above a quantile.

    The definition that weakly supervised localization uses, with a quantile in place of a share of
    the largest value (Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR
    2016). Cost: none.
    """

    name = "iou"
    summary = "how well the hottest pixels cover the object and nothing else"
    paper = "Zhou 2016"

    quantile: Annotated[
        Number, Option("SHARE", "Pixels at or above this quantile of the heat count as hot.")
    ] = 0.8

    def of(self, heat: Array, inside: Array) -> float:
        """See the class."""
        self.require(0 <= self.quantile <= 1, "a quantile between 0 and 1")
        hot = heat >= np.quantile(heat, self.quantile)
        return float((hot & inside).sum() / (hot | inside).sum())

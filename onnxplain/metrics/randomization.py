"""Metrics of whether a map depends on what the model has learned, and on the target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Annotated, ClassVar

import numpy as np

from onnxplain.errors import MapError, OptionError
from onnxplain.explainer import Explainer
from onnxplain.methods.options import Noise, Option, Whole, one_of
from onnxplain.methods.smoothgrad import noisy
from onnxplain.metrics.forgetting import Forgetful, LayerOrder, all_forgotten, forgetting
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Better, Measured, Metric
from onnxplain.metrics.options import MetricSeed, NrSamples, Similarity
from onnxplain.metrics.similarity import SIMILARITIES
from onnxplain.targets.classes import Class
from onnxplain.tensors import Array

Stages = Annotated[Whole, Option("COUNT", "Models to compare, each with more random layers.")]


@dataclass(frozen=True, kw_only=True)
class RandomizationMetric(Metric):
    """A metric of maps of another model, or for another class."""

    good: ClassVar[Better] = "lower"

    seed: MetricSeed = 0

    def heat(self, judged: Judged, explainer: Explainer | None = None) -> Array:
        """The map of the sample, by a model."""
        values = judged.again(judged.case.scene.x, explainer)
        return judged.heat_of(values[0])


def _varied(judged: Judged) -> Array:
    """The heat.

    Raises:
        MapError: it is the same everywhere.
    """
    if not np.ptp(judged.heat):
        raise MapError(f"The map of {judged.name} is the same everywhere: there is no likeness.")
    return judged.heat


@dataclass(frozen=True, kw_only=True)
class MPRT(RandomizationMetric):
    """The mean similarity of the map and those of models with more and more shuffled layers.

    The weights of a layer are shuffled, from the score back to the input (`layer_order` top_down).
    A map that is the same everywhere has the similarity 0.

    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. Cost: `stages` maps, each of
    another model, whose session must be opened.
    """

    name = "mprt"
    summary = "how alike the map stays while layers are made random"
    paper = "Adebayo 2018"
    cost = "stages maps (6), each of another model"
    misleads = (
        "maps with few large cells may be alike by chance, and single pixels of noise never are: "
        "compare smooth_mprt"
    )

    stages: Stages = 6
    layer_order: Annotated[
        LayerOrder,
        one_of(LayerOrder),
        Option("NAME", "top_down, bottom_up, or independent: one layer at a time."),
    ] = "top_down"
    similarity_func: Similarity = "spearman"

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        own = self.own(judged)
        found = [
            (one, self.like(own, self.of(judged, one)))
            for one in forgetting(judged.case.explainer, self.stages, self.seed, self.layer_order)
        ]
        similarities = [value for _, value in found]
        details = {
            "layers": [one.layers for one, _ in found],
            "nodes": [one.node for one, _ in found],
            "similarities": similarities,
        }
        return Measured(float(np.mean(similarities)), details)

    def own(self, judged: Judged) -> Array:
        """The map of the trained model."""
        return _varied(judged)

    def of(self, judged: Judged, forgetful: Forgetful) -> Array:
        """The map of another model."""
        return self.heat(judged, forgetful.explainer)

    def like(self, own: Array, other: Array) -> float:
        """The similarity of two maps; 0 where the other is the same everywhere."""
        return SIMILARITIES[self.similarity_func](own, other) if np.ptp(other) else 0.0


@dataclass(frozen=True, kw_only=True)
class SmoothMPRT(MPRT):
    """As `MPRT`, with each map averaged over noisy copies of the sample.

    The noise is Gaussian, with sigma = `noise_magnitude` · (max x − min x).

    Hedström et al., "Sanity Checks Revisited: An Exploration to Repair the Model Parameter
    Randomisation Test", 2023. Cost: nr_samples · (stages + 1) maps.
    """

    name = "smooth_mprt"
    summary = "mprt of maps that are averaged over noisy copies"
    paper = "Hedström 2023"
    cost = "nr_samples · (stages + 1) maps (70)"
    misleads = "averaging is a method of its own: it judges the smoothed map, not the map itself"

    nr_samples: NrSamples = 10
    noise_magnitude: Noise = 0.1

    def own(self, judged: Judged) -> Array:
        """See `MPRT`."""
        return self._mean(judged, None)

    def of(self, judged: Judged, forgetful: Forgetful) -> Array:
        """See `MPRT`."""
        return self._mean(judged, forgetful.explainer)

    def _mean(self, judged: Judged, explainer: Explainer | None) -> Array:
        fits = self.nr_samples >= 1 and self.noise_magnitude >= 0
        self.require(fits, "nr_samples >= 1 and noise_magnitude >= 0")
        copies = noisy(judged.case.scene, self.noise_magnitude, self.nr_samples, self.seed)
        values = judged.again(copies.make(slice(0, self.nr_samples)), explainer)
        mean: Array = np.mean([judged.heat_of(one) for one in values], axis=0)
        return mean


@dataclass(frozen=True, kw_only=True)
class EfficientMPRT(RandomizationMetric):
    """(ξ(random) − ξ(trained)) / ξ(trained): the rise of the map's entropy without the training.

    ξ is the entropy of the histogram of the map with `n_bins` bins, and random the model with all
    layers shuffled. No two maps are compared, so noise in them does not count.

    Hedström et al. 2023, see `SmoothMPRT`. Cost: 1 map of another model.
    """

    name = "efficient_mprt"
    summary = "how much more random the map is when all layers are made random"
    paper = "Hedström 2023"
    cost = "1 map of another model"
    good = "higher"
    misleads = "a map whose values have few levels has a small entropy, whatever it shows"

    n_bins: Annotated[Whole, Option("COUNT", "Bins of the histogram of the map's values.")] = 100

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        self.require(self.n_bins >= 2, "n_bins >= 2")
        every = all_forgotten(judged.case.explainer, self.seed)
        trained = histogram_entropy(_varied(judged), self.n_bins)
        random = histogram_entropy(self.heat(judged, every.explainer), self.n_bins)
        if not trained:
            raise MapError(f"The map of {judged.name} has no entropy that could rise.")
        return Measured((random - trained) / trained, {"trained": trained, "random": random})


def histogram_entropy(values: Array, bins: int) -> float:
    """The entropy of a histogram of the values, in nats."""
    counts, _ = np.histogram(values, bins=bins)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares @ np.log(shares))) + 0.0


@dataclass(frozen=True, kw_only=True)
class RandomLogit(RandomizationMetric):
    """The similarity of the map and that of another class, which `seed` draws.

    Sixt, Granz and Landgraf, "When Explanations Lie: Why Many Modified BP Attributions Fail", ICML
    2020. Cost: 1 map.
    """

    name = "random_logit"
    summary = "how alike the map is to that of another class"
    paper = "Sixt 2020"
    cost = "1 map"
    misleads = "classes that look alike, such as two dogs, have maps that are rightly alike"

    similarity_func: Similarity = "spearman"

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        target = judged.case.target
        if type(target) is not Class or not judged.made_by.needs_target:
            raise OptionError(
                "random_logit compares with the map of another class, so it is for classes of a "
                "classifier, and for methods whose map depends on the class."
            )
        count = prod(judged.case.explainer.answer_shape(judged.case.taken.x))
        if count < 2:
            raise OptionError("random_logit compares with another class, and there is only one.")
        drawn = int(np.random.default_rng(self.seed).integers(0, count - 1))
        other = drawn + (drawn >= target.index)
        values = judged.again(judged.case.scene.x, target=replace(target, index=other, label=None))
        heat = judged.heat_of(values[0])
        like = SIMILARITIES[self.similarity_func](_varied(judged), heat) if np.ptp(heat) else 0.0
        return Measured(like, {"other_class": other})

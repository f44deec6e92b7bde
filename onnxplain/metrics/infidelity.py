"""Infidelity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from onnxplain.errors import MapError
from onnxplain.execution.points import Blend, Feeds
from onnxplain.methods.base import InputMethod
from onnxplain.methods.occlusion import sides
from onnxplain.methods.options import Noise, Option, Score, Sizes, Switch, one_of
from onnxplain.methods.smoothgrad import noisy
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Measured, Metric
from onnxplain.metrics.options import MetricSeed, NrSamples, PerturbBaseline
from onnxplain.tensors import Array
from onnxplain.transforms.masks import Erase, box_feeds

_PerturbName = Literal["baseline", "noise"]


@dataclass(frozen=True, kw_only=True)
class Infidelity(Metric):
    """E[(β IᵀΦ − (S(x) − S(x − I)))²] over random changes I, where Φ is the map.

    With `perturb_func` baseline, a random window of `perturb_patch_size` gets the values of
    `perturb_baseline`; noise adds Gaussian noise of sigma = `noise` · (max x − min x). For values
    that are slopes, as those of `gradient`, IᵀΦ is the sum of I ⊙ Φ. For other methods the values
    of a part of the input are its part of the score, so for a window it is the sum of Φ there.
    With `normalise`, β is the factor that makes the error smallest, as maps of layers have no unit;
    else it is 1. The value is in squared units of the score.

    Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019. Cost:
    n_perturb_samples + 1 forwards.
    """

    name = "infidelity"
    summary = "how far the map is from telling what a random change does to the score"
    paper = "Yeh 2019"
    cost = "1 + n_perturb_samples forwards (101)"
    good = "lower"
    misleads = (
        "it has squared units of the score, so values of different models or targets do not "
        "compare; a map of zeros does well where the score hardly changes"
    )

    perturb_func: Annotated[
        _PerturbName,
        one_of(_PerturbName),
        Option("NAME", "What is done to the sample: baseline (in a window) or noise."),
    ] = "baseline"
    n_perturb_samples: NrSamples = 100
    perturb_baseline: PerturbBaseline = "black"
    perturb_patch_size: Annotated[
        Sizes, Option("PIXELS", "Window that is replaced; by default a fifth of each side.")
    ] = None
    noise: Noise = 0.05
    normalise: Annotated[Switch, Option("", "Scale the map so that the error is smallest.")] = True
    seed: MetricSeed = 0
    score: Score = "logit"

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        fits = self.n_perturb_samples >= 1 and self.noise >= 0 and self.seed >= 0
        self.require(fits, "n_perturb_samples >= 1, noise >= 0 and seed >= 0")
        changes = {"baseline": self._windows, "noise": self._noise}[self.perturb_func]
        told, scores = changes(judged)
        real = judged.case.score(self.score) - scores
        beta = 1.0
        if self.normalise:
            squared = float(told @ told)
            if not squared:
                raise MapError(
                    f"The map of {judged.name} is zero wherever the sample was changed, so its "
                    "infidelity cannot be scaled: use more n_perturb_samples."
                )
            beta = float(told @ real) / squared
        return Measured(float(np.mean((beta * told - real) ** 2)), {"scale": beta})

    def _noise(self, judged: Judged) -> tuple[Array, Array]:
        """IᵀΦ and the score for each noisy copy."""
        scene, phi = judged.case.scene, judged.on_input
        made = noisy(scene, self.noise, self.n_perturb_samples, self.seed)
        told = [
            np.sum((scene.x - made.make(slice(i, i + 1))).astype(np.float64) * phi)
            for i in range(made.count)
        ]
        return np.array(told), judged.case.scores(made, self.score)

    def _windows(self, judged: Judged) -> tuple[Array, Array]:
        """IᵀΦ and the score for each window."""
        scene = judged.case.scene
        baseline = judged.case.baseline(self.perturb_baseline)
        phi = judged.on_input
        if isinstance(judged.method, InputMethod) and judged.method.values_are_magnitudes:
            phi = phi * (scene.x.astype(np.float64) - baseline)
        window = sides("perturb_patch_size", self.perturb_patch_size, scene)
        random = np.random.default_rng(self.seed)
        boxes = {}
        for axis, size, length in zip(scene.spatial, window, scene.places, strict=True):
            start = random.integers(0, length - size + 1, self.n_perturb_samples)
            boxes[axis] = start, start + size
        ends = zip(*(np.stack(pair, axis=1) for pair in boxes.values()), strict=True)
        told = []
        for each in ends:
            part = [slice(None)] * len(scene.shape)
            for axis, (start, stop) in zip(boxes, each, strict=True):
                part[axis] = slice(start, stop)
            told.append(phi[tuple(part)].sum())
        feeds = Feeds.of(box_feeds(len(scene.shape), boxes))
        scores = judged.case.scores(Blend(Erase(scene.spatial), feeds, baseline), self.score)
        return np.array(told), scores

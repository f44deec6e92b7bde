"""Statistics of the gradient over noisy copies of the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Given
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.wants import FirstGradient, InputGradient
from onnxplain.formulas.namespace import Namespace, over_samples
from onnxplain.formulas.noise import normal
from onnxplain.methods.base import SampledMethod, Sums
from onnxplain.methods.gradient import InputGradientMethod, MagnitudeMethod
from onnxplain.methods.options import Noise, Samples, Seed


@dataclass(frozen=True, kw_only=True)
class NoiseMethod(SampledMethod):
    """A method that uses noisy copies of the sample."""

    cost = "1 + samples (50), each with a backward"

    noise: Noise = 0.15
    samples: Samples = 50
    seed: Seed = 0

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        fits = self.noise >= 0 and self.samples >= 1 and self.seed >= 0
        self.require(fits, "noise >= 0, samples >= 1 and seed >= 0")

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """The noisy copies."""
        return [Sampling(noisy(original.scene, self.noise, self.samples, self.seed))]


def noisy(scene: Scene, noise: float, samples: int, seed: int) -> Given:
    """Copies of the sample with Gaussian noise of sigma = `noise` · (max x − min x).

    The noise of copy i is that of `formulas.noise.normal` for sample i.
    """
    xp, x = scene.xp, scene.x
    axes = tuple(map(scene.from_end, range(1, len(scene.shape))))
    sigma = (xp.max(x, axes, keepdims=True) - xp.min(x, axes, keepdims=True)) * noise
    drawn, places = normal(xp, seed, scene.shape[1:]), np.arange(samples)
    return Given(samples, lambda part: x + sigma * drawn(xp.rows(places, part)))


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(NoiseMethod, MagnitudeMethod):
    """The mean of ∂S/∂x over noisy copies of the sample.

    The noise is Gaussian, with sigma = `noise` · (max x − min x). It is a formula of the seed, the
    copy and the element, in `formulas/noise.py`, so that an exported graph has the same noise. The
    heatmap is the largest absolute value over the channels.

    Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """

    name = "smoothgrad"
    summary = "the gradient averaged over noisy copies of the input"
    paper = "Smilkov 2017"
    wants = (InputGradient(),)

    def terms(self, xp: Namespace, original: Original, g: Any) -> Sums:
        """See `SampledMethod`."""
        return {"mean": over_samples(xp, g) / self.samples}


@dataclass(frozen=True, kw_only=True)
class SmoothGradSquared(NoiseMethod, InputGradientMethod):
    """The mean of (∂S/∂x)² over noisy copies of the sample, the same copies as in smoothgrad.

    Hooker et al., "A Benchmark for Interpretability Methods in Deep Neural Networks", NeurIPS 2019,
    after Smilkov et al. 2017.
    """

    name = "smoothgrad_squared"
    summary = "the squared gradient averaged over noisy copies of the input"
    paper = "Hooker 2019"
    values_are_magnitudes = True
    wants = (InputGradient(),)

    def terms(self, xp: Namespace, original: Original, g: Any) -> Sums:
        """See `SampledMethod`."""
        return {"mean": over_samples(xp, g**2) / self.samples}


@dataclass(frozen=True, kw_only=True)
class VarGrad(NoiseMethod, InputGradientMethod):
    """The variance of ∂S/∂x over noisy copies of the sample, the same copies as in smoothgrad.

    It is the mean squared distance from the mean: smoothgrad_squared minus the square of
    smoothgrad.

    Adebayo et al., "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to
    Parameter Values", ICLR workshops 2018.
    """

    name = "vargrad"
    summary = "how much the gradient varies over noisy copies of the input"
    paper = "Adebayo 2018"
    values_are_magnitudes = True
    wants = (InputGradient(), FirstGradient())

    def terms(self, xp: Namespace, original: Original, g: Any, first: Any) -> Sums:
        """See `SampledMethod`."""
        # The difference of two large sums would lose a small variance.
        return {
            "shifted": over_samples(xp, g - first),
            "squares": over_samples(xp, (g - first) ** 2),
        }

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """See the class."""
        return sums["squares"] / self.samples - (sums["shifted"] / self.samples) ** 2

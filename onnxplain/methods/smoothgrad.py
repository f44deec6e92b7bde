"""Statistics of the gradient over noisy copies of the sample."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.points import Given, target_chunks
from onnxplain.execution.subject import Subject
from onnxplain.methods.base import Maps, SampledMethod
from onnxplain.methods.gradient import InputGradientMethod, MagnitudeMethod
from onnxplain.methods.options import Noise, Samples, Seed
from onnxplain.tensors import Array, FloatArray


class Moments:
    """Mean, mean of squares and variance of arrays that are seen once, in float64."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._count = 0
        self.mean: Array = np.zeros(())
        self._spread: Array = np.zeros(())

    def add(self, values: Array) -> None:
        """See another array."""
        self._count += 1
        wide = values.astype(np.float64)
        # Welford's way: a difference of two large sums would lose a small variance.
        before = wide - self.mean
        self.mean = self.mean + before / self._count
        self._spread = self._spread + before * (wide - self.mean)

    @property
    def variance(self) -> Array:
        """Mean squared distance from the mean."""
        return np.asarray(self._spread / self._count)

    @property
    def mean_of_squares(self) -> Array:
        """Mean of the squares."""
        return np.asarray(self.variance + self.mean**2)


@dataclass(frozen=True, kw_only=True)
class NoiseMethod(InputGradientMethod, SampledMethod):
    """A method that looks at gradients at noisy copies of the sample."""

    cost: ClassVar[str] = "1 + samples (50), each with a backward"

    noise: Noise = 0.15
    samples: Samples = 50
    seed: Seed = 0

    @abstractmethod
    def statistic(self, seen: Moments) -> Array:
        """What is shown of the gradients."""

    def maps(self, subject: Subject) -> Maps:
        """See `Method`.

        Raises:
            OptionError: an option is out of its range.
        """
        if self.noise < 0 or self.samples < 1 or self.seed < 0:
            raise OptionError(f"{self.name} takes noise >= 0, samples >= 1 and seed >= 0.")
        points = noisy(subject.x, self.noise, self.samples, self.seed)
        spent = Counter(forward_passes=1)
        values = []
        # One group after the other: moments of all targets at once would fill the memory.
        for some in target_chunks(len(subject.scores)):
            seen = Moments()
            for found in subject.gradients(points, some):
                spent.update(found.passes)
                for gradients in found.values.swapaxes(0, 1):
                    seen.add(gradients)
            values.append(self.statistic(seen).astype(np.float32))
        return Maps(np.concatenate(values), dict(spent))


def noisy(x: FloatArray, noise: float, samples: int, seed: int) -> Given:
    """Copies of `x`, (1, ...), with Gaussian noise of sigma = `noise` · (max x − min x).

    Copy i is drawn by `numpy.random.default_rng((seed, i)).standard_normal` in float32, whatever
    batch it is in.
    """
    sigma = np.float32(noise * float(np.ptp(x)))

    def copy(i: int) -> FloatArray:
        random = np.random.default_rng((seed, i))
        return x + sigma * random.standard_normal(x.shape, np.float32)

    return Given(
        samples, lambda part: np.concatenate([copy(i) for i in range(part.start, part.stop)])
    )


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(MagnitudeMethod, NoiseMethod):
    """The mean of ∂S/∂x over noisy copies of the sample.

    The noise is Gaussian, with sigma = `noise` · (max x − min x); `numpy.random.default_rng((seed,
    i))` draws that of copy i. The heatmap is the largest absolute value over the channels.

    Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """

    name: ClassVar[str] = "smoothgrad"
    summary: ClassVar[str] = "the gradient averaged over noisy copies of the input"
    paper: ClassVar[str] = "Smilkov 2017"

    def statistic(self, seen: Moments) -> Array:
        """See `NoiseMethod`."""
        return seen.mean


@dataclass(frozen=True, kw_only=True)
class SmoothGradSquared(NoiseMethod):
    """The mean of (∂S/∂x)² over noisy copies of the sample, which are those of smoothgrad.

    Hooker et al., "A Benchmark for Interpretability Methods in Deep Neural Networks", NeurIPS 2019,
    after Smilkov et al. 2017.
    """

    name: ClassVar[str] = "smoothgrad_squared"
    summary: ClassVar[str] = "the squared gradient averaged over noisy copies of the input"
    paper: ClassVar[str] = "Hooker 2019"

    def statistic(self, seen: Moments) -> Array:
        """See `NoiseMethod`."""
        return seen.mean_of_squares


@dataclass(frozen=True, kw_only=True)
class VarGrad(NoiseMethod):
    """The variance of ∂S/∂x over noisy copies of the sample, which are those of smoothgrad.

    It is the mean squared distance from the mean: smoothgrad_squared less the square of smoothgrad.

    Adebayo et al., "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to
    Parameter Values", ICLR workshops 2018.
    """

    name: ClassVar[str] = "vargrad"
    summary: ClassVar[str] = "how much the gradient varies over noisy copies of the input"
    paper: ClassVar[str] = "Adebayo 2018"

    def statistic(self, seen: Moments) -> Array:
        """See `NoiseMethod`."""
        return seen.variance

"""Blur integrated gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Given
from onnxplain.methods.integrated import Path, PathMethod
from onnxplain.methods.options import Number, Option
from onnxplain.tensors import Array


class Scales:
    """The path γ(α): a blurred sample, whose sigma falls from `widest` at α = 0 to 0 at α = 1.

    A Gaussian blur multiplies a cosine of ω radians per pixel by exp(−σ²ω²/2). With the cosines of
    the DCT, this is the exact Gaussian blur of a picture mirrored at its borders, for every sigma;
    its derivative is exact too.
    """

    def __init__(self, scene: Scene, widest: float) -> None:
        """Decompose the sample into cosines along its spatial axes; numpy does so in float64."""
        self._xp, self._widest = scene.xp, widest
        bases = {length: scene.xp.constant(cosines(length)) for length in set(scene.places)}
        backward = {length: scene.xp.constant(cosines(length).T) for length in set(scene.places)}
        self._amplitudes = scene.xp.wide(scene.x)
        self._backward = {}
        energy: Array = np.zeros([1] * len(scene.shape))
        for axis, length in zip(map(scene.from_end, scene.spatial), scene.places, strict=True):
            self._amplitudes = scene.xp.along(bases[length], self._amplitudes, axis)
            self._backward[axis] = backward[length]
            along = [-1 if i == axis else 1 for i in range(-len(scene.shape), 0)]
            frequencies = np.pi * np.arange(length) / length
            energy = energy + (frequencies**2).reshape(along)
        self._energy = scene.xp.constant(energy)
        self.start = self._at(scene.xp.constant(np.zeros([1] * len(scene.shape))))

    def points(self, shares: Array) -> Given:
        """See `Path`."""
        return Given(len(shares), lambda part: self._at(self._xp.rows(shares, part)))

    def speed(self, shares: Any) -> Any:
        """See `Path`."""
        sigma = self._sigma(shares)
        return self._picture(self._widest * sigma * self._energy * self._damping(sigma))

    def blurred(self, sigma: Any) -> Any:
        """The sample blurred with each sigma, (b, 1, ...)."""
        return self._picture(self._damping(sigma))

    def _at(self, share: Any) -> Any:
        return self._xp.real(self.blurred(self._sigma(share)))

    def _sigma(self, share: Any) -> Any:
        return self._widest * (1 - share)

    def _damping(self, sigma: Any) -> Any:
        return self._xp.exp(-(sigma**2) * self._energy / 2)

    def _picture(self, factors: Any) -> Any:
        """The sum of the cosines, each multiplied by a factor."""
        total = self._amplitudes * factors
        for axis, matrix in self._backward.items():
            total = self._xp.along(matrix, total, axis)
        return total


def cosines(length: int) -> Array:
    """The matrix of the orthonormal cosine transform (DCT-II), with one frequency in each row."""
    place = (np.arange(length) + 0.5) / length
    basis = np.sqrt(2 / length) * np.cos(np.pi * np.arange(length)[:, None] * place)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)


@dataclass(frozen=True, kw_only=True)
class BlurIG(PathMethod):
    """∫ g(γ(α)) ⊙ ∂γ/∂α dα, where γ(α) is the sample blurred with sigma = (1 − α) `max_sigma`.

    The path needs no baseline: it starts at a picture without details. The blur is Gaussian, in
    pixels of the model's input, with a picture mirrored at its borders. `steps`, `rule` and
    `tolerance` are as in integrated_gradients; the values add up to S(x) − S(x blurred with
    `max_sigma`).

    Xu, Venugopalan and Sundararajan, "Attribution in Scale and Space", CVPR 2020.
    """

    name = "blur_ig"
    summary = "integrated gradients along a path of less and less blur"
    paper = "Xu 2020"
    cost = "2 + steps (50), each with a backward"

    max_sigma: Annotated[Number, Option("PIXELS", "Widest blur of the path of blur_ig.")] = 50.0

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        super().check(scene)
        self.require(self.max_sigma > 0, "max_sigma > 0, in pixels")
        if not scene.has_spatial_axes:
            raise OptionError(
                f"{self.name} blurs pictures and signals, and this input of shape {scene.shape} "
                "is neither: use integrated_gradients with the baseline zeros."
            )

    def paths(self, scene: Scene) -> Sequence[Path]:
        """The path from the blurred sample to the sample."""
        scales = Scales(scene, self.max_sigma)
        return [Path(scales.start, scales.points, scales.speed)]

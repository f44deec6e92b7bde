"""A picture made by gradient ascent: its Fourier coefficients, random transforms and steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxplain.tensors import Array

_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
"""Correlation of red, green and blue in photographs: a root of their covariance (Olah 2017)."""

_CONTRAST = 0.25
"""Contrast of a picture with coefficients of size 1; chosen so that steps suit the sigmoid."""

_CLEAR = 0.02
"""Distance of the start from black and white, where the gradient of the sigmoid is almost 0."""


class FourierImage:
    """A picture (channels, rows, columns) between two colors, given by Fourier coefficients.

    picture = low + (high − low) · sigmoid(M F⁻¹(c / f)), with the coefficients c, their frequency
    f, and the matrix of colors M. So a step changes all frequencies by a similar amount, and
    changes red, green and blue together.
    """

    def __init__(self, start: Array, low: Array, high: Array) -> None:
        """Start from a picture; `low` and `high` have its shape."""
        channels, *self._size = start.shape
        self._low, self._span = low.astype(np.float64), high.astype(np.float64) - low
        rows, columns = self._size
        frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
        lowest = 1 / max(rows, columns)
        self._scale = _CONTRAST * np.sqrt(rows * columns) / np.maximum(frequency, lowest)
        self._colors = np.eye(channels)
        if channels == len(_COLORS):
            self._colors = _COLORS / np.linalg.norm(_COLORS, axis=0).max()
        share = np.clip((start - self._low) / self._span, _CLEAR, 1 - _CLEAR)
        wave = np.tensordot(np.linalg.inv(self._colors), np.log(share / (1 - share)), axes=1)
        self.coefficients: Array = np.fft.rfft2(wave) / self._scale

    def picture(self) -> Array:
        """The current picture, (channels, rows, columns)."""
        return self._low + self._span * self._share()

    def gradient(self, by_picture: Array) -> Array:
        """The gradient with respect to the coefficients, from that with respect to the picture.

        The real and imaginary parts hold the gradients of the coefficients' parts.
        """
        share = self._share()
        by_wave = np.tensordot(
            self._colors.T, by_picture * self._span * share * (1 - share), axes=1
        )
        rows, columns = self._size
        # Only half of the spectrum is stored. A column counts twice if the other half holds its
        # mirror image.
        twice = np.full(columns // 2 + 1, 2.0)
        twice[0] = 1
        if columns % 2 == 0:
            twice[-1] = 1
        return np.asarray(np.fft.rfft2(by_wave) * twice * self._scale / (rows * columns))

    def _share(self) -> Array:
        wave = np.fft.irfft2(self.coefficients * self._scale, s=tuple(self._size))
        return np.asarray(1 / (1 + np.exp(-np.tensordot(self._colors, wave, axes=1))))


@dataclass(frozen=True, eq=False)
class RandomTransform:
    """A small random shift and zoom of a picture: bilinear, edges clamped."""

    down: Array
    across: Array

    @classmethod
    def plain(cls, size: tuple[int, int]) -> RandomTransform:
        """The transform that changes nothing."""
        down, across = (_hats(length, 0, 1) for length in size)
        return cls(down, across)

    @classmethod
    def drawn(
        cls, size: tuple[int, int], jitter: int, zoom: float, random: np.random.Generator
    ) -> RandomTransform:
        """A random shift of up to `jitter` pixels along each axis, and a zoom up to 1 ± `zoom`."""
        factor = random.uniform(1 - zoom, 1 + zoom)
        shifts = random.integers(-jitter, jitter + 1, 2)
        down, across = (
            _hats(length, shift, factor) for length, shift in zip(size, shifts, strict=True)
        )
        return cls(down, across)

    def see(self, picture: Array) -> Array:
        """The transformed picture, of the same shape."""
        return np.asarray(self.down @ picture @ self.across.T)

    def back(self, gradient: Array) -> Array:
        """The gradient at the picture, from the gradient at the transformed picture."""
        return np.asarray(self.down.T @ gradient @ self.across)


class Adam:
    """The Adam optimizer for gradient ascent; all steps have about the same size.

    Kingma and Ba, ICLR 2015.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._mean: Array | float = 0.0
        self._square: Array | float = 0.0
        self._count = 0

    def step(self, gradient: Array) -> Array:
        """The step for this gradient; a complex number is treated as two real numbers."""
        real = gradient.view(np.float64)
        self._count += 1
        self._mean = 0.9 * self._mean + 0.1 * real
        self._square = 0.999 * self._square + 0.001 * real**2
        mean = self._mean / (1 - 0.9**self._count)
        spread = np.sqrt(self._square / (1 - 0.999**self._count))
        moved: Array = np.ascontiguousarray(self._rate * mean / (spread + 1e-8))
        return moved.view(gradient.dtype)


def _hats(length: int, shift: int, factor: float) -> Array:
    """Bilinear weights of the input pixels for each output pixel of a row, (length, length)."""
    middle = (length - 1) / 2
    place = np.clip((np.arange(length) - middle) / factor + middle + shift, 0, length - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(length))))

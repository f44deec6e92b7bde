"""Resampling along one axis, in continuous coordinates where pixel i covers [i, i + 1)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxplain.tensors import Array, FloatArray

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]


_BLOCK_SPAN = 16
"""Number of source pixels that a block covers beyond the taps of its first output pixel.

A block's matrix has zeros where its output pixels read different source pixels. One product for
a block is still faster than one for each output pixel."""

_ONE_THREAD = 2**18
"""Number of multiplications in a product that OpenBLAS still computes on one thread. More threads
would have to wait for cores, because the threads of an ONNX Runtime session keep them busy for some
time after a run."""


@dataclass(frozen=True)
class Block:
    """Neighboring output pixels `out`: the matrix `weights` times the source pixels `source`."""

    out: slice
    source: slice
    weights: FloatArray


@dataclass(frozen=True)
class Taps:
    """Each output pixel as a weighted sum of neighboring source pixels.

    Output pixel i is the sum over k of weights[i, k] * source[first[i] + k].
    `first` is (n_out,) and does not decrease, `weights` is (n_out, taps) float32 with rows that
    sum to 1.
    """

    first: Indices
    weights: FloatArray

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The same weights as matrices, one for each block of neighboring output pixels."""
        taps = self.weights.shape[1]
        blocks, start = [], 0
        while start < len(self.first):
            low = int(self.first[start])
            stop = int(np.searchsorted(self.first, low + _BLOCK_SPAN, side="right"))
            first, weights = self.first[start:stop] - low, self.weights[start:stop]
            matrix = np.zeros((stop - start, int(first[-1]) + taps), np.float32)
            matrix[np.arange(stop - start)[:, None], first[:, None] + np.arange(taps)] = weights
            blocks.append(Block(slice(start, stop), slice(low, low + matrix.shape[1]), matrix))
            start = stop
        return tuple(blocks)

    def part(self, out: slice) -> tuple[Taps, slice]:
        """The taps of some neighboring output pixels, and the source pixels that those read."""
        first = self.first[out]
        low, stop = int(first[0]), int(first[-1]) + self.weights.shape[1]
        return Taps(first - low, self.weights[out]), slice(low, stop)

    def after(self, inner: Taps) -> Taps:
        """Combine `inner`, then these taps on its output pixels, to taps on the source of `inner`.

        Source pixels whose weight is 0 for every output pixel are not read.
        """
        pixels = self.first[:, None] + np.arange(self.weights.shape[1])
        source = inner.first[pixels][..., None] + np.arange(inner.weights.shape[1])
        weights = self.weights[..., None].astype(np.float64) * inner.weights[pixels]
        row, tap, step = np.nonzero(weights)
        read = source[row, tap, step]
        low = np.full(len(self.first), read.max())
        high = np.zeros_like(low)
        np.minimum.at(low, row, read)
        np.maximum.at(high, row, read)
        taps = int((high - low).max()) + 1
        first = np.minimum(low, read.max() + 1 - taps)
        merged = np.zeros((len(first), taps))
        np.add.at(merged, (row, read - first[row]), weights[row, tap, step])
        return Taps(first, merged.astype(np.float32))

    def apply(self, array: Array, axis: int) -> FloatArray:
        """Resample `array` along `axis`; the result is float32 and has n_out pixels there.

        Along the first axis, integers become float32 block by block, to save memory.
        """
        if axis == 0:
            rows = np.empty((len(self.first), *array.shape[1:]), np.float32)
            flat = rows.reshape(len(rows), -1)
            for block in self.blocks:
                source = array[block.source].reshape(block.weights.shape[1], -1)
                _multiply(block.weights, source.astype(np.float32, copy=False), flat[block.out])
            return rows
        moved = np.ascontiguousarray(np.moveaxis(array, axis, -1), np.float32)
        lines = moved.reshape(-1, moved.shape[-1])
        out = np.empty((len(lines), len(self.first)), np.float32)
        for block in self.blocks:
            _multiply(block.weights, lines[:, block.source].T, out[:, block.out].T)
        return np.moveaxis(out.reshape(*moved.shape[:-1], -1), -1, axis)


@dataclass(frozen=True)
class Kernel:
    """A resampling filter: `shape` gives the weight at distances up to `reach`, where it is 0."""

    shape: Callable[[Floats], Floats]
    reach: float


def _cubic(x: Floats) -> Floats:
    """Keys' cubic convolution with a = -1/2, the third-order one."""
    near: Floats = (1.5 * x - 2.5) * x * x + 1
    far: Floats = ((-0.5 * x + 2.5) * x - 4) * x + 2
    curve: Floats = np.where(x < 1, near, far)
    return curve


def _lanczos(x: Floats) -> Floats:
    """A sinc multiplied by a sinc three times as wide."""
    window: Floats = np.sinc(x) * np.sinc(x / 3)
    return window


TRIANGLE = Kernel(lambda x: 1 - x, 1)
CUBIC = Kernel(_cubic, 2)
LANCZOS3 = Kernel(_lanczos, 3)


def linear(size: int, centers: Floats) -> Taps:
    """Interpolate linearly between pixel centers; beyond the outermost, repeat their value."""
    held = np.clip(centers, 0.5, size - 0.5)
    first = np.floor(held - 0.5)
    return _taps(size, first, first + 2, lambda source: 1 - np.abs(source - held[:, None]))


def area(size: int, edges: Floats) -> Taps:
    """Average the pixels between consecutive `edges` (n_out + 1,), weighted by their overlap."""
    low, high = (np.clip(side, 0, size)[:, None] for side in (edges[:-1], edges[1:]))

    def overlap(source: Floats) -> Floats:
        shared: Floats = np.minimum(source + 0.5, high) - np.maximum(source - 0.5, low)
        return shared

    return _taps(size, np.floor(low[:, 0]), np.ceil(high[:, 0]), overlap)


def antialiased(size: int, new_size: int, kernel: Kernel) -> Taps:
    """Resize `size` pixels to `new_size` as Pillow does: shrinking widens the kernel.

    Only source pixels whose rounded center is within the kernel's reach count. Their weights are
    scaled to sum to 1, also at a border, where a part of the kernel has no pixels.
    """
    step = size / new_size
    stretch = max(step, 1.0)
    centers = (np.arange(new_size) + 0.5) * step
    reach = kernel.reach * stretch

    def weigh(source: Floats) -> Floats:
        return kernel.shape(np.minimum(np.abs(source - centers[:, None]) / stretch, kernel.reach))

    return _taps(size, np.trunc(centers - reach + 0.5), np.trunc(centers + reach + 0.5), weigh)


def _multiply(weights: FloatArray, source: FloatArray, out: FloatArray) -> None:
    """Write weights @ source to `out`, in pieces so small that BLAS uses one thread."""
    columns = max(1, _ONE_THREAD // weights.size)
    for start in range(0, source.shape[1], columns):
        piece = slice(start, start + columns)
        np.matmul(weights, source[:, piece], out=out[:, piece])


def _taps(size: int, first: Floats, stop: Floats, weigh: Callable[[Floats], Floats]) -> Taps:
    """Taps on the pixels from `first` up to, not including, `stop`, weighed at their centers."""
    first, stop = np.maximum(first, 0), np.minimum(stop, size)
    taps = int((stop - first).max())
    start = np.minimum(first, size - taps)
    source = start[:, None] + np.arange(taps)
    inside = (source >= first[:, None]) & (source < stop[:, None])
    weights = np.where(inside, weigh(source + 0.5), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return Taps(start.astype(np.intp), weights.astype(np.float32))

"""The array namespace of numpy; it computes in float64 if the arrays are float64."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from onnxplain.formulas.namespace import Axes
from onnxplain.interpolation import interpolation
from onnxplain.tensors import Array


class NumpyNamespace:
    """See `Namespace`."""

    abs = staticmethod(np.abs)
    sqrt = staticmethod(np.sqrt)
    exp = staticmethod(np.exp)
    tanh = staticmethod(np.tanh)
    maximum = staticmethod(np.maximum)
    clip = staticmethod(np.clip)
    where = staticmethod(np.where)
    matmul = staticmethod(np.matmul)
    combined = staticmethod(np.matmul)
    log = staticmethod(np.log)
    cos = staticmethod(np.cos)
    sin = staticmethod(np.sin)
    bit_and = staticmethod(np.bitwise_and)
    bit_xor = staticmethod(np.bitwise_xor)
    shifted = staticmethod(np.right_shift)

    @staticmethod
    def sum(a: Array, axis: Axes, keepdims: bool = False) -> Array:
        """See `Namespace`; without a copy if the axis has size 1."""
        if not keepdims and isinstance(axis, int) and a.shape[axis] == 1:
            return np.squeeze(a, axis)
        return np.asarray(a.sum(axis=axis, keepdims=keepdims))

    @staticmethod
    def mean(a: Array, axis: Axes, keepdims: bool = False) -> Array:
        """See `Namespace`."""
        return np.asarray(a.mean(axis=axis, keepdims=keepdims))

    @staticmethod
    def max(a: Array, axis: Axes, keepdims: bool = False) -> Array:
        """See `Namespace`."""
        return np.asarray(a.max(axis=axis, keepdims=keepdims))

    @staticmethod
    def min(a: Array, axis: Axes, keepdims: bool = False) -> Array:
        """See `Namespace`."""
        return np.asarray(a.min(axis=axis, keepdims=keepdims))

    @staticmethod
    def sigmoid(a: Array) -> Array:
        """See `Namespace`; without overflow."""
        small = np.exp(-np.abs(a))
        return np.asarray(np.where(a >= 0, 1, small) / (1 + small))

    @staticmethod
    def softmax(a: Array, axis: int) -> Array:
        """See `Namespace`."""
        powers = np.exp(a - a.max(axis=axis, keepdims=True))
        return np.asarray(powers / powers.sum(axis=axis, keepdims=True))

    @staticmethod
    def weighted(weights: Array, a: Array) -> Array:
        """See `Namespace`."""
        return np.asarray((weights * a).sum(axis=-3))

    @staticmethod
    def flatten(a: Array) -> Array:
        """See `Namespace`."""
        return a.reshape(len(a), -1)

    @staticmethod
    def parts(a: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        """See `Namespace`."""
        rows = np.split(a, np.cumsum([prod(shape) for shape in shapes])[:-1], axis=1)
        return [row.reshape(len(a), *shape) for row, shape in zip(rows, shapes, strict=True)]

    @staticmethod
    def take(a: Array, index: Array | int) -> Array:
        """See `Namespace`."""
        return np.asarray(a[np.arange(len(a)), index])

    @staticmethod
    def ranked(a: Array, codes: Array) -> Array:
        """See `Namespace`; of equal elements, the first counts as larger."""
        if (codes >= 0).all():
            return codes
        order = np.argsort(-a, axis=-1, kind="stable")
        places = order[np.arange(len(a)), np.maximum(-1 - codes, 0)]
        return np.where(codes < 0, places, codes)

    @staticmethod
    def stack(arrays: Sequence[Array]) -> Array:
        """See `Namespace`."""
        return np.stack(arrays, axis=1)

    @staticmethod
    def percentile(a: Array, share: float) -> Array:
        """See `Namespace`."""
        every = tuple(range(1, a.ndim))
        return np.asarray(np.percentile(a, share, axis=every, keepdims=True), a.dtype)

    @staticmethod
    def resize(a: Array, size: tuple[int, int]) -> Array:
        """See `Namespace`."""
        down, across = (
            interpolation(new, old).astype(a.dtype)
            for new, old in zip(size, a.shape[-2:], strict=True)
        )
        return np.asarray(down @ a @ across.T)

    @staticmethod
    def along(matrix: Array, a: Array, axis: int) -> Array:
        """See `Namespace`."""
        return np.moveaxis(np.tensordot(matrix, a, axes=(1, axis)), 0, axis)

    @staticmethod
    def constant(a: Array) -> Array:
        """See `Namespace`."""
        return a

    @staticmethod
    def filled(a: Array, shape: tuple[int, ...]) -> Array:
        """See `Namespace`."""
        return np.ascontiguousarray(np.broadcast_to(a, shape), np.float32)

    @staticmethod
    def rows(a: Array, index: slice | Array) -> Array:
        """See `Namespace`; a slice chooses some of the samples."""
        return np.asarray(a[index])

    @staticmethod
    def true_places(condition: Array) -> tuple[Array, int]:
        """See `Namespace`."""
        places = np.flatnonzero(condition)
        return places, len(places)

    @staticmethod
    def one_hot(index: Array, count: int) -> Array:
        """See `Namespace`."""
        return np.equal.outer(index, np.arange(count)).astype(np.float32)

    @staticmethod
    def first_largest(a: Array, axis: int) -> Array:
        """See `Namespace`."""
        found = np.zeros(a.shape, np.float32)
        np.put_along_axis(found, a.argmax(axis, keepdims=True), 1, axis)
        return found

    @staticmethod
    def unflattened(a: Array, shape: tuple[int, ...]) -> Array:
        """See `Namespace`."""
        return a.reshape(*a.shape[:-1], *shape)

    @staticmethod
    def merged(a: Array) -> Array:
        """See `Namespace`."""
        return a.reshape(*a.shape[:-2], -1)

    @staticmethod
    def transposed(a: Array) -> Array:
        """See `Namespace`."""
        return a.swapaxes(-1, -2)

    @staticmethod
    def whole(a: Any) -> Array:
        """See `Namespace`."""
        return np.asarray(a, np.int64)

    @staticmethod
    def real(a: Array) -> Array:
        """See `Namespace`."""
        return a.astype(np.float32)

    @staticmethod
    def wide(a: Array) -> Array:
        """See `Namespace`."""
        return a.astype(np.float64)

    @staticmethod
    def principal(a: Array) -> tuple[Array, Array]:
        """See `Namespace`."""
        cells = a.reshape(*a.shape[:-2], -1).swapaxes(-1, -2)
        _, strengths, directions = np.linalg.svd(cells, full_matrices=False)
        projected = (cells @ directions[..., 0, :, None]).reshape(*a.shape[:-3], *a.shape[-2:])
        total = np.maximum((strengths**2).sum(axis=-1), np.finfo(a.dtype).tiny)
        return projected, np.asarray(strengths[..., 0] ** 2 / total)

    @staticmethod
    def leading(a: Array) -> tuple[Array, Array]:
        """See `Namespace`."""
        values, vectors = np.linalg.eigh(a)
        return values[..., -1:], vectors[..., -1] * a.any(axis=-1)


NUMPY = NumpyNamespace()

"""The array namespace `xp` that formulas are written for, and functions that use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Axes = int | tuple[int, ...]


class Namespace(Protocol):
    """Functions of arrays; axes are negative, and `a` is an array of the namespace.

    In formulas of changed samples, numpy's arrays are for one picture. The arrays of a graph have
    one more axis, the first, for many pictures, except those that are the same for all pictures.
    """

    def sum(self, a: Any, axis: Axes, keepdims: bool = False) -> Any:
        """Sum over axes."""

    def mean(self, a: Any, axis: Axes, keepdims: bool = False) -> Any:
        """Mean over axes."""

    def max(self, a: Any, axis: Axes, keepdims: bool = False) -> Any:
        """Largest value over axes."""

    def min(self, a: Any, axis: Axes, keepdims: bool = False) -> Any:
        """Smallest value over axes."""

    def abs(self, a: Any) -> Any:
        """Absolute values."""

    def sqrt(self, a: Any) -> Any:
        """Square roots."""

    def exp(self, a: Any) -> Any:
        """Exponentials."""

    def sigmoid(self, a: Any) -> Any:
        """1 / (1 + exp(−a))."""

    def tanh(self, a: Any) -> Any:
        """Hyperbolic tangents."""

    def softmax(self, a: Any, axis: int) -> Any:
        """exp(a) / Σ exp(a) along one axis."""

    def maximum(self, a: Any, b: Any) -> Any:
        """The larger of two values, elementwise."""

    def clip(self, a: Any, low: Any, high: Any) -> Any:
        """Values limited to `low` and `high`, elementwise."""

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """`a` where a condition holds, else `b`."""

    def matmul(self, a: Any, b: Any) -> Any:
        """Matrix products over the last two axes."""

    def weighted(self, weights: Any, a: Any) -> Any:
        """Σ_k w_k A^k, (..., rows, columns).

        `weights` are (..., channels, 1, 1), or one for each cell, as `a`.
        """

    def combined(self, weights: Any, a: Any) -> Any:
        """Σ_k w_k A^k, (..., cells), from (..., channels) and (channels, cells)."""

    def flatten(self, a: Any) -> Any:
        """Each sample as one row: (N, ...) becomes (N, elements)."""

    def parts(self, a: Any, shapes: Sequence[tuple[int, ...]]) -> Sequence[Any]:
        """Rows (N, elements) split into one array (N, *shape) for each shape, in order."""

    def take(self, a: Any, index: Any) -> Any:
        """One element of each row, (N,), from (N, elements).

        `index` is an int, the same for all rows, or int64 (N,), one for each row. With an int, `a`
        may be (N, elements, ...), and the result is (N, ...).
        """

    def ranked(self, a: Any, codes: Any) -> Any:
        """Indices into the rows of `a`, int64 (N,), from `codes`, int64 (N,).

        A code of 0 or more is the index itself. −1 means the index of the largest element, −2 the
        index of the second largest, and so on.
        """

    def stack(self, arrays: Sequence[Any]) -> Any:
        """Arrays (N, ...) of one shape as one array (N, arrays, ...)."""

    def percentile(self, a: Any, share: float) -> Any:
        """The percentile of each sample's elements, (N, 1, ...), with linear interpolation.

        `share` is 0 to 100.
        """

    def resize(self, a: Any, size: tuple[int, int]) -> Any:
        """Bilinear resizing of the last two axes, with half-pixel centers and clamped edges."""

    def along(self, matrix: Any, a: Any, axis: int) -> Any:
        """The product of a matrix, (m, n), and `a` along an axis of size n, which becomes m."""

    def constant(self, a: Any) -> Any:
        """An array of numpy that is the same for all pictures; a graph stores it once."""

    def filled(self, a: Any, shape: tuple[int, ...]) -> Any:
        """An array that broadcasts to `shape`; numpy copies it to this shape, as float32."""

    def rows(self, a: Any, index: Any) -> Any:
        """Some entries of an array of samples, (b, ...) from (samples, ...).

        `index` is what chooses some of the samples, or the indices of the entries, (b,).
        """

    def true_places(self, condition: Any) -> tuple[Any, Any]:
        """Where a condition, (places,), holds: the indices, (count,), and their count.

        In a graph the count is the largest of all pictures, and there are −1 after the indices of
        the others.
        """

    def one_hot(self, index: Any, count: int) -> Any:
        """Rows of `count` numbers, 1 at the index and else 0; float32. An index of −1 has no 1."""

    def first_largest(self, a: Any, axis: int) -> Any:
        """1 at the first of the largest elements along an axis and else 0; float32, as `a`."""

    def unflattened(self, a: Any, shape: tuple[int, ...]) -> Any:
        """The last axis replaced by axes of the sizes `shape`."""

    def merged(self, a: Any) -> Any:
        """The last two axes, whose sizes must be known, as one."""

    def transposed(self, a: Any) -> Any:
        """The last two axes in the other order."""

    def log(self, a: Any) -> Any:
        """Natural logarithms."""

    def cos(self, a: Any) -> Any:
        """Cosines."""

    def sin(self, a: Any) -> Any:
        """Sines."""

    def whole(self, a: Any) -> Any:
        """Integers as int64; operators with other integers stay integers."""

    def bit_and(self, a: Any, b: int) -> Any:
        """The bits that two integers share."""

    def bit_xor(self, a: Any, b: Any) -> Any:
        """The bits that one of two integers has."""

    def shifted(self, a: Any, bits: int) -> Any:
        """Non-negative integers, divided by 2 ** `bits` and rounded down."""

    def real(self, a: Any) -> Any:
        """Numbers as float32."""

    def wide(self, a: Any) -> Any:
        """Numbers as float64; a graph leaves them in float32."""

    def principal(self, a: Any) -> tuple[Any, Any]:
        """Each volume (..., channels, rows, columns) projected on its first principal direction.

        The values are not centered. Returns the map (..., rows, columns), whose sign is arbitrary,
        and the direction's share of the sum of squares, (...).
        """

    def leading(self, a: Any) -> tuple[Any, Any]:
        """The largest eigenvalue of each symmetric matrix (..., n, n), and its eigenvector.

        Returns arrays (..., 1) and (..., n). The eigenvector has length 1 and an arbitrary sign; it
        is 0 for a matrix of zeros. A graph mixes the eigenvectors of eigenvalues that differ by
        less than about 0.1 % of the sum of the largest one and the norm of the matrix.
        """


def relu(xp: Namespace, a: Any) -> Any:
    """Negative values set to zero."""
    return xp.maximum(a, 0.0)


def average(xp: Namespace, a: Any, axis: Axes, keepdims: bool = False) -> Any:
    """Mean over axes."""
    return xp.mean(a, axis, keepdims)


def total(xp: Namespace, a: Any, axis: Axes, keepdims: bool = False) -> Any:
    """Sum over axes."""
    return xp.sum(a, axis, keepdims)


def over_samples(xp: Namespace, a: Any) -> Any:
    """The sum over changed samples, (N, ...) from (N, samples, ...)."""
    return xp.sum(a, axis=1 - len(a.shape))


def quotient(xp: Namespace, a: Any, b: Any) -> Any:
    """A / b, and 0 where b is 0."""
    zero = b == 0
    return xp.where(zero, 0.0, a / xp.where(zero, 1.0, b))


def largest(xp: Namespace, a: Any, axis: Axes, keepdims: bool = False) -> Any:
    """The largest absolute value over axes."""
    return xp.maximum(xp.max(a, axis, keepdims), -xp.min(a, axis, keepdims))


def interpolation_sizes(shape: Sequence[int | None]) -> tuple[int, int]:
    """The sizes of the last two axes, which must be known."""
    rows, columns = shape[-2:]
    assert isinstance(rows, int), "the number of rows is not known"
    assert isinstance(columns, int), "the number of columns is not known"
    return rows, columns

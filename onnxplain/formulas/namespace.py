"""The array namespace `xp` that formulas are written for, and functions that use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Axes = int | tuple[int, ...]


class Namespace(Protocol):
    """Functions of arrays; axes are negative, and `a` is an array of the namespace."""

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

    def principal(self, a: Any) -> tuple[Any, Any]:
        """Each volume (..., channels, rows, columns) projected on its first principal direction.

        The values are not centered. Returns the map (..., rows, columns), whose sign is arbitrary,
        and the direction's share of the sum of squares, (...).
        """


def relu(xp: Namespace, a: Any) -> Any:
    """Negative values set to zero."""
    return xp.maximum(a, 0.0)


def average(xp: Namespace, a: Any, axis: Axes) -> Any:
    """Mean over axes."""
    return xp.mean(a, axis)


def total(xp: Namespace, a: Any, axis: Axes) -> Any:
    """Sum over axes."""
    return xp.sum(a, axis)


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

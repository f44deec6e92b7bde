"""How positions along one axis of a node's output depend on positions of its input.

`affected` gives the output positions that change where a range of the input changes; `positions`
gives the input positions that a range of the output is computed from. Ranges are half-open, with
one entry for each window; a range may reach beyond the map, where its values are never read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from onnxplain.tensors import Array

OUTSIDE = -1
"""A position outside the map."""


class Span(NamedTuple):
    """Ranges along one axis, from `start` to the exclusive `stop`, (windows,) each."""

    start: Array
    stop: Array

    def united(self, other: Span) -> Span:
        """The smallest ranges that contain both."""
        return Span(np.minimum(self.start, other.start), np.maximum(self.stop, other.stop))


class AxisMap(Protocol):
    """How a node's output depends on its input along one axis."""

    @property
    def is_same(self) -> bool:
        """Whether each output position is computed from the same input position alone."""

    def affected(self, changed: Span) -> Span:
        """The output positions that depend on the `changed` input positions."""

    def positions(self, start: Array, size: int) -> Array:
        """The input positions, (windows, n), for `size` output positions from each `start`."""


@dataclass(frozen=True)
class Same:
    """Each position depends on the same position of the input."""

    is_same = True

    def affected(self, changed: Span) -> Span:
        """See `AxisMap`."""
        return changed

    def positions(self, start: Array, size: int) -> Array:
        """See `AxisMap`."""
        return _from(start, size)


SAME = Same()


@dataclass(frozen=True)
class Window:
    """Convolution or pooling: `span` positions, every `stride`; `before` is the first padding."""

    stride: int
    span: int
    before: int
    length: int
    """Number of output positions."""

    @property
    def is_same(self) -> bool:
        """See `AxisMap`."""
        return (self.stride, self.span, self.before) == (1, 1, 0)

    def affected(self, changed: Span) -> Span:
        """See `AxisMap`."""
        start = -(-(changed.start + self.before - self.span + 1) // self.stride)
        stop = (changed.stop - 1 + self.before) // self.stride + 1
        return _within(Span(start, stop), self.length)

    def positions(self, start: Array, size: int) -> Array:
        """See `AxisMap`."""
        return _from(start * self.stride - self.before, (size - 1) * self.stride + self.span)


@dataclass(frozen=True)
class Spread:
    """Transposed convolution: each input position adds to `span` positions of the output.

    The output of a part of the input is complete without the first and the last `cropped`
    positions, so ranges of the output start and end where such a complete part does.
    """

    stride: int
    span: int
    before: int
    length: int

    is_same = False

    @property
    def cropped(self) -> int:
        """Positions at each end that other parts of the input add to."""
        return self.span - self.stride

    def affected(self, changed: Span) -> Span:
        """See `AxisMap`."""
        start = changed.start * self.stride - self.before
        stop = (changed.stop - 1) * self.stride - self.before + self.span
        start, stop = _within(Span(start, stop), self.length)
        first = (start + self.before - self.cropped) // self.stride
        last = -(-(stop + self.before) // self.stride)
        return Span(
            first * self.stride - self.before + self.cropped, last * self.stride - self.before
        )

    def positions(self, start: Array, size: int) -> Array:
        """See `AxisMap`."""
        first = (start + self.before - self.cropped) // self.stride
        return _from(first, (size + self.cropped) // self.stride)


@dataclass(frozen=True, eq=False)
class Moved:
    """Each position is a copy of position `source[i]` of the input, or `OUTSIDE` of it."""

    source: Array = field(repr=False)

    is_same = False

    def affected(self, changed: Span) -> Span:
        """See `AxisMap`."""
        copies = (self.source >= changed.start[:, None]) & (self.source < changed.stop[:, None])
        length = len(self.source)
        start = np.where(copies.any(1), copies.argmax(1), 0)
        stop = np.where(copies.any(1), length - copies[:, ::-1].argmax(1), 1)
        return Span(start, stop)

    def positions(self, start: Array, size: int) -> Array:
        """See `AxisMap`."""
        wanted = _from(start, size)
        inside = (wanted >= 0) & (wanted < len(self.source))
        return np.where(inside, self.source[np.where(inside, wanted, 0)], OUTSIDE)


def _from(start: Array, size: int) -> Array:
    return start[:, None] + np.arange(size)


def _within(span: Span, length: int) -> Span:
    """The part of the ranges that is on the map; at least one position."""
    start = np.clip(span.start, 0, length - 1)
    return Span(start, np.clip(span.stop, start + 1, length))

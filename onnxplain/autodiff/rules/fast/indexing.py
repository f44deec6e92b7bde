"""Gather, Slice and Pad with constant indices: gradients without a scatter."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from onnxplain.autodiff.rule import GradientBuilder, NodeView, Tensor
from onnxplain.autodiff.scatter import Size, pad
from onnxplain.tensors import Array

_MOST_REPEATS = 8
"""Largest number of repeats of an index for which gathering is used instead of scattering."""


def gather_by_padding(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor | None:
    """For indices that increase by one and have one sign: `dy` padded with zeros; else None."""
    axis, row = _axis(g, s), _indices(g, s)
    if not row.size or (np.diff(row) != 1).any() or row[0] < 0 <= row[-1]:
        return None
    rest = g.Sub(g.dim(s.x, axis), np.array([len(row)]))
    known = np.array([row[0] if row[0] >= 0 else -1 - row[-1]])
    pads = (known, g.Sub(rest, known)) if row[0] >= 0 else (g.Sub(rest, known), known)
    return pad(g, _in_a_row(g, s, dy), g.rank(s.x), {axis: pads})


def gather_by_gathering(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor | None:
    """For indices that repeat at most `_MOST_REPEATS` times on an axis of static size; else None.

    Each element gets the first slice of `dy` that was taken from it, plus the second one, and so
    on. Elements that were taken less often read a slice of zeros, which is appended to `dy`.
    """
    axis, row = _axis(g, s), _indices(g, s)
    length = g.static_dim(s.x, axis)
    if not row.size or length is None or np.bincount(row % length).max() > _MOST_REPEATS:
        return None
    order = np.argsort(row % length, kind="stable")
    taken = row[order] % length
    turn = np.arange(len(order)) - np.searchsorted(taken, taken)
    table = np.full((turn.max() + 1, length), len(order))
    table[turn, taken] = order
    dy = _in_a_row(g, s, dy)
    if (table == len(order)).any():
        dy = pad(g, dy, g.rank(s.x), {axis: (0, 1)})
    return g.total(*(g.Gather(dy, places, axis=axis) for places in table))


def _axis(g: GradientBuilder, s: NodeView) -> int:
    return g.axis(s.x, s.attr("axis", 0))


def _indices(g: GradientBuilder, s: NodeView) -> Array:
    """Constant indices as a vector; empty if they are not constant."""
    known = g.value(s.inputs[1])
    return np.zeros(0, np.int64) if known is None else known.reshape(-1).astype(np.int64)


def _in_a_row(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """`dy` with the axes of the indices reshaped to one axis."""
    axis, indices = _axis(g, s), g.value(s.inputs[1])
    assert indices is not None  # see `_indices`
    if indices.ndim == 0:
        return g.Unsqueeze(dy, [axis])
    if indices.ndim == 1:
        return dy
    sizes = (indices.size if i == axis else g.dim(s.x, i) for i in range(g.rank(s.x)))
    return g.Reshape(dy, g.vector(*sizes))


class Span(NamedTuple):
    """The indices that a Slice takes on an axis: every `step`-th one from the lowest, `begin`."""

    axis: int
    begin: int
    step: int
    backwards: bool


def slice_by_padding(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor | None:
    """`dy` with zeros between and around; None where the lowest index of an axis is unknown."""
    spans = _spans(g, s)
    if spans is None:
        return None
    spread = _spread(g, s, _forwards(g, dy, spans), [span for span in spans if span.step > 1])
    return pad(g, spread, g.rank(s.x), dict(_around(g, s, span) for span in spans))


def _spans(g: GradientBuilder, s: NodeView) -> list[Span] | None:
    """The span of each axis that the node slices; None where one is unknown."""
    starts, axes, steps = (g.ints(s.input(i)) for i in (1, 3, 4))
    if starts is None or (axes is None and s.input(3)) or (steps is None and s.input(4)):
        return None
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    found = [
        _span(g, s, g.axis(s.x, axis), start, step)
        for axis, start, step in zip(axes, starts, steps, strict=True)
    ]
    known = sorted(span for span in found if span is not None)
    return known if len(known) == len(found) else None


def _span(g: GradientBuilder, s: NodeView, axis: int, start: int, step: int) -> Span | None:
    length, count = g.static_dim(s.x, axis), g.static_dim(s.y, axis)
    if length is not None:
        start = slice(start, None, step).indices(length)[0]
    elif start < 0:
        return None
    if step > 0:
        return Span(axis, start, step, backwards=False)
    if length is None or count is None:
        return None
    return Span(axis, start + (count - 1) * step, -step, backwards=True)


def _forwards(g: GradientBuilder, dy: Tensor, spans: list[Span]) -> Tensor:
    axes = np.array([span.axis for span in spans if span.backwards], np.int64)
    if not axes.size:
        return dy
    last, beyond, step = (np.full(axes.size, v) for v in (-1, np.iinfo(np.int64).min, -1))
    return g.Slice(dy, last, beyond, axes, step)


def _spread(g: GradientBuilder, s: NodeView, dy: Tensor, strided: list[Span]) -> Tensor:
    """Each element becomes a run of `step` elements: itself at index begin % step, else zeros."""
    if not strided:
        return dy
    runs = {span.axis + 1 + i: span for i, span in enumerate(strided)}
    within: dict[int, tuple[Size, Size]] = {
        axis: (span.begin % span.step, span.step - 1 - span.begin % span.step)
        for axis, span in runs.items()
    }
    rows = g.Unsqueeze(dy, np.array(list(runs)))
    padded = pad(g, rows, g.rank(s.x) + len(runs), within)
    factors = np.ones(g.rank(s.x), np.int64)
    factors[[span.axis for span in strided]] = [span.step for span in strided]
    return g.sized(padded, g.Mul(g.shape(s.y), factors))


def _around(g: GradientBuilder, s: NodeView, span: Span) -> tuple[int, tuple[Size, Size]]:
    """Numbers of zeros before and after the runs; negative if the last run exceeds the end."""
    before = span.begin // span.step * span.step
    covered = g.Mul(g.dim(s.y, span.axis), [span.step])
    return span.axis, (before, g.Sub(g.Sub(g.dim(s.x, span.axis), covered), [before]))


_BORDERS: dict[str, Callable[[int, int], tuple[Array, Array]]] = {
    "reflect": lambda before, after: (np.arange(before, 0, -1), np.arange(-2, -2 - after, -1)),
    "edge": lambda before, after: (np.zeros(before, int), np.full(after, -1)),
    "wrap": lambda before, after: (np.arange(-before, 0), np.arange(after)),
}
"""Indices of the elements that are repeated in the borders before and after; -1 is the last."""


def pad_by_folding(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor | None:
    """For modes that repeat a constant number of elements: add the borders of `dy` to these."""
    amounts, axes = g.ints(s.inputs[1]), g.ints(s.input(3))
    borders = _BORDERS.get(s.attr("mode", "constant"))
    if borders is None or amounts is None or min(amounts) < 0 or (axes is None and s.input(3)):
        return None
    rank, (befores, afters) = g.rank(s.x), np.split(np.array(amounts), 2)
    every = range(rank) if axes is None else [g.axis(s.x, axis) for axis in axes]
    for axis, before, after in zip(every, befores.tolist(), afters.tolist(), strict=True):
        if before or after:
            where = np.concatenate([np.arange(before), np.arange(-after, 0)])
            border = g.Gather(dy, where, axis=axis)
            column = np.concatenate(borders(before, after)).reshape(-1, *[1] * (rank - axis - 1))
            repeated = g.Expand(g.Mod(column, g.dim(s.x, axis)), g.Shape(border))
            inner = pad(g, dy, rank, {axis: (-before, -after)})
            dy = g.ScatterElements(inner, repeated, border, axis=axis, reduction="add")
    return dy

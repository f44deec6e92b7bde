"""Slice and Pad by static amounts, put back by zeros around instead of scattering."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import Size, minus, pad, size, static_size, times
from onnxplain.tensors import Array


class Span(NamedTuple):
    """What a Slice takes along an axis: every `step`-th index from the lowest, `begin`."""

    axis: int
    begin: int
    step: int
    backwards: bool


def has_known_begin(g: GradientBuilder, s: NodeView) -> bool:
    """Whether the lowest index that a Slice takes is known on every axis."""
    return None not in _spans(g, s)


def slice_by_padding(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """Zeros between and around."""
    spans = sorted(span for span in _spans(g, s) if span is not None)
    spread = _spread(g, s, _forwards(g, dy, spans), [span for span in spans if span.step > 1])
    return pad(g, spread, g.rank(s.x), dict(_around(g, s, span) for span in spans))


def _spans(g: GradientBuilder, s: NodeView) -> list[Span | None]:
    """What is taken along each axis, None where it is not known."""
    starts, axes, steps = (g.ints(s.input(i)) for i in (1, 3, 4))
    if starts is None or (axes is None and s.input(3)) or (steps is None and s.input(4)):
        return [None]
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    return [
        _span(g, s, g.axis(s.x, axis), start, step)
        for axis, start, step in zip(axes, starts, steps, strict=True)
    ]


def _span(g: GradientBuilder, s: NodeView, axis: int, start: int, step: int) -> Span | None:
    length, count = static_size(g, s.x, axis), static_size(g, s.y, axis)
    if length is not None:
        start = slice(start, None, step).indices(length)[0]
    elif start < 0:
        return None
    if step > 0:
        return Span(axis, start, step, backwards=False)
    if length is None or count is None:
        return None
    return Span(axis, start + (count - 1) * step, -step, backwards=True)


def _forwards(g: GradientBuilder, dy: gs.Tensor, spans: list[Span]) -> gs.Tensor:
    axes = np.array([span.axis for span in spans if span.backwards], np.int64)
    if not axes.size:
        return dy
    last, beyond, step = (np.full(axes.size, v) for v in (-1, np.iinfo(np.int64).min, -1))
    return g.Slice(dy, last, beyond, axes, step)


def _spread(g: GradientBuilder, s: NodeView, dy: gs.Tensor, strided: list[Span]) -> gs.Tensor:
    """Zeros between: each element becomes a run of `step`, in which it stands at begin % step."""
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
    return g.Reshape(padded, g.Mul(g.shape(s.y), factors))


def _around(g: GradientBuilder, s: NodeView, span: Span) -> tuple[int, tuple[Size, Size]]:
    """Zeros before and after the runs; the last run may reach beyond the end."""
    before = span.begin // span.step * span.step
    covered = times(g, size(g, s.y, span.axis), span.step)
    return span.axis, (before, minus(g, minus(g, size(g, s.x, span.axis), covered), before))


_BORDERS: dict[str, Callable[[int, int], tuple[Array, Array]]] = {
    "reflect": lambda before, after: (np.arange(before, 0, -1), np.arange(-2, -2 - after, -1)),
    "edge": lambda before, after: (np.zeros(before, int), np.full(after, -1)),
    "wrap": lambda before, after: (np.arange(-before, 0), np.arange(after)),
}
"""Which elements the borders repeat, before and after; -1 is the last."""


def has_known_borders(g: GradientBuilder, s: NodeView) -> bool:
    """Whether a Pad repeats elements, and how many of them is known."""
    amounts, axes = g.ints(s.inputs[1]), s.input(3)
    if s.attr("mode", "constant") == "constant" or amounts is None or min(amounts) < 0:
        return False
    return axes is None or g.ints(axes) is not None


def pad_by_folding(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """The borders along one axis after the other added to the elements that they repeat."""
    axes, borders = g.ints(s.input(3)), _BORDERS[s.attr("mode")]
    befores, afters = np.split(np.array(g.ints(s.inputs[1])), 2)
    every = range(g.rank(s.x)) if axes is None else axes
    for axis, before, after in zip(every, befores.tolist(), afters.tolist(), strict=True):
        if before or after:
            dy = _fold(g, s, dy, g.axis(s.x, axis), borders(before, after), before)
    return dy


def _fold(
    g: GradientBuilder,
    s: NodeView,
    dy: gs.Tensor,
    axis: int,
    borders: tuple[Array, Array],
    before: int,
) -> gs.Tensor:
    """The borders along an axis added to the elements that they repeat."""
    after = len(borders[1])
    where = np.concatenate([np.arange(before), np.arange(-after, 0)])
    border = g.Gather(dy, where, axis=axis)
    column = np.concatenate(borders).reshape(-1, *[1] * (g.rank(s.x) - axis - 1))
    repeated = g.Expand(g.Mod(column, g.dim(s.x, axis)), g.Shape(border))
    inner = pad(g, dy, g.rank(s.x), {axis: (-before, -after)})
    return g.ScatterElements(inner, repeated, border, axis=axis, reduction="add")

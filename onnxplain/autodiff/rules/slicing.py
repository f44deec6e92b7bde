"""Slice and Pad: one takes away what the other adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import (
    minus,
    pad,
    positions,
    scatter_positions,
    size,
    times,
)
from onnxplain.autodiff.table import vjp
from onnxplain.tensors import Array


class Span(NamedTuple):
    """What a Slice takes along an axis: every `step`-th index from the lowest, `begin`."""

    axis: int
    begin: int
    step: int
    backwards: bool


@vjp("Slice")
def slice_(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """Zeros between and around; what only the run can tell is found by slicing the positions."""
    spans = _spans(g, s)
    if spans is None:
        taken = g.Slice(positions(g, s.x), *_given(s.inputs[1:]))
        return scatter_positions(g, dy, taken, s.x)
    spread = _spread(g, s, _forwards(g, dy, spans), [span for span in spans if span.step > 1])
    return pad(g, spread, g.rank(s.x), dict(_around(g, s, span) for span in spans))


def _spans(g: GradientBuilder, s: NodeView) -> list[Span] | None:
    """What is taken, None where the lowest index is not known."""
    starts, axes, steps = (g.ints(s.input(i)) for i in (1, 3, 4))
    if starts is None or (axes is None and s.input(3)) or (steps is None and s.input(4)):
        return None
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    spans = [
        _span(g, s, g.axis(s.x, axis), start, step)
        for axis, start, step in zip(axes, starts, steps, strict=True)
    ]
    known = [span for span in spans if span is not None]
    return sorted(known) if len(known) == len(spans) else None


def _span(g: GradientBuilder, s: NodeView, axis: int, start: int, step: int) -> Span | None:
    length, count = size(g, s.x, axis), size(g, s.y, axis)
    if isinstance(length, int):
        start = slice(start, None, step).indices(length)[0]
    elif start < 0:
        return None
    if step > 0:
        return Span(axis, start, step, backwards=False)
    if isinstance(length, int) and isinstance(count, int):
        return Span(axis, start + (count - 1) * step, -step, backwards=True)
    return None


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
    within = {
        axis: (span.begin % span.step, span.step - 1 - span.begin % span.step)
        for axis, span in runs.items()
    }
    rows = g.Unsqueeze(dy, np.array(list(runs)))
    padded = pad(g, rows, g.rank(s.x) + len(runs), within)
    factors = np.ones(g.rank(s.x), np.int64)
    factors[[span.axis for span in strided]] = [span.step for span in strided]
    return g.Reshape(padded, g.Mul(g.shape(s.y), factors))


def _around(g: GradientBuilder, s: NodeView, span: Span) -> tuple[int, tuple[int, int | gs.Tensor]]:
    """Zeros before and after the runs; the last run may reach beyond the end."""
    before = span.begin // span.step * span.step
    covered = times(g, size(g, s.y, span.axis), span.step)
    return span.axis, (before, minus(g, minus(g, size(g, s.x, span.axis), covered), before))


@vjp("Pad")
def pad_(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    mode, amounts = s.attr("mode", "constant"), g.ints(s.inputs[1])
    if mode == "constant":
        return _crop(g, s, dy)
    axes = list(range(g.rank(s.x))) if s.input(3) is None else g.ints(s.input(3))
    if amounts is None or axes is None or min(amounts) < 0:
        taken = g.Pad(positions(g, s.x), *_given(s.inputs[1:]), mode=mode)
        return (scatter_positions(g, dy, taken, s.x),)
    befores, afters = np.split(np.array(amounts), 2)
    for axis, before, after in zip(axes, befores.tolist(), afters.tolist(), strict=True):
        if before or after:
            dy = _fold(g, s, dy, g.axis(s.x, axis), _BORDERS[mode](before, after), before)
    return (dy,)


def _crop(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    """What a negative number of zeros took away gets none; the rest is the padding value's."""
    amounts = g.value(s.inputs[1])
    negative = g.Neg(s.inputs[1]) if amounts is None else np.negative(amounts)
    dx = g.Pad(dy, negative, gs.Variable.empty(), *_given(s.inputs[3:]))
    if s.input(2) is None:
        return (dx,)
    rest = g.Sub(g.ReduceSum(dy, keepdims=0), g.ReduceSum(dx, keepdims=0))
    return dx, None, g.like(rest, s.inputs[2])


_BORDERS: dict[str, Callable[[int, int], tuple[Array, Array]]] = {
    "reflect": lambda before, after: (np.arange(before, 0, -1), np.arange(-2, -2 - after, -1)),
    "edge": lambda before, after: (np.zeros(before, int), np.full(after, -1)),
    "wrap": lambda before, after: (np.arange(-before, 0), np.arange(after)),
}
"""Which elements the borders repeat, before and after; -1 is the last."""


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


def _given(inputs: list[gs.Variable | None]) -> list[gs.Variable]:
    return [gs.Variable.empty() if x is None else x for x in inputs]

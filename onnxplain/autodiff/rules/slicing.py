"""Slice and Pad: one takes away what the other adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import positions, scatter_positions
from onnxplain.autodiff.table import vjp


@vjp("Slice")
def slice_(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """Where each element was taken from is found by slicing the positions."""
    taken = g.Slice(positions(g, s.x), *_given(s.inputs[1:]))
    return scatter_positions(g, dy, taken, s.x)


@vjp("Pad")
def pad_(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor | None, ...]:
    """As for Slice, where elements are repeated; else padding is cut off."""
    mode = s.attr("mode", "constant")
    if mode == "constant":
        return _crop(g, s, dy)
    taken = g.Pad(positions(g, s.x), *_given(s.inputs[1:]), mode=mode)
    return (scatter_positions(g, dy, taken, s.x),)


def _crop(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor | None, ...]:
    """What a negative number of zeros took away gets none; the rest is the padding value's."""
    amounts = g.value(s.inputs[1])
    negative = g.Neg(s.inputs[1]) if amounts is None else np.negative(amounts)
    dx = g.Pad(dy, negative, gs.Variable.empty(), *_given(s.inputs[3:]))
    if s.input(2) is None:
        return (dx,)
    rest = g.Sub(g.ReduceSum(dy, keepdims=0), g.ReduceSum(dx, keepdims=0))
    return dx, None, g.like(rest, s.inputs[2])


def _given(inputs: Sequence[gs.Tensor | None]) -> list[gs.Tensor]:
    return [gs.Variable.empty() if x is None else x for x in inputs]

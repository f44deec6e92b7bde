"""Gather with constant indices, put back without scattering."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import Size, minus, pad, size, static_size, vector
from onnxplain.tensors import Array

_MOST_REPEATS = 8
"""How often an index may be repeated for its slices to be gathered rather than scattered."""


def is_run(g: GradientBuilder, s: NodeView) -> bool:
    """Whether the indices count up by one, on one side of zero."""
    row = _indices(g, s)
    return bool(row.size and (np.diff(row) == 1).all() and (row[0] >= 0 or row[-1] < 0))


def gather_by_padding(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """Zeros before and after the run."""
    axis, row = _axis(g, s), _indices(g, s)
    one_axis, length = _in_a_row(g, s, dy), size(g, s.x, axis)
    first, count = int(row[0]), len(row)
    pads: tuple[Size, Size]
    if first >= 0:
        pads = first, minus(g, length, first + count)
    else:
        pads = minus(g, length, -first), -first - count
    return pad(g, one_axis, g.rank(s.x), {axis: pads})


def repeats_little(g: GradientBuilder, s: NodeView) -> bool:
    """Whether no index occurs often, along an axis whose size is static."""
    row, length = _indices(g, s), static_size(g, s.x, _axis(g, s))
    if not row.size or length is None:
        return False
    return bool(np.bincount(row % length).max() <= _MOST_REPEATS)


def gather_by_gathering(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """To each element the slice that was first taken from it, plus the second one, and so on.

    Elements that were not taken so often read a slice of zeros after the others.
    """
    axis, dy = _axis(g, s), _in_a_row(g, s, dy)
    length = static_size(g, s.x, axis)
    assert length is not None  # see `repeats_little`
    indices = _indices(g, s) % length
    order = np.argsort(indices, kind="stable")
    taken = indices[order]
    turn = np.arange(len(order)) - np.searchsorted(taken, taken)
    table = np.full((turn.max() + 1, length), len(order))
    table[turn, taken] = order
    if (table == len(order)).any():
        dy = pad(g, dy, g.rank(s.x), {axis: (0, 1)})
    parts = [g.Gather(dy, places, axis=axis) for places in table]
    return g.Sum(*parts) if len(parts) > 1 else parts[0]


def _axis(g: GradientBuilder, s: NodeView) -> int:
    return g.axis(s.x, s.attr("axis", 0))


def _indices(g: GradientBuilder, s: NodeView) -> Array:
    """Constant indices in a row; none for others."""
    known = g.value(s.inputs[1])
    return np.zeros(0, np.int64) if known is None else known.reshape(-1)


def _in_a_row(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """The axes of the indices in `dy` as one axis."""
    axis, indices = _axis(g, s), g.value(s.inputs[1])
    assert indices is not None  # see `is_run` and `repeats_little`
    if indices.ndim == 0:
        return g.Unsqueeze(dy, np.array([axis]))
    if indices.ndim == 1:
        return dy
    sizes = [indices.size if i == axis else size(g, s.x, i) for i in range(g.rank(s.x))]
    return g.Reshape(dy, vector(g, sizes))

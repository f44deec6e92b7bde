"""Leading eigenvectors as nodes of a graph, by repeated squaring.

Every row of a high power of a matrix is a multiple of the eigenvector of its largest eigenvalue.
Operators for matrix products are in every runtime; operators for eigenvectors are in none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.transforms.builder import Builder

_OF_GRAM = 10
"""How often a Gram matrix is squared. In its 1024th power, a direction 1 % weaker is 3e-5."""

_OF_SHIFTED = 12
"""How often a shifted matrix is squared; a shift makes eigenvalues more similar."""

_TINY = float(np.finfo(np.float32).tiny)


def principal(
    g: Builder, volumes: gs.Tensor, size: Sequence[int | None]
) -> tuple[gs.Tensor, gs.Tensor]:
    """The nodes of `Namespace.principal`: maps (N, rows, columns) and shares (N,).

    The power is that of the smaller Gram matrix, of channels or of cells. Of `size`, the channels,
    rows and columns of `volumes`, the last two must be known.
    """
    channels, rows, columns = size
    assert rows is not None, "the number of rows is not known"
    assert columns is not None, "the number of columns is not known"
    cells = rows * columns
    raw = g.Reshape(volumes, np.array([0, 0, cells]))
    # Without scaling, squares could underflow to 0 or overflow.
    scale = _peak(g, raw)
    volume = g.Div(raw, scale)
    turned = g.Transpose(volume, perm=[0, 2, 1])
    small = channels is not None and channels < cells
    gram = g.MatMul(volume, turned) if small else g.MatMul(turned, volume)
    trace = g.ReduceSumSquare(volume, np.array([1, 2]), keepdims=0)
    row = _row_of_power(g, gram, _OF_GRAM)
    projected = g.MatMul(_unit(g, row if small else g.MatMul(row, turned)), volume)
    strength = g.ReduceSumSquare(projected, np.array([1, 2]), keepdims=0)
    share = g.Div(strength, g.Add(trace, np.float32(_TINY)))
    return g.Reshape(g.Mul(projected, scale), np.array([-1, rows, columns])), share


def leading(g: Builder, matrices: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor]:
    """The nodes of `Namespace.leading`: eigenvalues (N, 1) and eigenvectors (N, n).

    With the norm of the matrix on its diagonal, no eigenvalue is negative, so that the largest one
    has the largest absolute value, too.
    """
    scale = _peak(g, matrices)
    scaled = g.Div(matrices, scale)
    norm = g.Sqrt(g.ReduceSumSquare(scaled, np.array([1, 2]), keepdims=1))
    places = g.Range(np.array(0), _size(g, matrices), np.array(1))
    identity = g.Cast(g.Equal(g.Unsqueeze(places, np.array([1])), places), to=1)
    shifted = g.Add(scaled, g.Mul(norm, identity))
    unit = _unit(g, _row_of_power(g, shifted, _OF_SHIFTED))
    product = g.ReduceSum(g.Mul(g.MatMul(unit, scaled), unit), np.array([2]), keepdims=1)
    squeezed = (g.Squeeze(one, np.array([1])) for one in (g.Mul(product, scale), unit))
    value, vector = squeezed
    return value, vector


def _row_of_power(g: Builder, matrices: gs.Tensor, squarings: int) -> gs.Tensor:
    """A row of a power of each matrix (N, n, n), as (N, 1, n).

    It is the row with the largest norm, which has the smallest relative rounding error.
    """
    power = matrices
    for _ in range(squarings):
        power = g.Div(power, _peak(g, power))
        power = g.MatMul(power, power)
    norms = g.ReduceSumSquare(power, np.array([2]), keepdims=0)
    place = g.Unsqueeze(g.ArgMax(norms, axis=1, keepdims=1), np.array([2]))
    pick = g.Cast(g.Equal(g.Range(np.array(0), _size(g, norms), np.array(1)), place), to=1)
    return g.MatMul(pick, power)


def _unit(g: Builder, rows: gs.Tensor) -> gs.Tensor:
    """Rows (N, 1, n) divided by their length; zeros stay zeros."""
    length = g.Sqrt(g.ReduceSumSquare(rows, np.array([2]), keepdims=1))
    return g.Div(rows, g.Add(length, np.float32(_TINY)))


def _peak(g: Builder, matrices: gs.Tensor) -> gs.Tensor:
    """The largest absolute value of each matrix, and slightly more than 0 for zeros."""
    peak = g.ReduceMax(g.Abs(matrices), np.array([1, 2]), keepdims=1)
    return g.Add(peak, np.float32(_TINY))


def _size(g: Builder, rows: gs.Tensor) -> gs.Tensor:
    return g.Squeeze(g.Shape(rows, start=1, end=2))

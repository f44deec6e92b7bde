"""Products of matrices, and what else is linear in each input."""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import Size, arange, size
from onnxplain.autodiff.table import vjp
from onnxplain.transforms.builder import Value


@vjp("MatMul")
def matmul(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor]:
    """A vector is a matrix of one row (on the left) or one column (on the right)."""
    a, b = s.inputs
    row, column = g.rank(a) == 1, g.rank(b) == 1
    left = g.Unsqueeze(a, np.array([0])) if row else a
    right = g.Unsqueeze(b, np.array([1])) if column else b
    missing = [-2] * row + [-1] * column
    full = g.Unsqueeze(dy, np.array(missing)) if missing else dy
    da = g.MatMul(full, transposed(g, right, g.rank(b)))
    if row:
        da = g.Squeeze(da, np.array([-2]))
    db = g.MatMul(transposed(g, left, g.rank(a)), full)
    if column:
        db = g.Squeeze(db, np.array([-1]))
    return _over_batch(g, s, da, a), _over_batch(g, s, db, b)


def transposed(g: GradientBuilder, x: gs.Tensor, rank: int) -> gs.Tensor:
    """Its last two axes exchanged; vectors have become matrices before."""
    axes = list(range(max(rank, 2)))
    return g.Transpose(x, perm=[*axes[:-2], axes[-1], axes[-2]])


def _over_batch(g: GradientBuilder, s: NodeView, dx: gs.Tensor, x: gs.Tensor) -> gs.Tensor:
    """Summed over the axes before the matrix along which `x` was repeated."""
    own, y = g.dims(x), g.dims(s.y)
    assert own is not None  # its rank is known
    if y is None:
        return g.unbroadcast(dx, None, x)
    matrices = sum(g.rank(one) > 1 for one in s.inputs)
    return g.unbroadcast(dx, (*y[: len(y) - matrices], *own[-2:]), x)


@vjp("Gemm")
def gemm(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    a, b = s.inputs[:2]
    alpha, ta, tb = s.attr("alpha", 1.0), s.attr("transA", 0), s.attr("transB", 0)
    da = (
        g.Gemm(b, dy, alpha=alpha, transA=tb, transB=1)
        if ta
        else g.Gemm(dy, b, alpha=alpha, transB=1 - tb)
    )
    db = (
        g.Gemm(dy, a, alpha=alpha, transA=1, transB=ta)
        if tb
        else g.Gemm(a, dy, alpha=alpha, transA=1 - ta)
    )
    if s.input(2) is None:
        return da, db
    beta = s.attr("beta", 1.0)
    scaled = dy if beta == 1 else g.Mul(dy, F32(beta))
    return da, db, g.sum_to(scaled, s.inputs[2], s.y)


def identity(g: GradientBuilder, n: Size) -> Value:
    """The n by n identity matrix as booleans."""
    if isinstance(n, int):
        return np.eye(n, dtype=bool)
    index = arange(g, n)
    return g.Equal(g.Unsqueeze(index, np.array([1])), g.Unsqueeze(index, np.array([0])))


@vjp("Det")
def det(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """Cofactors: the determinant with row i replaced by unit vector j. Right where it is 0, too."""
    unit = identity(g, size(g, s.x, -1))
    row, vector_ = g.Unsqueeze(unit, np.array([1, 3])), g.Unsqueeze(unit, np.array([0, 2]))
    replaced = g.Where(row, g.indicator(vector_), g.Unsqueeze(s.x, np.array([-4, -3])))
    return g.Mul(g.Unsqueeze(dy, np.array([-2, -1])), g.Det(replaced))


@vjp("Inverse", domain="com.microsoft")
def inverse(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    turned = transposed(g, s.y, g.rank(s.x))
    return g.Neg(g.MatMul(g.MatMul(turned, dy), turned))  # dx = -yᵀ dy yᵀ


@vjp("Col2Im")
def col2im(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """The blocks of the picture again: a convolution with one kernel per element of a block."""
    image, block = s.inputs[1:3]
    one = np.array([1], np.int64)
    channels = g.Reshape(dy, g.Concat(np.array([-1]), one, image, axis=0))
    known = g.ints(block)
    unit = identity(g, g.ReduceProd(block) if known is None else math.prod(known))
    kernels = g.Reshape(g.indicator(unit), g.Concat(np.array([-1]), one, block, axis=0))
    return g.like(g.Conv(channels, kernels, **s.attrs), s.x)

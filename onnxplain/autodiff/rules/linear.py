"""Matrix products, and other operators that are linear in each input."""

from __future__ import annotations

import numpy as np

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.model.operators import MICROSOFT


@vjp("MatMul")
def matmul(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """A vector is treated as a matrix with one row (first input) or one column (second)."""
    a, b = s.inputs
    row, column = g.rank(a) == 1, g.rank(b) == 1
    left = g.Unsqueeze(a, [0]) if row else a
    right = g.Unsqueeze(b, [1]) if column else b
    missing = [-2] * row + [-1] * column
    full = g.Unsqueeze(dy, np.array(missing)) if missing else dy
    da = g.MatMul(full, transposed(g, right, g.rank(b)))
    if row:
        da = g.Squeeze(da, [-2])
    db = g.MatMul(transposed(g, left, g.rank(a)), full)
    if column:
        db = g.Squeeze(db, [-1])
    return _over_batch(g, s, da, a), _over_batch(g, s, db, b)


def transposed(g: GradientBuilder, x: Tensor, rank: int) -> Tensor:
    """`x` with its last two axes exchanged; its rank is at least 2."""
    axes = list(range(max(rank, 2)))
    return g.Transpose(x, perm=[*axes[:-2], axes[-1], axes[-2]])


def _over_batch(g: GradientBuilder, s: NodeView, dx: Tensor, x: Tensor) -> Tensor:
    """`dx` summed over the batch axes along which `x` was broadcast."""
    own, y = g.dims(x), g.dims(s.y)
    assert own is not None  # its rank is known
    if y is None:
        return g.unbroadcast(dx, None, x)
    matrices = sum(g.rank(one) > 1 for one in s.inputs)
    return g.unbroadcast(dx, (*y[: len(y) - matrices], *own[-2:]), x)


@vjp("Gemm")
def gemm(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    a, b = s.inputs[:2]
    alpha, ta, tb = s.attr("alpha", 1.0), s.attr("transA", 0), s.attr("transB", 0)
    forms = (
        (b, dy, tb, 1) if ta else (dy, b, 0, 1 - tb),
        (dy, a, 1, ta) if tb else (a, dy, 1 - ta, 0),
    )
    da, db = (g.Gemm(x, y, alpha=alpha, transA=tx, transB=ty) for x, y, tx, ty in forms)
    if s.input(2) is None:
        return da, db
    beta = s.attr("beta", 1.0)
    scaled = dy if beta == 1 else g.Mul(dy, F32(beta))
    return da, db, g.sum_to(scaled, s.inputs[2], s.y)


def identity(g: GradientBuilder, n: Tensor) -> Tensor:
    """The n by n identity matrix as booleans; `n` is int64 of shape (1,)."""
    index = g.arange(n)
    return g.Equal(g.Unsqueeze(index, [1]), index)


@vjp("Det")
def det(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """By cofactors: determinants with row i replaced by unit vector j. Correct also for y = 0."""
    unit = identity(g, g.dim(s.x, -1))
    row, vector_ = g.Unsqueeze(unit, [1, 3]), g.Unsqueeze(unit, [0, 2])
    replaced = g.Where(row, g.as_float(vector_), g.Unsqueeze(s.x, [-4, -3]))
    return g.Mul(g.Unsqueeze(dy, [-2, -1]), g.Det(replaced))


@vjp("Inverse", domain=MICROSOFT)
def inverse(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    turned = transposed(g, s.y, g.rank(s.x))
    return g.Neg(g.MatMul(g.MatMul(turned, dy), turned))  # dx = -yᵀ dy yᵀ


@vjp("Col2Im")
def col2im(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """Extracts the blocks from `dy`: a convolution with one kernel per element of a block."""
    image, block = s.inputs[1:3]
    channels = g.Reshape(dy, g.vector(-1, 1, image))
    unit = g.as_float(identity(g, g.ReduceProd(g.resolved(block))))
    kernels = g.Reshape(unit, g.vector(-1, 1, block))
    return g.like(g.Conv(channels, kernels, **s.attrs), s.x)

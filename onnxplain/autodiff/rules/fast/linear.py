"""MatMul of a batch with one matrix."""

from __future__ import annotations

from onnxplain.autodiff.rule import GradientBuilder, Gradients, NodeView, Tensor
from onnxplain.autodiff.rules.linear import transposed


def matmul_by_rows(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients | None:
    """The gradient of the one matrix is computed in one product over all rows of the batch."""
    a, b = s.inputs
    if g.rank(b) != 2 or g.rank(a) < 3:
        return None
    rows, products = (
        g.Reshape(value, g.vector(-1, g.dim(b, axis))) for axis, value in enumerate((a, dy))
    )
    return g.MatMul(dy, transposed(g, b, 2)), g.Gemm(rows, products, transA=1)

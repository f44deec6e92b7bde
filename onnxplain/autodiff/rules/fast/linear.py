"""MatMul with one matrix for a whole batch."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.linear import transposed
from onnxplain.autodiff.scatter import size, vector


def shares_weight(g: GradientBuilder, s: NodeView) -> bool:
    """Whether all matrices on the left are multiplied with the same one."""
    a, b = s.inputs
    return g.rank(b) == 2 and g.rank(a) > 2


def matmul_by_rows(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor]:
    """The gradient of the one matrix: all rows of the batch in one product."""
    a, b = s.inputs
    da = g.MatMul(dy, transposed(g, b, 2))
    rows, products = (
        g.Reshape(value, vector(g, [-1, size(g, b, axis)])) for axis, value in enumerate((a, dy))
    )
    return da, g.Gemm(rows, products, transA=1)

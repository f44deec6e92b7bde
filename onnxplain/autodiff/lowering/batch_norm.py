"""Merges batch normalization into the layer before it."""

from __future__ import annotations

import numpy as np

from onnxplain.autodiff.lowering.fold import without_dead_nodes
from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.model.model import Model

F32 = np.float32

_RULES = Rewrites()


def merge_batch_norms(model: Model) -> Model:
    """The model with each BatchNormalization merged into the Conv or Gemm before it.

    The output of the layer then has the name of the output of the normalization. A normalization
    stays as it is where other nodes read its input too, or its statistics are not constant.
    """
    merged = rewritten(model, _RULES)
    return model if merged is model else without_dead_nodes(merged)


@_RULES.of("BatchNormalization")
def _merged(g: Rewriter, s: NodeView) -> Tensor | None:
    layer = _mergeable_layer(g, s)
    rank = None if layer is None else g.rank(layer.inputs[1])
    if layer is None or rank is None:
        return None
    scale, shift, mean, variance = s.inputs[1:]
    gain = g.Div(scale, g.Sqrt(g.Add(variance, F32(s.attr("epsilon", 1e-5)))))
    by_columns = layer.op == "Gemm" and not layer.attr("transB", 0)
    rows = gain if by_columns else g.Reshape(gain, np.array([-1] + [1] * (rank - 1)))
    given = layer.input(2)
    bias = F32(0) if given is None else g.Mul(given, F32(layer.attr("beta", 1.0)))
    bias = g.Add(g.Mul(g.Sub(bias, mean), gain), shift)
    weights = g.Mul(layer.inputs[1], rows)
    return g.many(layer.op, 1, layer.x, weights, bias, **layer.attrs_without("beta"))[0]


def _mergeable_layer(g: Rewriter, s: NodeView) -> NodeView | None:
    """The Conv or Gemm before a normalization, if both are constant and no other node reads it."""
    node, computed = g.index.producer(s.x.name), g.index.dependent(g.index.inputs)
    if node is None or node.op_type not in ("Conv", "Gemm") or s.attr("training_mode", 0):
        return None
    layer = NodeView(node, s.opset, g.tensor)
    alone = g.index.readers_of(s.x.name) == [s.node] and s.x.name not in g.index.outputs
    constant = computed.isdisjoint([*node.input[1:], *s.node.input[1:]])
    return layer if alone and constant and not layer.attr("transA", 0) else None

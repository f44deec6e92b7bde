"""Fused operators that ONNX Runtime writes when it saves a model, in standard ONNX.

Definitions: docs/ContribOperators.md of ONNX Runtime. Attention and operators on quantized tensors
are in other modules.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, all_nodes, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.errors import GradientError
from onnxplain.model.model import Model
from onnxplain.model.operators import MICROSOFT, PROCESSOR_DOMAINS

F32 = np.float32

_RULES = Rewrites()


def decompose_fused(model: Model) -> Model:
    """The model with the fused float operators of ONNX Runtime replaced by what they fuse.

    Raises:
        GradientError: the model was optimized and saved for one kind of processor.
    """
    for node in all_nodes(model.proto.graph):
        if node.domain in PROCESSOR_DOMAINS:
            raise GradientError(
                f"The operator {node.domain}::{node.op_type} of node {node.name!r} works on "
                "weights laid out for one kind of processor: save the optimized model at level "
                "ORT_ENABLE_EXTENDED or lower, or explain the model it was made from."
            )
    while (plainer := rewritten(model, _RULES)) is not model:
        model = plainer
    return model


ACTIVATIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys("Relu Sigmoid Softplus Softsign Tanh".split(), ()),
    **dict.fromkeys("Elu LeakyRelu ThresholdedRelu".split(), ("alpha",)),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
"""Activations that fused operators name, and the attributes for their parameters, in order."""


def _activated(g: Rewriter, op: str, x: Tensor, parameters: list[float]) -> Tensor:
    if not op:
        return x
    if op == "Clip":
        return g.Clip(x, *(F32(p) for p in parameters))
    names = ACTIVATIONS[op]
    return g.many(op, 1, x, **dict(zip(names, parameters, strict=False)))[0]


@_RULES.of("FusedConv", "NhwcConv", "NhwcFusedConv", domain=MICROSOFT)
def _fused_conv(g: Rewriter, s: NodeView) -> Tensor:
    """NhwcFusedConv and NhwcConv have channels last, NhwcConv in its weights too."""
    x, w = s.inputs[:2]
    if s.op != "FusedConv":
        x = g.Transpose(x, perm=[0, 3, 1, 2])
    if s.op == "NhwcConv":
        w = g.Transpose(w, perm=[0, 3, 1, 2])
    y = g.Conv(x, w, s.input(2), **s.attrs_without("activation"))
    if s.op != "FusedConv":
        y = g.Transpose(y, perm=[0, 2, 3, 1])
    added = s.input(3)
    y = y if added is None else g.Add(y, added)
    return _activated(g, s.attr("activation", ""), y, s.attr("activation_params", []))


@_RULES.of("ConvTransposeWithDynamicPads", domain=MICROSOFT)
def _conv_transpose(g: Rewriter, s: NodeView) -> Tensor | None:
    pads = g.value(s.inputs[2])
    if pads is None:
        return None
    return g.ConvTranspose(s.x, s.inputs[1], s.input(3), **s.attrs, pads=pads.tolist())


@_RULES.of("FusedGemm", domain=MICROSOFT)
def _fused_gemm(g: Rewriter, s: NodeView) -> Tensor:
    y = g.Gemm(*s.inputs, **s.attrs_without("activation"))
    op = s.attr("activation", "")
    names = (f"activation_{name}" for name in ACTIVATIONS.get(op, ()))
    return _activated(g, op, y, [s.attr(name) for name in names if name in s.attrs])


@_RULES.of("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def _fused_matmul(g: Rewriter, s: NodeView) -> Tensor | None:
    a, b = (_operand(g, s, i, side) for i, side in enumerate("AB"))
    if a is None or b is None:
        return None
    alpha = s.attr("alpha", 1.0)
    y = g.MatMul(a, b)
    return y if alpha == 1 else g.Mul(y, F32(alpha))


def _operand(g: Rewriter, s: NodeView, index: int, side: str) -> Tensor | None:
    """A factor of FusedMatMul as an input of MatMul; None where its rank is needed and unknown.

    The attribute `transBatch<side>` moves the first axis to the place before the last.
    """
    x = s.inputs[index]
    flip, rotate = s.attr(f"trans{side}", 0), s.attr(f"transBatch{side}", 0)
    if not flip and not rotate:
        return x
    rank = g.rank(x)
    if rank is None:
        return None
    if rank == 1:
        return x
    axes = list(range(rank))
    if rotate:
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if flip:
        axes[-2:] = axes[:-3:-1]
    return g.Transpose(x, perm=axes)


@_RULES.of("Gelu", "BiasGelu", "FastGelu", domain=MICROSOFT)
def _gelu(g: Rewriter, s: NodeView) -> Tensor:
    x = s.x if s.input(1) is None else g.Add(*s.inputs)
    return _gelu_of(g, x, "tanh" if s.op == "FastGelu" else "none")


def _gelu_of(g: Rewriter, x: Tensor, approximate: str) -> Tensor:
    if g.graph.opset >= 20:
        return g.Gelu(x, approximate=approximate)
    if approximate == "none":
        return g.Mul(g.Mul(x, F32(0.5)), g.Add(g.Erf(g.Mul(x, F32(1 / sqrt(2)))), F32(1)))
    scale, cubic = sqrt(2 / np.pi), 0.044715  # x (1 + tanh(scale (x + cubic x³))) / 2
    inner = g.Mul(x, g.Add(F32(scale), g.Mul(F32(scale * cubic), g.Mul(x, x))))
    return g.Mul(g.Mul(x, F32(0.5)), g.Add(g.Tanh(inner), F32(1)))


@_RULES.of("QuickGelu", domain=MICROSOFT)
def _quick_gelu(g: Rewriter, s: NodeView) -> Tensor:
    alpha = s.attr("alpha", 1.702)
    return g.Mul(s.x, g.Sigmoid(s.x if alpha == 1 else g.Mul(s.x, F32(alpha))))


@_RULES.of("BiasSplitGelu", domain=MICROSOFT)
def _bias_split_gelu(g: Rewriter, s: NodeView) -> Tensor:
    left, right = g.many("Split", 2, g.Add(*s.inputs), axis=-1, num_outputs=2)
    return g.Mul(left, _gelu_of(g, right, "none"))


@_RULES.of("BiasAdd", domain=MICROSOFT)
def _bias_add(g: Rewriter, s: NodeView) -> Tensor:
    return g.Sum(*s.inputs)


@_RULES.of("BiasSoftmax", domain=MICROSOFT)
def _bias_softmax(g: Rewriter, s: NodeView) -> Tensor | None:
    """None unless the softmax is over the last axis, as in attention."""
    rank = g.rank(s.x)
    if rank is None or s.attr("axis", 1) not in (-1, rank - 1):
        return None
    return g.Softmax(g.Add(*s.inputs), axis=-1)


@_RULES.of("SkipLayerNormalization", domain=MICROSOFT)
def _skip_layer_normalization(g: Rewriter, s: NodeView) -> list[Tensor | None]:
    gamma, beta, total = s.input(2), s.input(3), _with_skip(g, s, bias=4)
    epsilon = s.attr("epsilon", 1e-12)
    if not any(s.node.output[1:3]):
        return [g.LayerNormalization(total, gamma, beta, epsilon=epsilon), None, None, total]
    return [*g.many("LayerNormalization", 3, total, gamma, beta, epsilon=epsilon), total]


@_RULES.of("SimplifiedLayerNormalization")
def _simplified_layer_normalization(g: Rewriter, s: NodeView) -> list[Tensor] | None:
    axis = s.attr("axis", -1)
    end = 0 if axis < 0 else g.rank(s.x)
    if end is None:
        return None
    return _rms_normalized(g, s.x, s.inputs[1], [*range(axis, end)], s.attr("epsilon", 1e-5))


@_RULES.of("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def _skip_simplified_layer_normalization(g: Rewriter, s: NodeView) -> list[Tensor | None]:
    total = _with_skip(g, s, bias=3)
    y, inverse = _rms_normalized(g, total, s.inputs[2], [-1], s.attr("epsilon", 1e-12))
    return [y, None, inverse, total]


def _with_skip(g: Rewriter, s: NodeView, bias: int) -> Tensor:
    return g.Sum(*(t for t in (*s.inputs[:2], s.input(bias)) if t is not None))


def _rms_normalized(
    g: Rewriter, x: Tensor, scale: Tensor, axes: list[int], epsilon: float
) -> list[Tensor]:
    """The outputs `scale` · x / rms and 1 / rms, with rms = √(mean x² + ε) over `axes`."""
    square = g.ReduceMean(g.Mul(x, x), np.array(axes))
    inverse = g.Reciprocal(g.Sqrt(g.Add(square, F32(epsilon))))
    return [g.Mul(g.Mul(x, inverse), scale), inverse]

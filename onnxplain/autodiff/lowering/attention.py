"""The attention operators of ONNX Runtime, in standard ONNX.

Definitions: docs/ContribOperators.md of ONNX Runtime. An operator stays as it is if it has a cache
of keys and values, rotary embeddings, packed inputs, or a mask of starts and ends.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.model.model import Model
from onnxplain.model.operators import MICROSOFT

F32 = np.float32
_MASKED = -10000.0
"""Added to the score of a masked pair, unless an attribute gives another number."""

_RULES = Rewrites()


def undo_attention(model: Model) -> Model:
    """The model with Attention, QAttention and MultiHeadAttention replaced by what they fuse."""
    return rewritten(model, _RULES)


@_RULES.of("Attention", "QAttention", domain=MICROSOFT)
def _attention(g: Rewriter, s: NodeView) -> Tensor | None:
    x, weights, bias = *s.inputs[:2], s.input(2)
    quantized = s.op == "QAttention"
    mask, past = (s.input(i) for i in ((5, 8) if quantized else (3, 4)))
    size = g.static_dim(weights, -1)
    sizes = s.attr("qkv_hidden_sizes") or (None if size is None else [size // 3] * 3)
    if past is not None or sizes is None or not _is_understood(g, s, x, mask):
        return None
    if quantized:
        x = g.DequantizeLinear(x, s.input(3), s.input(6))
        weights = g.DequantizeLinear(weights, s.input(4), s.input(7), axis=1)
    product = g.MatMul(x, weights)
    product = product if bias is None else g.Add(product, bias)
    qkv = g.many("Split", 3, product, sizes, axis=-1)
    return _attended(g, s, qkv, mask, None if quantized else s.input(5))


@_RULES.of("MultiHeadAttention", domain=MICROSOFT)
def _multi_head_attention(g: Rewriter, s: NodeView) -> Tensor | None:
    qkv = [x for i in range(3) if (x := s.input(i)) is not None]
    bias, mask, added, past = (s.input(i) for i in range(3, 7))
    sizes = [g.static_dim(x, -1) for x in qkv if g.rank(x) == 3]
    if (
        past is not None
        or len(sizes) < 3
        or None in sizes
        or not _is_understood(g, s, qkv[0], mask)
    ):
        return None
    if bias is not None:
        biases = g.many("Split", 3, bias, np.array(sizes), axis=0)
        qkv = [g.Add(x, b) for x, b in zip(qkv, biases, strict=True)]
    return _attended(g, s, qkv, mask, added)


def _is_understood(g: Rewriter, s: NodeView, x: Tensor, mask: Tensor | None) -> bool:
    """Whether a mask is per sample, key or pair of query and key, and no other option is used."""
    plain = not s.attr("do_rotary", 0) and not any(s.node.output[1:])
    return plain and (mask is None or g.rank(mask) in (2, 3) or _has_lengths(g, x, mask))


def _has_lengths(g: Rewriter, x: Tensor, mask: Tensor) -> bool:
    """Whether a mask holds one number for each sample of `x`, the length of its sequence."""
    samples, own = g.spec(x), g.spec(mask)
    if samples is None or own is None or not samples.shape or own.shape is None:
        return False
    return own.shape == samples.shape[:1] and own.shape != (None,)


def _attended(
    g: Rewriter, s: NodeView, qkv: list[Tensor], mask: Tensor | None, added: Tensor | None
) -> Tensor:
    """softmax(q kᵀ scale + mask + added) v, for each head, joined to (batch, tokens, features)."""
    apart = np.array([0, 0, s.attr("num_heads"), -1])
    q, k, v = (g.Transpose(g.Reshape(x, apart), perm=[0, 2, 1, 3]) for x in qkv)
    scores = g.Mul(g.MatMul(q, g.Transpose(k, perm=[0, 1, 3, 2])), _scale(g, s, q))
    filtered = F32(s.attr("mask_filter_value", _MASKED))
    if mask is not None:
        counts = _kept_pairs(g, mask, k)
        scores = g.Add(scores, g.Where(counts, F32(0), filtered))
    if s.attr("unidirectional", 0):
        every = g.Expand(F32(1), g.Shape(scores, start=-2))
        earlier = g.Cast(g.Trilu(every, upper=0), to=TensorProto.BOOL)
        scores = g.Where(earlier, scores, filtered)
    if added is not None:
        scores = g.Add(scores, added)
    heads = g.MatMul(g.Softmax(scores, axis=-1), v)
    return g.Reshape(g.Transpose(heads, perm=[0, 2, 1, 3]), [0, 0, -1])


def _kept_pairs(g: Rewriter, mask: Tensor, k: Tensor) -> Tensor:
    """Which pairs of query and key count, as bool that broadcasts to (batch, heads, T, T)."""
    rank = g.rank(mask)
    if rank == 1:
        ones = g.Expand(F32(1), g.Shape(k, start=2, end=3))
        places = g.CumSum(ones, np.array(0), exclusive=1)
        lengths = g.Unsqueeze(g.Cast(mask, to=TensorProto.FLOAT), np.array([1, 2, 3]))
        return g.Less(places, lengths)
    pairs = g.Unsqueeze(mask, np.array([1, 2] if rank == 2 else [1]))
    return g.Cast(pairs, to=TensorProto.BOOL)


def _scale(g: Rewriter, s: NodeView, q: Tensor) -> Tensor:
    """1 / √(features of a head), unless an attribute gives the scale."""
    given = s.attr("scale", 0.0)
    if given:
        return g.constant(F32(given))
    features = g.Cast(g.Shape(q, start=-1), to=TensorProto.FLOAT)
    return g.Reciprocal(g.Sqrt(features))

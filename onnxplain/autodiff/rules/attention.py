"""Attention.

The probabilities are computed once more: the operator keeps them to itself. Query heads that share
a key head are stacked as if they were more queries, so that no key is repeated. A query that may
attend to nothing has the gradient 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import Size, arange, minus, pad, size, vector
from onnxplain.autodiff.table import vjp
from onnxplain.transforms.builder import Value

_NEVER = F32(-np.inf)
_SWAP = [0, 2, 1, 3]


@dataclass(frozen=True)
class Heads:
    """The heads of a node, and tensors of theirs: (batch, heads, tokens, features) unless said."""

    g: GradientBuilder
    of_queries: Size
    of_keys: Size
    joined: bool
    """Whether the node's tensors are (batch, tokens, heads * features)."""

    def apart(self, x: gs.Tensor, heads: Size) -> gs.Tensor:
        """A tensor of the node by head."""
        if not self.joined:
            return x
        return self.g.Transpose(self.g.Reshape(x, vector(self.g, [0, 0, heads, -1])), perm=_SWAP)

    def together(self, dx: gs.Tensor, x: gs.Tensor) -> gs.Tensor:
        """The gradient by head in the shape of the node's tensor."""
        return self.g.like(self.g.Transpose(dx, perm=_SWAP), x) if self.joined else dx

    def stacked(self, x: gs.Tensor) -> gs.Tensor:
        """Queries of all heads that share a key head, below each other."""
        return self._arranged(x, self.of_keys)

    def unstacked(self, x: gs.Tensor) -> gs.Tensor:
        """Queries of each head apart again."""
        return self._arranged(x, self.of_queries)

    def _arranged(self, x: gs.Tensor, heads: Size) -> gs.Tensor:
        same = isinstance(self.of_keys, int) and isinstance(self.of_queries, int)
        if same and self.of_keys == self.of_queries:
            return x
        return self.g.Reshape(x, vector(self.g, [0, heads, -1, 0]))


@vjp("Attention")
def attention(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor | None, *more: gs.Tensor | None
) -> tuple[gs.Tensor | None, ...]:
    """With S = cap(scale q kᵀ) + bias, P = softmax(S) and y = P v: dS = P (dP - Σ P dP)."""
    d_keys, d_values, d_scores = (*more, None, None, None)[:3]
    heads, past = _heads(g, s), s.input(4)
    q = heads.stacked(heads.apart(s.x, heads.of_queries))
    k, v = (heads.apart(x, heads.of_keys) for x in s.inputs[1:3])
    if past is not None:
        k, v = (
            g.Concat(before, x, axis=2) for before, x in zip(s.inputs[4:6], (k, v), strict=True)
        )
    scale = _scale(g, s, heads)
    raw = g.Mul(heads.unstacked(g.MatMul(q, _flipped(g, k))), scale)
    capped, slope = _capped(g, s, raw)
    p = _probabilities(g, s, capped)

    mode = s.attr("qk_matmul_output_mode", 0)
    d_stage = [d_scores if mode == stage else None for stage in range(4)]
    given = g.zeros_like(s.y) if dy is None else dy
    d_out = heads.stacked(heads.apart(given, heads.of_queries))
    d_p = _sum(g, heads.unstacked(g.MatMul(d_out, _flipped(g, v))), d_stage[3])
    softened = g.Mul(p, g.Sub(d_p, g.sum(g.Mul(p, d_p), [3])))
    d_biased = _sum(g, softened, d_stage[2])
    d_capped = _sum(g, d_biased, d_stage[1])
    d_raw = _sum(g, d_capped if slope is None else g.Mul(d_capped, slope), d_stage[0])

    d_product = heads.stacked(g.Mul(d_raw, scale))
    d_q = heads.unstacked(g.MatMul(d_product, k))
    d_k = _sum(g, g.MatMul(_flipped(g, d_product), q), d_keys)
    d_v = _sum(g, g.MatMul(_flipped(g, heads.stacked(p)), d_out), d_values)
    d_past: list[gs.Tensor] = []
    if past is not None:
        sizes = vector(g, [size(g, past, 2), size(g, s.inputs[1], -2)])
        (past_k, d_k), (past_v, d_v) = (g.many("Split", 2, d, sizes, axis=2) for d in (d_k, d_v))
        d_past = [past_k, past_v]
    dxs = (heads.together(d, x) for d, x in zip((d_q, d_k, d_v), s.inputs, strict=False))
    return *dxs, _to_mask(g, s, heads, d_biased), *d_past


def _heads(g: GradientBuilder, s: NodeView) -> Heads:
    if g.rank(s.x) == 3:
        return Heads(g, s.attrs["q_num_heads"], s.attrs["kv_num_heads"], joined=True)
    return Heads(g, size(g, s.x, 1), size(g, s.inputs[1], 1), joined=False)


def _scale(g: GradientBuilder, s: NodeView, heads: Heads) -> Value:
    if s.attr("scale"):
        return F32(s.attrs["scale"])
    features = size(g, s.x, -1)
    if isinstance(features, int) and isinstance(heads.of_queries, int):
        return F32((features // (heads.of_queries if heads.joined else 1)) ** -0.5)
    width = g.Div(features, vector(g, [heads.of_queries])) if heads.joined else features
    return g.Reciprocal(g.Sqrt(g.Cast(width, to=TensorProto.FLOAT)))


def _flipped(g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
    return g.Transpose(x, perm=[0, 1, 3, 2])


def _sum(g: GradientBuilder, a: gs.Tensor, b: gs.Tensor | None) -> gs.Tensor:
    return a if b is None else g.Add(a, b)


def _capped(g: GradientBuilder, s: NodeView, raw: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor | None]:
    """The scores with the soft cap, and its derivative."""
    cap = s.attr("softcap", 0.0)
    if not cap:
        return raw, None
    ratio = g.Tanh(g.Div(raw, F32(cap)))
    return g.Mul(ratio, F32(cap)), g.Sub(F32(1), g.square(ratio))


def _probabilities(g: GradientBuilder, s: NodeView, scores: gs.Tensor) -> gs.Tensor:
    biased = _biased(g, s, scores)
    p = g.Softmax(biased, axis=-1)
    if biased is scores:
        return p
    nowhere = g.Equal(g.ReduceMax(biased, np.array([-1])), _NEVER)
    return g.Where(nowhere, F32(0), p)


def _biased(g: GradientBuilder, s: NodeView, scores: gs.Tensor) -> gs.Tensor:
    """Masked scores; a mask for fewer keys than there are forbids the others."""
    forbidden = _forbidden(g, s, scores)
    if forbidden is not None:
        scores = g.Where(forbidden, _NEVER, scores)
    mask = s.input(3)
    if mask is None:
        return scores
    bias = mask if g.differentiable(mask) else g.Where(mask, F32(0), _NEVER)
    if _may_be_short(g, s):
        missing = g.Sub(g.Shape(scores, start=3), g.dim(mask, -1))
        bias = g.Pad(bias, g.Concat(np.array([0]), missing, axis=0), _NEVER, np.array([-1]))
    return g.Add(scores, bias)


def _may_be_short(g: GradientBuilder, s: NodeView) -> bool:
    keys, masked = size(g, s.inputs[1], -2), size(g, s.inputs[3], -1)
    static = isinstance(keys, int) and isinstance(masked, int) and s.input(4) is None
    return s.opset >= 24 and not (static and keys == masked)


def _forbidden(g: GradientBuilder, s: NodeView, scores: gs.Tensor) -> gs.Tensor | None:
    """Which keys a query may not attend to for where they stand; None if it may to all."""
    filled = s.input(6)
    queries, keys = (g.Shape(scores, start=axis, end=axis + 1) for axis in (2, 3))
    position = g.Unsqueeze(arange(g, queries), np.array([1]))
    key = arange(g, keys)
    found = []
    if filled is not None:
        filled = g.Reshape(filled, np.array([-1, 1, 1, 1]))
        found.append(g.GreaterOrEqual(key, filled))
        position = g.Add(position, g.Sub(filled, queries))
    elif s.input(4) is not None:
        position = g.Add(position, g.dim(s.inputs[4], 2))
    left, right = s.attr("left_window_size", -1), s.attr("right_window_size", -1)
    if s.attr("is_causal", 0):
        found.append(g.Greater(key, position))
    if left >= 0:
        found.append(g.Less(key, g.Sub(position, left)))
    if right >= 0:
        found.append(g.Greater(key, g.Add(position, right)))
    return _any(g, found)


def _any(g: GradientBuilder, conditions: list[gs.Tensor]) -> gs.Tensor | None:
    if not conditions:
        return None
    first, *others = conditions
    for other in others:
        first = g.Or(first, other)
    return first


def _to_mask(
    g: GradientBuilder, s: NodeView, heads: Heads, d_biased: gs.Tensor
) -> gs.Tensor | None:
    """Of the mask that is added: what reaches the scores, without the keys that it leaves out."""
    mask = s.input(3)
    if mask is None or not g.differentiable(mask):
        return None
    own, queries = g.dims(mask), g.dims(s.x)
    assert own is not None  # its rank is known
    assert queries is not None
    if _may_be_short(g, s):
        missing = g.Sub(g.Shape(d_biased, start=3), g.dim(mask, -1))
        d_biased = pad(g, d_biased, 4, {3: (0, minus(g, 0, missing))})
    n = heads.of_queries if isinstance(heads.of_queries, int) else None
    return g.unbroadcast(d_biased, (queries[0], n, queries[-2], own[-1]), mask)

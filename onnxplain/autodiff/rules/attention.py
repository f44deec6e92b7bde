"""Attention.

The probabilities are computed again, because the operator does not output them. Query heads that
share a key head are concatenated along the query axis, so that no key is repeated. A query that may
not attend to any key has the gradient 0.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.autodiff.scatter import pad
from onnxplain.transforms.builder import Value

_NEVER = F32(-np.inf)
_SWAP = [0, 2, 1, 3]


@dataclass(frozen=True)
class Heads:
    """Reshapes between the tensors of a node and (batch, heads, tokens, features)."""

    g: GradientBuilder
    of_queries: Tensor
    of_keys: Tensor
    joined: bool
    """Whether the node's tensors are (batch, tokens, heads * features)."""

    def apart(self, x: Tensor, heads: Tensor) -> Tensor:
        """A tensor of the node as (batch, heads, tokens, features)."""
        if not self.joined:
            return x
        return self.g.Transpose(self.g.Reshape(x, self.g.vector(0, 0, heads, -1)), perm=_SWAP)

    def together(self, dx: Tensor, x: Tensor) -> Tensor:
        """The gradient `dx`, (batch, heads, tokens, features), in the shape of the node's `x`."""
        return self.g.like(self.g.Transpose(dx, perm=_SWAP), x) if self.joined else dx

    def stacked(self, x: Tensor) -> Tensor:
        """Join query heads that share a key head: (batch, key heads, more tokens, features)."""
        return self._arranged(x, self.of_keys)

    def unstacked(self, x: Tensor) -> Tensor:
        """Undo `stacked`: (batch, query heads, tokens, features)."""
        return self._arranged(x, self.of_queries)

    def _arranged(self, x: Tensor, heads: Tensor) -> Tensor:
        if self.g.ints(self.of_keys) == self.g.ints(self.of_queries) is not None:
            return x
        return self.g.Reshape(x, self.g.vector(0, heads, -1, 0))


@vjp("Attention")
def attention(
    g: GradientBuilder, s: NodeView, dy: Tensor | None, *more: Tensor | None
) -> Gradients:
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
    d_p = g.total(heads.unstacked(g.MatMul(d_out, _flipped(g, v))), d_stage[3])
    softened = g.Mul(p, g.Sub(d_p, g.sum(g.Mul(p, d_p), [3])))
    d_biased = g.total(softened, d_stage[2])
    d_capped = g.total(d_biased, d_stage[1])
    d_raw = g.total(d_capped if slope is None else g.Mul(d_capped, slope), d_stage[0])

    d_product = heads.stacked(g.Mul(d_raw, scale))
    d_q = heads.unstacked(g.MatMul(d_product, k))
    d_k = g.total(g.MatMul(_flipped(g, d_product), q), d_keys)
    d_v = g.total(g.MatMul(_flipped(g, heads.stacked(p)), d_out), d_values)
    d_past: list[Tensor] = []
    if past is not None:
        sizes = g.vector(g.dim(past, 2), g.dim(s.inputs[1], -2))
        (past_k, d_k), (past_v, d_v) = (g.many("Split", 2, d, sizes, axis=2) for d in (d_k, d_v))
        d_past = [past_k, past_v]
    dxs = (heads.together(d, x) for d, x in zip((d_q, d_k, d_v), s.inputs, strict=False))
    return *dxs, _to_mask(g, s, heads, d_biased), *d_past


def _heads(g: GradientBuilder, s: NodeView) -> Heads:
    if g.rank(s.x) == 3:
        of_queries, of_keys = (g.vector(s.attrs[f"{whose}_num_heads"]) for whose in ("q", "kv"))
        return Heads(g, of_queries, of_keys, joined=True)
    return Heads(g, g.dim(s.x, 1), g.dim(s.inputs[1], 1), joined=False)


def _scale(g: GradientBuilder, s: NodeView, heads: Heads) -> Value:
    if s.attr("scale"):
        return F32(s.attrs["scale"])
    features = g.dim(s.x, -1)
    width = g.Div(features, heads.of_queries) if heads.joined else features
    known = g.ints(width)
    if known is not None:
        return F32(known[0] ** -0.5)
    return g.Reciprocal(g.Sqrt(g.as_float(width)))


def _flipped(g: GradientBuilder, x: Tensor) -> Tensor:
    return g.Transpose(x, perm=[0, 1, 3, 2])


def _capped(g: GradientBuilder, s: NodeView, raw: Tensor) -> tuple[Tensor, Tensor | None]:
    """The scores after the soft cap, and the derivative of the cap; None without a cap."""
    cap = s.attr("softcap", 0.0)
    if not cap:
        return raw, None
    ratio = g.Tanh(g.Div(raw, F32(cap)))
    return g.Mul(ratio, F32(cap)), g.Sub(F32(1), g.square(ratio))


def _probabilities(g: GradientBuilder, s: NodeView, scores: Tensor) -> Tensor:
    biased = _biased(g, s, scores)
    p = g.Softmax(biased, axis=-1)
    if biased is scores:
        return p
    nowhere = g.Equal(g.ReduceMax(biased, [-1]), _NEVER)
    return g.Where(nowhere, F32(0), p)


def _biased(g: GradientBuilder, s: NodeView, scores: Tensor) -> Tensor:
    """The scores with all masks; a forbidden pair gets `_NEVER`."""
    forbidden = _forbidden(g, s, scores)
    if forbidden is not None:
        scores = g.Where(forbidden, _NEVER, scores)
    mask = s.input(3)
    if mask is None:
        return scores
    bias = mask if g.differentiable(mask) else g.Where(mask, F32(0), _NEVER)
    missing = _missing(g, s, scores)
    if missing is not None:
        bias = g.Pad(bias, g.vector(0, missing), _NEVER, [-1])
    return g.Add(scores, bias)


def _missing(g: GradientBuilder, s: NodeView, scores: Tensor) -> Tensor | None:
    """Number of keys after the end of the mask, which are forbidden; None if there are none."""
    keys, masked = g.static_dim(s.inputs[1], -2), g.static_dim(s.inputs[3], -1)
    complete = keys is not None and keys == masked and s.input(4) is None
    if s.opset < 24 or complete:
        return None
    return g.Sub(g.Shape(scores, start=3), g.dim(s.inputs[3], -1))


def _forbidden(g: GradientBuilder, s: NodeView, scores: Tensor) -> Tensor | None:
    """Pairs of query and key that are forbidden by position: causality, windows, lengths."""
    filled = s.input(6)
    queries, keys = (g.Shape(scores, start=axis, end=axis + 1) for axis in (2, 3))
    position = g.Unsqueeze(g.arange(queries), [1])
    key = g.arange(keys)
    found = []
    if filled is not None:
        filled = g.Reshape(filled, [-1, 1, 1, 1])
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
    return functools.reduce(g.Or, found) if found else None


def _to_mask(g: GradientBuilder, s: NodeView, heads: Heads, d_biased: Tensor) -> Tensor | None:
    """The gradient of a float mask, that of the scores, without keys after the end of the mask."""
    mask = s.input(3)
    if mask is None or not g.differentiable(mask):
        return None
    own, queries = g.dims(mask), g.dims(s.x)
    assert own is not None  # its rank is known
    assert queries is not None
    missing = _missing(g, s, d_biased)
    if missing is not None:
        d_biased = pad(g, d_biased, 4, {3: (0, g.Neg(missing))})
    (count,) = g.ints(heads.of_queries) or (None,)
    return g.unbroadcast(d_biased, (queries[0], count, queries[-2], own[-1]), mask)

"""Multipliers of softmax and of normalisations over axes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.propagation.difference import twin
from onnxplain.autodiff.propagation.normal import normalisation
from onnxplain.autodiff.table import Rule

_CLOSE = 1e-2
"""Differences of logarithms below which the mean is taken by its series."""


def _softmax(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """With w the logarithmic means of y and y', Δy = w (Δx − Σ w Δx / Σ w), as Σ Δy = 0."""
    w = _logarithmic_mean(g, s)
    return g.Mul(w, g.Sub(dy, _weighted(g, s, w, dy)))


def _log_softmax(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """Δy = Δx − Σ w Δx / Σ w, with w the logarithmic means of eʸ and eʸ'."""
    axes = [s.attr("axis", -1)]
    w = _logarithmic_mean(g, s)
    return g.Sub(dy, g.Mul(g.Div(w, g.sum(w, axes)), g.sum(dy, axes)))


def _weighted(g: GradientBuilder, s: NodeView, w: gs.Tensor, dy: gs.Tensor) -> gs.Tensor:
    axes = [s.attr("axis", -1)]
    return g.Div(g.sum(g.Mul(w, dy), axes), g.sum(w, axes))


def _logarithmic_mean(g: GradientBuilder, s: NodeView) -> gs.Tensor:
    """(p − p') / (log p − log p') of the softmax p of the node's input."""
    logs = [g.LogSoftmax(x, axis=s.attr("axis", -1)) for x in (s.x, twin(g, s.x))]
    p, other = (g.Exp(log) for log in logs)
    d = g.Sub(*logs)
    far = g.Greater(g.Abs(d), F32(_CLOSE))
    # Else (p + p')/2 (1 - d²/12 + ...), where the quotient would be one of rounding errors.
    series = g.Mul(g.Mul(g.Add(p, other), F32(0.5)), g.Sub(F32(1), g.Mul(g.square(d), F32(1 / 12))))
    return g.Where(far, g.Div(g.Sub(p, other), g.Where(far, d, F32(1))), series)


def _normalised(g: GradientBuilder, s: NodeView, dy: gs.Tensor, *_: gs.Tensor | None) -> gs.Tensor:
    """Of c r, with c = x - mean x, and r = 1/√(mean c² + ε).

    Δ(c r) = Δc (r + r')/2 + (c + c')/2 Δr, Δ(mean c²) = mean((c + c') Δc), and Δr is
    -(r r')² / (r + r') times that.
    """
    ours, theirs = normalisation(g, s, s.x), normalisation(g, s, twin(g, s.x))
    dy = g.Mul(dy, ours.scale)
    middle = g.Mul(g.Add(ours.centred, theirs.centred), F32(0.5))
    total = g.Add(ours.rate, theirs.rate)
    fall = g.Div(g.square(g.Mul(ours.rate, theirs.rate)), total)
    along = g.Mul(g.Mul(middle, F32(2)), g.Mul(fall, ours.mean(g, g.Mul(dy, middle))))
    return ours.centre(g, g.Sub(g.Mul(dy, g.Mul(total, F32(0.5))), along))


NORMALISATIONS: Mapping[str, Rule] = {
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "LayerNormalization": _normalised,
    "RMSNormalization": _normalised,
    "InstanceNormalization": _normalised,
}

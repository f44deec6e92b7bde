"""DeepLIFT: multipliers m = Δy / Δx in place of derivatives.

Δ is the difference between the sample and the baseline, x' is the value at the baseline. Every rule
keeps the sum: Σ m_x Δx over a node's inputs is Σ m_y Δy over its outputs. For a linear operator the
multiplier is the derivative.
"""

from __future__ import annotations

from onnxplain.autodiff.propagation.operators import STRUCTURAL, UNARY, refusal, refusing, standard
from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.rules.normalization import NORMALIZATIONS, normalized, scale
from onnxplain.autodiff.table import Rule, RuleHooks, Rules
from onnxplain.model.operators import EXTREMA, LINEAR, WEIGHTED

_SMALL = 1e-6
"""Below this relative difference a quotient of differences is inaccurate because of rounding."""

_CLOSE = 1e-2
"""Below this difference of logarithms the logarithmic mean is computed by its series."""

_INSTEAD = "integrated_gradients"

BASELINE = "baseline"
"""Name of the second sample in the graph, see `transforms.paired`."""


def paired(g: GradientBuilder, x: Tensor) -> Tensor:
    """The tensor at the baseline; `x` itself where it does not depend on the sample."""
    return g.paired(x, BASELINE)


def varies(g: GradientBuilder, x: Tensor | None) -> bool:
    """Whether a tensor depends on the sample's values."""
    return x is not None and paired(g, x) is not x


def difference(g: GradientBuilder, x: Tensor) -> Tensor:
    """Δx = x − x'."""
    return g.Sub(x, paired(g, x))


def mean(g: GradientBuilder, x: Tensor) -> Tensor:
    """(x + x')/2, with the known type and shape of x."""
    if not varies(g, x):
        return x
    return g.in_place_of(x, g.Mul(g.Add(x, paired(g, x)), F32(0.5)))


def _quotient(g: GradientBuilder, dy: Tensor, x: Tensor, otherwise: object) -> Tensor:
    """`dy` / Δx, but `otherwise` where Δx is too small."""
    dx = difference(g, x)
    scale = g.Add(g.Abs(x), g.Abs(paired(g, x)))
    tells = g.Greater(g.Abs(dx), g.Mul(scale, F32(_SMALL)))
    return g.Where(tells, g.Div(dy, g.Where(tells, dx, F32(1))), otherwise)


def _halfway(g: GradientBuilder, s: NodeView, *dys: Tensor | None) -> Gradients:
    """The derivative at the mean of sample and baseline.

    It is exact for products of two, ab − a'b' = Δa (b + b')/2 + (a + a')/2 Δb, and for roots and
    norms, √x − √x' = Δx / (√x + √x').
    """
    if sum(varies(g, x) for x in s.inputs) > 2:
        raise refusal("deeplift", s, "multiplies more than two tensors", _INSTEAD)
    here = [x for x in (*s.inputs, *s.outputs) if varies(g, x)]
    return STANDARD.gradients(g, s.reading({x.name: mean(g, x) for x in here}), dys)


def _choice(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    if varies(g, s.inputs[0]):
        raise refusal("deeplift", s, "has a condition that depends on the picture", _INSTEAD)
    return STANDARD.gradients(g, s, [dy])


def _division(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """The rule for a · (1/b), where Δ(1/b) = −Δb / (b b')."""
    a, b = s.inputs
    if not varies(g, b):
        return STANDARD.gradients(g, s, [dy])
    rate, other = g.Reciprocal(b), g.Reciprocal(paired(g, b))
    to_b = g.Neg(g.Mul(g.Mul(dy, mean(g, a)), g.Mul(rate, other)))
    to_a = g.Mul(dy, g.Mul(g.Add(rate, other), F32(0.5)))
    return [g.sum_to(to_a, a, s.y), g.sum_to(to_b, b, s.y)]


def _rescale(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Δy/Δx, but the derivative where Δx is too small.

    With two inputs that depend on the sample, Δy is split between them, see `_change`.
    """
    varying = [i for i, x in enumerate(s.inputs) if varies(g, x)]
    if len(varying) > 2:
        raise refusal("deeplift", s, "has more than two inputs that vary", _INSTEAD)
    slopes = [*STANDARD.gradients(g, s, [dy]), None, None]
    multipliers: list[Tensor | None] = [None] * len(s.inputs)
    for i in varying:
        x = s.inputs[i]
        alone = difference(g, s.y) if len(varying) == 1 else _change(g, s, i, sum(varying) - i)
        slope = F32(0) if slopes[i] is None else slopes[i]
        multipliers[i] = _quotient(g, g.sum_to(g.Mul(dy, alone), x, s.y), x, slope)
    return multipliers


def _change(g: GradientBuilder, s: NodeView, index: int, other: int) -> Tensor:
    """The part of Δy that is due to input a: (f(a, b) − f(a', b) + f(a, b') − f(a', b')) / 2."""
    last, first = list(s.inputs), list(s.inputs)
    last[index] = paired(g, last[index])
    first[other] = paired(g, first[other])
    mixed = [g.many(s.op, 1, *inputs, **s.attrs)[0] for inputs in (last, first)]
    both = g.Add(g.Sub(s.y, mixed[0]), g.Sub(mixed[1], paired(g, s.y)))
    return g.Mul(both, F32(0.5))


def _extremum(g: GradientBuilder, s: NodeView, dy: Tensor, *_: Tensor | None) -> Gradients:
    """With M = max(y, y'): M − y' goes to the position of y, and y − M to the position of y'.

    One of the two is 0. At the position of the other one |Δx| is at least as large as |Δy|.
    """
    other = paired(g, s.y)
    further = g.Min(s.y, other) if s.op == "ReduceMin" else g.Max(s.y, other)
    at_baseline = NodeView(s.node, s.opset, lambda name: paired(g, g.tensor(name)))
    shares = (s, g.Sub(further, other)), (at_baseline, g.Sub(s.y, further))
    placed = [STANDARD.gradients(g, step, [g.Mul(dy, share)])[0] for step, share in shares]
    return [_quotient(g, g.Add(*placed), s.x, F32(0))]


def _softmax(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """Δy = w (Δx − Σ w Δx / Σ w), with w the logarithmic mean of y and y', because Σ Δy = 0."""
    axes = [s.attr("axis", -1)]
    w = _logarithmic_mean(g, s)
    return g.Mul(w, g.Sub(dy, g.Div(g.sum(g.Mul(w, dy), axes), g.sum(w, axes))))


def _log_softmax(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """Δy = Δx − Σ w Δx / Σ w, with w the logarithmic mean of eʸ and eʸ'."""
    axes = [s.attr("axis", -1)]
    w = _logarithmic_mean(g, s)
    return g.Sub(dy, g.Mul(g.Div(w, g.sum(w, axes)), g.sum(dy, axes)))


def _logarithmic_mean(g: GradientBuilder, s: NodeView) -> Tensor:
    """(p − p') / (log p − log p') of the softmax p of the node's input."""
    logs = [g.LogSoftmax(x, axis=s.attr("axis", -1)) for x in (s.x, paired(g, s.x))]
    p, other = (g.Exp(log) for log in logs)
    d = g.Sub(*logs)
    far = g.Greater(g.Abs(d), F32(_CLOSE))
    # For small d the series (p + p')/2 (1 - d²/12 + ...), because the quotient is inaccurate.
    series = g.Mul(g.Mul(g.Add(p, other), F32(0.5)), g.Sub(F32(1), g.Mul(g.square(d), F32(1 / 12))))
    return g.Where(far, g.Div(g.Sub(p, other), g.Where(far, d, F32(1))), series)


def _normalized(g: GradientBuilder, s: NodeView, dy: Tensor, *_: Tensor | None) -> Tensor:
    """The rule for c r, with c = x - mean x and r = 1/√(mean c² + ε).

    Δ(c r) = Δc (r + r')/2 + (c + c')/2 Δr, with Δr = -(r r')² / (r + r') Δ(mean c²) and
    Δ(mean c²) = mean((c + c') Δc).
    """
    ours, theirs = normalized(g, s, s.x), normalized(g, s, paired(g, s.x))
    dy = g.Mul(dy, scale(g, s))
    middle = g.Mul(g.Add(ours.centered, theirs.centered), F32(0.5))
    total = g.Add(ours.rate, theirs.rate)
    fall = g.Div(g.square(g.Mul(ours.rate, theirs.rate)), total)
    along = g.Mul(g.Mul(middle, F32(2)), g.Mul(fall, ours.mean(g.Mul(dy, middle))))
    return ours.center(g.Sub(g.Mul(dy, g.Mul(total, F32(0.5))), along))


_TABLE: dict[str, Rule] = {
    **dict.fromkeys(LINEAR | STRUCTURAL, standard),
    **dict.fromkeys(UNARY | {"Max", "Min"}, _rescale),
    **dict.fromkeys(EXTREMA, _extremum),
    **dict.fromkeys(WEIGHTED | {"Mul", "Einsum", "Sqrt", "ReduceL2", "ReduceSumSquare"}, _halfway),
    "Div": _division,
    "Where": _choice,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    **dict.fromkeys(NORMALIZATIONS, _normalized),
}

DEEPLIFT = Rules().replaced(_TABLE, RuleHooks(check=refusing("deeplift", _TABLE, _INSTEAD)))
"""DeepLIFT (Shrikumar 2017, Rescale rule), for models with the second sample `BASELINE`."""

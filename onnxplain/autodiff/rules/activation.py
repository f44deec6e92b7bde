"""Activations and softmax.

Where a function has no derivative, the gradient is that of torch: for example, Relu at 0 has 0.
"""

from __future__ import annotations

from math import pi, sqrt

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp, vjps
from onnxplain.transforms.builder import Value

_SELU_ALPHA = 1.67326319217681884765625
_SELU_GAMMA = 1.05070102214813232421875


def _rising(g: GradientBuilder, s: NodeView, below: Value, above: float = 1.0) -> Tensor:
    """The derivative of a function in two parts: `below` where x < 0, `above` where x > 0."""
    return g.Where(g.Greater(s.x, F32(0)), F32(above), below)


def _selu_slope(g: GradientBuilder, s: NodeView) -> Tensor:
    alpha, gamma = s.attr("alpha", _SELU_ALPHA), s.attr("gamma", _SELU_GAMMA)
    return _rising(g, s, g.Add(s.y, F32(alpha * gamma)), above=gamma)


def _alpha(s: NodeView, default: float = 1.0) -> float:
    return float(s.attr("alpha", default))


# Below 0: Elu is y = α (eˣ - 1), so y' = y + α; Celu is y = α (exp(x/α) - 1), so y' = y/α + 1.
vjps(
    {
        "Celu": lambda g, s, dy: g.Mul(
            dy, _rising(g, s, g.Add(g.Mul(s.y, F32(1 / _alpha(s))), F32(1)))
        ),
        "Elu": lambda g, s, dy: g.Mul(dy, _rising(g, s, g.Add(s.y, F32(_alpha(s))))),
        "LeakyRelu": lambda g, s, dy: g.Mul(dy, _rising(g, s, F32(_alpha(s, 0.01)))),
        "Relu": lambda g, s, dy: g.Mul(dy, g.above(s.y)),
        "Selu": lambda g, s, dy: g.Mul(dy, _selu_slope(g, s)),
        "Shrink": lambda g, s, dy: g.where(g.Greater(g.Abs(s.x), F32(s.attr("lambd", 0.5))), dy),
        "Sigmoid": lambda g, s, dy: g.Mul(dy, g.Mul(s.y, g.complement(s.y))),
        "Softplus": lambda g, s, dy: g.Mul(dy, g.Sigmoid(s.x)),
        "Softsign": lambda g, s, dy: g.Div(dy, g.square(g.Add(g.Abs(s.x), F32(1)))),
        "ThresholdedRelu": lambda g, s, dy: g.where(g.Greater(s.x, F32(_alpha(s))), dy),
    }
)


@vjp("PRelu", broadcasts=True)
def prelu(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    x, slope = s.inputs
    positive = g.Greater(x, F32(0))
    return g.Where(positive, dy, g.Mul(dy, slope)), g.Where(positive, F32(0), g.Mul(dy, x))


@vjp("HardSigmoid")
def hard_sigmoid(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    inside = g.Mul(g.above(s.y), g.below(s.y, 1.0))
    return g.Mul(dy, g.Mul(inside, F32(s.attr("alpha", 0.2))))


@vjp("HardSwish")
def hard_swish(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    x = s.x  # y = x h with h = x/6 + 1/2, limited to [0, 1]; y' = h + x h'
    inside = g.Mul(g.above(x, -3.0), g.below(x, 3.0))
    h = g.HardSigmoid(x, alpha=1 / 6, beta=0.5)
    return g.Mul(dy, g.Add(h, g.Mul(inside, g.Mul(x, F32(1 / 6)))))


@vjp("Swish")
def swish(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    alpha = F32(s.attr("alpha", 1.0))
    gate = g.Sigmoid(g.Mul(s.x, alpha))  # y = x σ(αx), y' = σ + α y (1 - σ)
    return g.Mul(dy, g.Add(gate, g.Mul(g.Mul(s.y, alpha), g.complement(gate))))


@vjp("Mish")
def mish(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    t = g.Tanh(g.Softplus(s.x))  # y = x t, y' = t + x (1 - t²) σ(x)
    bend = g.Mul(g.Mul(s.x, g.Sigmoid(s.x)), g.complement(g.square(t)))
    return g.Mul(dy, g.Add(t, bend))


@vjp("Gelu")
def gelu(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    slope = {"none": _gelu_slope, "tanh": _tanh_gelu_slope}[s.attr("approximate", "none")]
    return g.Mul(dy, slope(g, s.x))


def _gelu_slope(g: GradientBuilder, x: Tensor) -> Tensor:
    """Φ(x) + x φ(x), with the normal distribution Φ and its density φ."""
    cumulative = g.Mul(F32(0.5), g.Add(F32(1), g.Erf(g.Mul(x, F32(1 / sqrt(2))))))
    density = g.Mul(F32(1 / sqrt(2 * pi)), g.Exp(g.Mul(F32(-0.5), g.square(x))))
    return g.Add(cumulative, g.Mul(x, density))


def _tanh_gelu_slope(g: GradientBuilder, x: Tensor) -> Tensor:
    """(1 + t)/2 + x (1 - t²)/2 u', with t = tanh u and u = √(2/π) (x + 0.044715 x³)."""
    scale, cubic = sqrt(2 / pi), 0.044715
    x2 = g.square(x)
    t = g.Tanh(g.Mul(x, g.Add(F32(scale), g.Mul(F32(scale * cubic), x2))))
    du = g.Add(F32(scale), g.Mul(F32(3 * scale * cubic), x2))
    bend = g.Mul(g.Mul(x, du), g.complement(g.square(t)))
    return g.Mul(F32(0.5), g.Add(g.Add(F32(1), t), bend))


@vjp("Softmax", since=13)
def softmax(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    total = g.sum(g.Mul(s.y, dy), [s.attr("axis", -1)])  # dx = y (dy - Σ y dy)
    return g.Mul(s.y, g.Sub(dy, total))


@vjp("LogSoftmax", since=13)
def log_softmax(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    total = g.sum(dy, [s.attr("axis", -1)])  # dx = dy - eʸ Σ dy
    return g.Sub(dy, g.Mul(g.Exp(s.y), total))

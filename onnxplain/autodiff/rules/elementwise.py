"""Elementwise operators.

Where a derivative is infinite (the square root at 0) or not defined (the logarithm of a negative
base in Pow), the gradient is 0, so that sums over other elements stay finite.
"""

from __future__ import annotations

import functools
from math import pi, sqrt

import numpy as np

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp, vjps
from onnxplain.errors import GradientError


def inverse_sqrt(g: GradientBuilder, x: Tensor) -> Tensor:
    """1 / √x, and 0 where x is 0."""
    return g.inverse(g.Sqrt(x))


vjps(
    {
        "Abs": lambda g, s, dy: g.Mul(dy, g.Sign(s.x)),
        "Acos": lambda g, s, dy: g.Neg(g.Mul(dy, inverse_sqrt(g, g.Sub(F32(1), g.square(s.x))))),
        "Acosh": lambda g, s, dy: g.Mul(dy, inverse_sqrt(g, g.Sub(g.square(s.x), F32(1)))),
        "Asin": lambda g, s, dy: g.Mul(dy, inverse_sqrt(g, g.Sub(F32(1), g.square(s.x)))),
        "Asinh": lambda g, s, dy: g.Mul(dy, inverse_sqrt(g, g.Add(g.square(s.x), F32(1)))),
        "Atan": lambda g, s, dy: g.Div(dy, g.Add(g.square(s.x), F32(1))),
        "Atanh": lambda g, s, dy: g.Div(dy, g.Sub(F32(1), g.square(s.x))),
        "Cos": lambda g, s, dy: g.Neg(g.Mul(dy, g.Sin(s.x))),
        "Cosh": lambda g, s, dy: g.Mul(dy, g.Sinh(s.x)),
        "Erf": lambda g, s, dy: g.Mul(dy, g.Mul(F32(2 / sqrt(pi)), g.Exp(g.Neg(g.square(s.x))))),
        "Exp": lambda g, s, dy: g.Mul(dy, s.y),
        "Log": lambda g, s, dy: g.Div(dy, s.x),
        "Neg": lambda g, s, dy: g.Neg(dy),
        "Reciprocal": lambda g, s, dy: g.Neg(g.Mul(dy, g.square(s.y))),
        "Sin": lambda g, s, dy: g.Mul(dy, g.Cos(s.x)),
        "Sinh": lambda g, s, dy: g.Mul(dy, g.Cosh(s.x)),
        "Sqrt": lambda g, s, dy: g.Mul(dy, g.inverse(g.Mul(F32(2), s.y))),
        "Tan": lambda g, s, dy: g.Mul(dy, g.Add(F32(1), g.square(s.y))),
        "Tanh": lambda g, s, dy: g.Mul(dy, g.complement(g.square(s.y))),
    }
)


vjp("Identity", "Cast", "CastLike", "OptionalGetElement")(lambda g, s, dy: dy)


@vjp("Dropout")
def dropout(g: GradientBuilder, s: NodeView, dy: Tensor, *_: Tensor | None) -> Tensor:
    ratio, training = s.input(1), s.input(2)
    known = g.value(training)
    if training is None or (known is not None and not known.any()):
        return dy
    if len(s.node.output) < 2:
        raise GradientError(
            f"The Dropout {s.name!r} is random and does not output its mask, which its gradient "
            "needs: export the model in inference mode."
        )
    kept = g.where(s.outputs[1], g.Div(dy, g.Sub(F32(1), F32(0.5) if ratio is None else ratio)))
    return g.Where(training, kept, dy)


vjps(
    {
        "Add": lambda g, s, dy: [dy, dy],
        "Sub": lambda g, s, dy: [dy, g.Neg(dy)],
        "Mul": lambda g, s, dy: [g.Mul(dy, s.inputs[1]), g.Mul(dy, s.x)],
        "Sum": lambda g, s, dy: [dy] * len(s.inputs),
        "Mean": lambda g, s, dy: [g.Mul(dy, F32(1 / len(s.inputs)))] * len(s.inputs),
        "Where": lambda g, s, dy: [None, g.Where(s.x, dy, F32(0)), g.Where(s.x, F32(0), dy)],
    },
    broadcasts=True,
)


@vjp("Div", broadcasts=True)
def div(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    da = g.Div(dy, s.inputs[1])  # da = dy / b, db = -dy y / b
    return da, g.Neg(g.Mul(da, s.y))


@vjp("Mod", broadcasts=True)
def mod(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    a, b = s.inputs  # y = a - q b with an integer q, for any rounding
    quotient = g.Round(g.Div(g.Sub(a, s.y), b))
    return dy, g.Neg(g.Mul(dy, quotient))


@vjp("Pow", broadcasts=True)
def power(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    a, exponent = s.inputs
    value = g.value(exponent)
    # The exponent may be an integer tensor.
    b = g.as_float(exponent) if value is None else value.astype(np.float32)
    # da = dy b y / a; at a = 0 that slope is 1 for b = 1, else 0 or infinite. db = dy y log a.
    at_zero = g.as_float(g.Equal(b, F32(1)))
    slope = g.Where(g.Equal(a, F32(0)), at_zero, g.Div(g.Mul(b, s.y), a))
    rate = g.Where(g.Greater(a, F32(0)), g.Mul(s.y, g.Log(a)), F32(0))
    return g.Mul(dy, slope), g.Mul(dy, rate)


@vjp("Max", "Min", broadcasts=True)
def extremum(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Equal extrema share the gradient equally."""
    reached = [g.as_float(g.Equal(x, s.y)) for x in s.inputs]
    share = g.Div(dy, g.Sum(*reached))
    return [g.Mul(share, r) for r in reached]


@vjp("Clip", broadcasts=True)
def clip(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Where x equals a limit its gradient is 0, like that of Relu at 0."""
    low, high = s.input(1), s.input(2)
    inside = [
        mask(s.y, limit) for limit, mask in ((low, g.above), (high, g.below)) if limit is not None
    ]
    dx = g.Mul(dy, functools.reduce(g.Mul, inside)) if inside else dy
    moved = g.where(g.Not(g.Equal(s.x, s.y)), dy)
    dlimits = [None if to is None else g.where(g.Equal(s.y, to), moved) for to in (low, high)]
    return dx, *dlimits

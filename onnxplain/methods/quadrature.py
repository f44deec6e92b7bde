"""Quadrature rules for integrals from 0 to 1: points and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from onnxplain.methods.options import Quadrature
from onnxplain.tensors import Array


def nodes(rule: Quadrature, steps: int) -> tuple[Array, Array]:
    """Points in [0, 1] and their weights, both float64 (steps,); the weights add up to 1."""
    return _RULES[rule](steps)


def _gauss_legendre(steps: int) -> tuple[Array, Array]:
    places, weights = np.polynomial.legendre.leggauss(steps)
    return (1 + places) / 2, weights / 2


def _riemann(offset: float) -> Callable[[int], tuple[Array, Array]]:
    """Equal intervals with one point each, at the share `offset` of the interval."""

    def rule(steps: int) -> tuple[Array, Array]:
        return (np.arange(steps) + offset) / steps, np.full(steps, 1 / steps)

    return rule


def _trapezoid(steps: int) -> tuple[Array, Array]:
    """`steps` - 1 intervals; the first and the last point have half the weight."""
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


_RULES: Mapping[Quadrature, Callable[[int], tuple[Array, Array]]] = {
    "gauss-legendre": _gauss_legendre,
    "riemann-left": _riemann(0),
    "riemann-right": _riemann(1),
    "riemann-middle": _riemann(0.5),
    "riemann-trapezoid": _trapezoid,
}

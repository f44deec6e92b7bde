"""Resize where it repeats each element a whole number of times."""

from __future__ import annotations

import itertools
import math

import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.resize import axes_and_scales

_REPEATING = {
    ("asymmetric", "floor"),
    *itertools.product(
        ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"),
        ("round_prefer_ceil", "round_prefer_floor"),
    ),
}
"""Coordinates and roundings with which `nearest` at a whole scale repeats each element."""


def repeats(g: GradientBuilder, s: NodeView) -> bool:
    """Whether a node repeats each element along spatial axes, and does nothing else."""
    return bool(_factors(g, s))


def resize_by_sum(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """To each element the sum over its copies."""
    factors = _factors(g, s)
    mean = g.AveragePool(dy, kernel_shape=factors, strides=factors)
    return g.Mul(mean, F32(math.prod(factors)))


def _factors(g: GradientBuilder, s: NodeView) -> list[int]:
    """How often the spatial axes repeat each element, if that is what the node does; else empty."""
    axes, scales = axes_and_scales(g, s)
    coordinates = s.attr("coordinate_transformation_mode", "half_pixel")
    rounding = s.attr("nearest_mode", "round_prefer_floor")
    factors = dict.fromkeys(range(g.rank(s.x)), 1)
    factors |= {axis: int(n) for axis, n in zip(axes, scales, strict=True) if n and n % 1 == 0}
    repeats = (
        s.attr("mode", "nearest") == "nearest"
        and (coordinates, rounding) in _REPEATING
        and all(factors[axis] == n for axis, n in zip(axes, scales, strict=True))
    )
    batch, channels, *spatial = factors.values()
    return spatial if repeats and batch == channels == 1 and max(spatial, default=1) > 1 else []

"""Resize by an integer factor that repeats each element."""

from __future__ import annotations

import itertools
import math

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor
from onnxplain.autodiff.rules.resize import axes_and_scales

_REPEATING = {
    ("asymmetric", "floor"),
    *itertools.product(
        ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"),
        ("round_prefer_ceil", "round_prefer_floor"),
    ),
}
"""Coordinate and nearest modes for which `nearest` at an integer scale repeats each element."""


def resize_by_sum(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor | None:
    """The sum over the copies of each element; None unless elements are only repeated."""
    axes, scales = axes_and_scales(g, s)
    coordinates = s.attr("coordinate_transformation_mode", "half_pixel")
    kind = coordinates, s.attr("nearest_mode", "round_prefer_floor")
    factors = dict.fromkeys(range(g.rank(s.x)), 1)
    factors |= {axis: int(n) for axis, n in zip(axes, scales, strict=True) if n and n % 1 == 0}
    batch, channels, *spatial = factors.values()
    if (
        s.attr("mode", "nearest") != "nearest"
        or kind not in _REPEATING
        or any(factors[axis] != n for axis, n in zip(axes, scales, strict=True))
        or not batch == channels == 1 < max(spatial, default=1)
    ):
        return None
    mean = g.AveragePool(dy, kernel_shape=spatial, strides=spatial)
    return g.Mul(mean, F32(math.prod(spatial)))

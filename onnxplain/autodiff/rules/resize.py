"""Resize: linear in its input, one axis after the other.

The matrix of an axis is the output of the node for an identity matrix, so all modes, rounding and
edges are those of the forward pass. Its number of elements is the product of the two sizes, which
is small for pictures. The region of `tf_crop_and_resize` and the scales get no gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxplain.autodiff.rule import GradientBuilder, NodeView, Tensor, vjp
from onnxplain.autodiff.rules.linear import identity


@vjp("Resize")
def resize(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    axes, scales = axes_and_scales(g, s)
    matrix = _matrix_of_axes if _keeps_aspect(s) else _matrix_of_axis
    for place, axis in enumerate(axes):
        if scales[place] != 1:
            dy = _applied(g, dy, matrix(g, s, place, axes), axis, g.rank(s.x))
    return dy


def axes_and_scales(g: GradientBuilder, s: NodeView) -> tuple[list[int], list[float | None]]:
    """The axes that a Resize changes, and their scales; None for an unknown scale."""
    axes = [g.axis(s.x, axis) for axis in s.attr("axes", range(g.rank(s.x)))]
    return axes, [_scale(g, s, place, axis) for place, axis in enumerate(axes)]


def _scale(g: GradientBuilder, s: NodeView, place: int, axis: int) -> float | None:
    """The scale of an axis; None where it is unknown or does not define the result alone."""
    if _crops(s) or _keeps_aspect(s):
        return None
    if not _by_sizes(g, s):
        scales = g.value(s.input(2))
        return None if scales is None else float(scales[place])
    before, after = ((g.dims(tensor) or {axis: None})[axis] for tensor in (s.x, s.y))
    if isinstance(before, int) and isinstance(after, int):
        return after / before
    return 1.0 if before is not None and before == after else None


def _matrix_of_axis(g: GradientBuilder, s: NodeView, place: int, axes: list[int]) -> Tensor:
    """The matrix of the node along one axis, (size before, size after)."""
    rows = g.Unsqueeze(g.as_float(identity(g, g.dim(s.x, axes[place]))), [0, 1])
    resized = _rerun(g, s, rows, [place], axes=[3], keep_aspect_ratio_policy="stretch")
    return g.Squeeze(resized, [0, 1])


def _matrix_of_axes(g: GradientBuilder, s: NodeView, place: int, axes: list[int]) -> Tensor:
    """The same where the scale of an axis depends on the sizes of all: it resizes all axes."""
    sizes = [g.dim(s.x, axis) for axis in axes]
    others = np.delete(np.arange(len(axes)), place) + 2
    rows = g.Unsqueeze(g.as_float(identity(g, sizes[place])), np.sort([0, *others]))
    rows = g.Expand(rows, g.vector(1, sizes[place], *sizes))
    spatial = list(range(2, 2 + len(axes)))
    resized = _rerun(g, s, rows, list(range(len(axes))), axes=spatial)
    row = g.Slice(resized, 0 * others, 0 * others + 1, others)
    return g.Squeeze(row, np.sort([0, *others]))


def _rerun(g: GradientBuilder, s: NodeView, x: Tensor, places: list[int], **changed: Any) -> Tensor:
    """The node applied to another input, only along the axes at `places`."""
    roi = scales = sizes = None
    if _crops(s):
        count = len(s.attr("axes", range(g.rank(s.x))))
        roi = g.Gather(s.inputs[1], [*places, *(place + count for place in places)])
    if _by_sizes(g, s):
        sizes = g.Gather(s.inputs[3], places)
    else:
        scales = g.Gather(s.inputs[2], places)
    return g.Resize(x, roi, scales, sizes, **{**s.attrs, "extrapolation_value": 0.0, **changed})


def _applied(g: GradientBuilder, dy: Tensor, matrix: Tensor, axis: int, rank: int) -> Tensor:
    """The matrix times `dy` along one axis, in an input of `rank` axes."""
    if axis == rank - 2:
        return g.MatMul(matrix, dy)
    turned = g.Transpose(matrix, perm=[1, 0])
    if axis == rank - 1:
        return g.MatMul(dy, turned)
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    return g.Transpose(g.MatMul(g.Transpose(dy, perm=swap), turned), perm=swap)


def _crops(s: NodeView) -> bool:
    return bool(s.attr("coordinate_transformation_mode") == "tf_crop_and_resize")


def _keeps_aspect(s: NodeView) -> bool:
    return bool(s.attr("keep_aspect_ratio_policy", "stretch") != "stretch")


def _by_sizes(g: GradientBuilder, s: NodeView) -> bool:
    """Whether the node has `sizes`; an empty tensor counts as none."""
    return s.input(3) is not None and g.ints(s.input(3)) != []

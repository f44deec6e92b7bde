"""From a method's map to a heatmap, as nodes of a graph of opset 18 or newer.

The nodes compute what `onnxplain.explainer.heat.to_heatmap` computes. A graph cannot raise an
error, so where that function raises one, the heatmap is 0 everywhere and a number, the status, says
why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.explainer.heat import ROUNDING
from onnxplain.exporting.placement_nodes import GraphPlacement, at
from onnxplain.exporting.resample_nodes import area, double, linear, wide
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.formulas.namespace import interpolation_sizes
from onnxplain.interpolation import interpolation
from onnxplain.transforms.builder import Builder, Value

OK = 0
"""The status of a map that shows something."""

SAME_EVERYWHERE = 1
"""The status of a map that has the same value everywhere, so that it shows nothing."""

NOT_FINITE = 2
"""The status of a map, or of a score, with NaN or infinite values."""

NO_SUCH_TARGET = 3
"""The status of a sample that does not have what was asked for."""

_MAP = np.array([1, 2])


@dataclass(frozen=True, eq=False)
class Scaled:
    """Maps scaled to [0, 1], and the values that became 0 and 1.

    Attributes:
        heat: float32 (N, rows, columns), 0 where the status is not `OK`.
        status: int64 (N): one of the numbers above.
        low, high: float32 (N, 1, 1); they mean nothing where the status is not `OK`.
    """

    heat: gs.Tensor
    status: gs.Tensor
    low: gs.Tensor
    high: gs.Tensor

    def unless(self, g: Builder, status: gs.Tensor) -> Scaled:
        """The maps where `status`, int64 (N), is `OK`; others are 0, with this status."""
        shown = g.Equal(status, np.array(OK))
        heat = g.Where(g.Unsqueeze(shown, _MAP), self.heat, np.float32(0))
        return replace(self, heat=heat, status=g.Where(shown, self.status, status))


def heatmap_nodes(g: Builder, heat: GraphArray, sizes: Sequence[int], has_zero: bool) -> Scaled:
    """Maps (N, rows, columns) as heatmaps of the model's input, whose places have these sizes.

    Maps of one axis, or of more than two, become maps (N, 1, places). `has_zero` says whether the
    method's values have a zero; see `to_heatmap`.
    """
    xp, enlarged = GraphNamespace(g), heat
    for axis, (size, cells) in enumerate(zip(sizes, heat.dims[1:], strict=True)):
        assert cells is not None, "the sizes of a map are known"
        if cells != size:
            enlarged = xp.along(interpolation(size, cells), enlarged, axis - len(sizes))

    def planes(maps: GraphArray) -> gs.Tensor:
        flat = len(sizes) != len(_MAP)
        return g.Reshape(maps.tensor, np.array([0, 1, -1])) if flat else maps.tensor

    return scaled_nodes(g, planes(heat), planes(enlarged), has_zero)


def seen_heat_nodes(g: Builder, heat: GraphArray, where: GraphPlacement, has_zero: bool) -> Scaled:
    """A map (1, rows, columns) over the model's input, on the pixels of a picture that it sees.

    The map is of the model's input or of a grid over it, and is enlarged in one step.
    `has_zero` says whether the method's values have a zero; see `to_heatmap`.
    """
    cells = interpolation_sizes(heat.dims)
    down, across = (_back(g, where, axis, count) for axis, count in enumerate(cells))
    grid = _window_of(g, heat, where)
    enlarged = g.MatMul(down, g.MatMul(grid, g.Transpose(across, perm=[1, 0])))
    return scaled_nodes(g, heat.tensor, enlarged, has_zero)


def picture_heatmap_nodes(g: Builder, seen: Scaled, where: GraphPlacement) -> gs.Tensor:
    """The heatmap of a picture, float32 (1, H, W): 0 where the model does not see the picture."""
    return where.seen.padded(g, seen.heat, where.picture, np.float32(0))


def scaled_nodes(g: Builder, heat: gs.Tensor, seen: gs.Tensor, has_zero: bool) -> Scaled:
    """Scale enlarged maps, `seen`, to [0, 1], each by its own smallest and largest value.

    `heat` holds the maps before they were enlarged. Both are float32 (N, rows, columns).
    """
    low, high = g.ReduceMin(seen, _MAP), g.ReduceMax(seen, _MAP)
    # NaN is not less than or equal to any number.
    finite = g.LessOrEqual(g.Abs(heat), np.finfo(np.float32).max)
    all_finite = g.Cast(g.ReduceMin(g.Cast(finite, to=np.float32), _MAP), to=np.bool_)
    rounding = g.Mul(g.Max(g.Abs(low), g.Abs(high)), np.float32(ROUNDING))
    differs = g.Greater(g.Sub(high, low), rounding)
    shows = g.And(all_finite, differs)
    top = g.Relu(high) if has_zero else high
    span = g.Where(shows, g.Sub(top, low), np.float32(1))
    share = g.Div(g.Sub(seen, low), span)
    clipped = g.Clip(share, np.float32(0), np.float32(1))
    code = g.Where(differs, np.array(OK), np.array(SAME_EVERYWHERE))
    status = g.Squeeze(g.Where(all_finite, code, np.array(NOT_FINITE)), _MAP)
    return Scaled(g.Where(shows, clipped, np.float32(0)), status, low, top)


def _window_of(g: Builder, heat: GraphArray, where: GraphPlacement) -> Value:
    """The cells that show the picture, along each axis on which a cell is a pixel of the input."""
    kept: Value = heat.tensor
    for axis, cells in enumerate(interpolation_sizes(heat.dims)):
        if cells == where.model[axis]:
            kept = _in_window(g, kept, where, axis, axis + 1)
    return kept


def _back(g: Builder, where: GraphPlacement, axis: int, cells: int) -> gs.Tensor:
    """The matrix (seen pixels, cells) from a grid over the model's input to the picture.

    See `onnxplain.images.geometry`. If cells are the pixels of the input, those of the window.
    """
    old, new = at(g, where.picture, axis), at(g, where.resized, axis)
    first, last = (at(g, end, axis) for end in (where.shown.start, where.shown.stop))
    scale = g.Div(wide(g, new), wide(g, old))
    start = wide(g, first)
    pixels = wide(g, where.seen.pixels(g, axis))
    low = g.Sub(g.Mul(pixels, scale), start)
    high = g.Sub(g.Mul(g.Add(pixels, double(g, 1)), scale), start)
    size = g.Sub(last, first)
    middle = g.Mul(g.Add(low, high), double(g, 0.5))
    averaged, between = area(g, size, low, high), linear(g, size, middle)
    from_window = g.Where(g.Greater(new, old), averaged, between)
    model = int(where.model[axis])
    if cells == model:
        return from_window
    return g.MatMul(from_window, _in_window(g, interpolation(model, cells), where, axis, 0))


def _in_window(g: Builder, values: Value, where: GraphPlacement, axis: int, along: int) -> Value:
    """The places in the window, of values with a place for each pixel of the input.

    `axis` is that of the picture, and `along` that of the values.
    """
    if where.window.covers(where.model):
        return values
    start, stop = (at(g, end, axis) for end in (where.window.start, where.window.stop))
    return g.Slice(values, start, stop, np.array([along]))

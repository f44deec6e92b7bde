"""The input `region` of a file for a segmenter: the places where its class is explained.

The nodes compute what `onnxplain.targets.places.place` computes for a mask of the picture.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.exporting.placement_nodes import GraphPlacement, at
from onnxplain.exporting.resample_nodes import double, wide
from onnxplain.model.shapes import Shape
from onnxplain.tensors import Array
from onnxplain.transforms.builder import Builder, Value

_MAP = np.array([1, 2])
_LAST = np.array([1])


def has_places(g: Builder, mask: gs.Tensor) -> gs.Tensor:
    """Whether masks (N, rows, columns) are not 0 everywhere, bool (N)."""
    largest = g.ReduceMax(g.Cast(mask, to=np.float32), _MAP, keepdims=0)
    return g.Greater(largest, np.float32(0))


def covered_cells(g: Builder, region: gs.Tensor, where: GraphPlacement, grid: Shape) -> gs.Tensor:
    """1 at the cells of the answer's map that regions cover, else 0; float32 (N, *grid).

    A region, uint8 (N, rows, columns), is a mask of the picture. A cell is covered if the pixel at
    its center is selected. If no center is, the cells that contain selected pixels are covered.
    """
    mask = g.Min(g.Cast(region, to=np.float32), np.float32(1))
    down, across = (_centers(g, where, axis, cells) for axis, cells in enumerate(grid))
    under = _counted(g, down, mask, across)
    in_picture = g.MatMul(g.ReduceSum(down, _LAST), g.Transpose(g.ReduceSum(across, _LAST)))
    down, across = (_contents(g, where, axis, cells) for axis, cells in enumerate(grid))
    holding = g.Min(_counted(g, down, mask, across), np.float32(1))
    any_center = g.Unsqueeze(has_places(g, under), _MAP)
    return g.Where(any_center, under, g.Mul(holding, in_picture))


def _counted(g: Builder, down: gs.Tensor, mask: gs.Tensor, across: gs.Tensor) -> gs.Tensor:
    """How many selected pixels belong to each cell, (N, *grid)."""
    return g.MatMul(down, g.MatMul(mask, g.Transpose(across, perm=[1, 0])))


def _centers(g: Builder, where: GraphPlacement, axis: int, cells: int) -> gs.Tensor:
    """1 where a pixel is at the center of a cell, (cells, pixels) along one axis."""
    centers = (np.arange(cells) + 0.5) * where.model[axis] / cells
    source = g.Div(g.Sub(double(g, centers), _offset(g, where, axis)), _scale(g, where, axis))
    pixel = g.Cast(g.Floor(source), to=np.int64)
    return _same(g, pixel, _pixels(g, where, axis))


def _contents(g: Builder, where: GraphPlacement, axis: int, cells: int) -> gs.Tensor:
    """1 where a cell contains the center of a pixel, (cells, pixels) along one axis."""
    middle = g.Add(wide(g, _pixels(g, where, axis)), double(g, 0.5))
    in_model = g.Add(g.Mul(middle, _scale(g, where, axis)), _offset(g, where, axis))
    share = g.Div(g.Mul(in_model, double(g, cells)), double(g, where.model[axis]))
    return _same(g, np.arange(cells), g.Cast(g.Floor(share), to=np.int64))


def _same(g: Builder, rows: Value, columns: Value) -> gs.Tensor:
    """1 where two numbers are equal, (rows, columns)."""
    column = rows[:, None] if isinstance(rows, np.ndarray) else g.Unsqueeze(rows, _LAST)
    return g.Cast(g.Equal(column, columns), to=np.float32)


def _pixels(g: Builder, where: GraphPlacement, axis: int) -> Value:
    """The indices of the picture's pixels along one axis."""
    size = at(g, where.picture, axis)
    if isinstance(size, np.ndarray):
        pixels: Array = np.arange(size[0])
        return pixels
    return g.Range(np.array(0), g.Squeeze(size), np.array(1))


def _scale(g: Builder, where: GraphPlacement, axis: int) -> gs.Tensor:
    new, old = (at(g, size, axis) for size in (where.resized, where.picture))
    return g.Div(wide(g, new), wide(g, old))


def _offset(g: Builder, where: GraphPlacement, axis: int) -> gs.Tensor:
    """See `onnxplain.images.geometry.Placement`."""
    window, shown = (at(g, part.start, axis) for part in (where.window, where.shown))
    return g.Sub(wide(g, window), wide(g, shown))

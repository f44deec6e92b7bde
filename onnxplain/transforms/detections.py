"""A graph transform: the boxes and class scores of a detector, in one form for all layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.analysis.boxes import BoxLayout, Form, Part
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended

BOXES = PREFIX + "boxes"
"""The tensor of boxes, (N, 4, boxes): x1, y1, x2, y2 in pixels of the model's input."""

SCORES = PREFIX + "scores"
"""The tensor of class scores, (N, classes, boxes), or (N, 1, boxes) if there are `LABELS`."""

LABELS = PREFIX + "labels"
"""The tensor of classes, (N, 1, boxes), where each box has only one."""

_LEAST_ROWS = 300
"""Number of rows of the tensors where the model chooses another number for each sample.

More where it chose more for one sample: a model that suppresses no overlaps may return thousands.
"""

_CORNERS: Mapping[Form, Sequence[int]] = {
    "corners": (0, 1, 2, 3),
    "corners, y first": (1, 0, 3, 2),
}


@dataclass(frozen=True)
class PictureInput:
    """The input of a detector, and which of its axes hold rows and columns."""

    name: str
    rows: int
    columns: int


def with_detections(
    model: Model, layout: BoxLayout, shapes: Mapping[str, Shape], picture: PictureInput
) -> Model:
    """The model with the tensors `BOXES`, `SCORES` and, where the layout has labels, `LABELS`.

    `shapes` are the shapes of the outputs for one sample. The size of the picture is read in the
    graph, so samples of another size get boxes in their own pixels. Where the number of boxes
    differs between samples, rows of zeros are added, or the last rows left out, so that it is
    always the same. The outputs stay as they are.
    """
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, PREFIX + "detections/")
    declared = {spec.name: spec.shape for spec in model.outputs}
    outputs = {name: gs.Variable(name) for name in shapes}

    def read(part: Part) -> gs.Tensor:
        dims, shape = declared.get(part.tensor), shapes[part.tensor]
        axis = _row_axis(part, len(shape))
        varies = dims is not None and not isinstance(dims[axis], int)
        count = max(_LEAST_ROWS, shape[axis]) if layout.chosen and varies else None
        return _columns(g, outputs[part.tensor], part, len(shape), count)

    boxes = read(layout.boxes)
    if layout.strides:
        boxes = _decoded(g, boxes, layout.strides, picture)
    if layout.form != "center":
        boxes = g.Gather(boxes, np.array(_CORNERS[layout.form]), axis=1)
    else:
        boxes = _corners(g, boxes, None if layout.angle is None else read(layout.angle))
    if layout.fraction:
        sides = _sides(g, picture, [picture.columns, picture.rows] * 2)
        boxes = g.Mul(boxes, g.Reshape(_as_float(g, sides), np.array([4, 1])))

    scores = read(layout.scores)
    if layout.activation == "sigmoid":
        scores = g.Sigmoid(scores)
    if layout.activation == "softmax":
        classes = np.arange(shapes[layout.scores.tensor][-1] - 1)
        scores = g.Gather(_softmax(g, scores), classes, axis=1)
    if layout.objectness is not None:
        scores = g.Mul(scores, read(layout.objectness))

    named = {BOXES: boxes, SCORES: scores}
    if layout.labels is not None:
        named[LABELS] = read(layout.labels)
    for name, tensor in named.items():
        graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [gs.Variable(name)]))
    return appended(model, gs.export_onnx(graph, do_type_check=False).graph)


def _row_axis(part: Part, rank: int) -> int:
    """The axis of the boxes."""
    if part.columns is None:
        return rank - 1
    return rank - 1 if part.transposed else rank - 2


def _columns(g: Builder, output: gs.Tensor, part: Part, rank: int, count: int | None) -> gs.Tensor:
    """A part of a tensor, (N, columns, boxes); `count` is the number of boxes to fill up to."""
    tensor = _as_float(g, output)
    has_batch = rank == (2 if part.columns is None else 3)
    width = 1
    if part.columns is not None:
        first, end = part.columns
        axis, width = rank - 2 if part.transposed else rank - 1, end - first
        tensor = g.Gather(tensor, np.arange(first, end), axis=axis)
        if not part.transposed:
            tensor = g.Transpose(tensor, perm=[0, 2, 1] if has_batch else [1, 0])
    if rank < 3:
        tensor = g.Reshape(tensor, np.array([0 if has_batch else 1, width, -1]))
    if count is None:
        return tensor
    filled = g.Concat(tensor, np.zeros((1, width, count), np.float32), axis=2)
    return g.Gather(filled, np.arange(count), axis=2)


def _softmax(g: Builder, scores: gs.Tensor) -> gs.Tensor:
    """The softmax over the classes; on the last axis, where it is the same in all opsets."""
    turned = g.Transpose(scores, perm=[0, 2, 1])
    return g.Transpose(g.Softmax(turned, axis=2), perm=[0, 2, 1])


def _corners(g: Builder, boxes: gs.Tensor, angle: gs.Tensor | None) -> gs.Tensor:
    """Corners from center, width and height; of a rotated box, those of the box around it."""
    center, size = _halves(g, boxes)
    if angle is not None:
        turned = g.Gather(size, np.array([1, 0]), axis=1)
        size = g.Add(g.Mul(size, g.Abs(g.Cos(angle))), g.Mul(turned, g.Abs(g.Sin(angle))))
    half = g.Mul(size, np.float32(0.5))
    return g.Concat(g.Sub(center, half), g.Add(center, half), axis=1)


def _decoded(
    g: Builder, boxes: gs.Tensor, strides: Sequence[int], picture: PictureInput
) -> gs.Tensor:
    """Center and size in pixels, from an offset and the logarithm of a size in cells.

    Ge et al., "YOLOX: Exceeding YOLO Series in 2021", section 2.2.
    """
    grids = [_cells(g, stride, picture) for stride in strides]
    places, pixels = (g.Concat(*of_all, axis=-1) for of_all in zip(*grids, strict=True))
    center, logarithm = _halves(g, boxes)
    return g.Concat(g.Mul(g.Add(center, places), pixels), g.Mul(g.Exp(logarithm), pixels), axis=1)


def _halves(g: Builder, boxes: gs.Tensor) -> list[gs.Tensor]:
    return [g.Gather(boxes, np.array(columns), axis=1) for columns in ([0, 1], [2, 3])]


def _cells(g: Builder, stride: int, picture: PictureInput) -> tuple[gs.Tensor, gs.Tensor]:
    """Column and row of each cell of a grid, (1, 2, cells), and its stride, (1, 1, cells)."""
    sides = g.Add(_sides(g, picture, [picture.rows, picture.columns]), np.int64(stride - 1))
    cells = g.Div(sides, np.int64(stride))
    row, column = (
        g.Expand(g.Reshape(_count(g, cells, i), np.array(shape)), cells)
        for i, shape in enumerate(([-1, 1], [1, -1]))
    )
    flat = [g.Reshape(_as_float(g, place), np.array([1, 1, -1])) for place in (column, row)]
    pixels = g.Expand(np.full((1, 1, 1), stride, np.float32), g.Shape(flat[0]))
    return g.Concat(*flat, axis=1), pixels


def _count(g: Builder, sizes: gs.Tensor, place: int) -> gs.Tensor:
    """0, 1, ..., up to the size at a place less 1."""
    return g.Range(np.int64(0), g.Gather(sizes, np.int64(place), axis=0), np.int64(1))


def _sides(g: Builder, picture: PictureInput, axes: Sequence[int]) -> gs.Tensor:
    """The sizes of axes of the picture, int64."""
    return g.Gather(g.Shape(gs.Variable(picture.name)), np.array(axes), axis=0)


def _as_float(g: Builder, tensor: gs.Tensor) -> gs.Tensor:
    return g.Cast(tensor, to=TensorProto.FLOAT)

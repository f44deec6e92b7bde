"""A graph transform: the boxes and class scores of a detector, in one form for all layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.analysis.boxes import BoxLayout, Form, Part
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.tensors import Array
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


def with_detections(
    model: Model, layout: BoxLayout, shapes: Mapping[str, Shape], size: tuple[int, int]
) -> Model:
    """The model with the tensors `BOXES`, `SCORES` and, where the layout has labels, `LABELS`.

    `shapes` are the shapes of the outputs for one sample, and `size` is the number of rows and
    columns of the input. Where the number of boxes differs between samples, rows of zeros are
    added, or the last rows left out, so that it is always the same. The outputs stay as they are.
    """
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, PREFIX + "detections/")
    declared = {spec.name: spec.shape for spec in model.outputs}
    height, width = size
    outputs = {name: gs.Variable(name) for name in shapes}

    def read(part: Part) -> gs.Tensor:
        dims, shape = declared.get(part.tensor), shapes[part.tensor]
        axis = _row_axis(part, len(shape))
        varies = dims is not None and not isinstance(dims[axis], int)
        count = max(_LEAST_ROWS, shape[axis]) if layout.chosen and varies else None
        return _columns(g, outputs[part.tensor], part, len(shape), count)

    boxes = read(layout.boxes)
    if layout.strides:
        boxes = _decoded(g, boxes, layout.strides, size)
    if layout.form != "center":
        boxes = g.Gather(boxes, np.array(_CORNERS[layout.form]), axis=1)
    else:
        boxes = _corners(g, boxes, None if layout.angle is None else read(layout.angle))
    if layout.fraction:
        boxes = g.Mul(boxes, np.array([[width], [height], [width], [height]], np.float32))

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
    tensor = g.Cast(output, to=TensorProto.FLOAT)
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
    g: Builder, boxes: gs.Tensor, strides: Sequence[int], size: tuple[int, int]
) -> gs.Tensor:
    """Center and size in pixels, from an offset and the logarithm of a size in cells.

    Ge et al., "YOLOX: Exceeding YOLO Series in 2021", section 2.2.
    """
    places, pixels = _cells(strides, size)
    center, logarithm = _halves(g, boxes)
    return g.Concat(g.Mul(g.Add(center, places), pixels), g.Mul(g.Exp(logarithm), pixels), axis=1)


def _halves(g: Builder, boxes: gs.Tensor) -> list[gs.Tensor]:
    return [g.Gather(boxes, np.array(columns), axis=1) for columns in ([0, 1], [2, 3])]


def _cells(strides: Sequence[int], size: tuple[int, int]) -> tuple[Array, Array]:
    """Column and row of each cell, (2, cells), and its stride, (1, cells); float32."""
    places, pixels = [], []
    for stride in strides:
        rows, columns = (-(-side // stride) for side in size)
        places.append(np.mgrid[:rows, :columns].reshape(2, -1)[::-1])
        pixels.append(np.full((1, rows * columns), stride))
    of_all = np.concatenate(places, axis=1), np.concatenate(pixels, axis=1)
    return of_all[0].astype(np.float32), of_all[1].astype(np.float32)

"""Layouts of detectors: which tensors hold the boxes, their scores and their classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from onnxplain.errors import ModelError
from onnxplain.images.metadata import is_ultralytics, read_literal
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.suggestions import closest
from onnxplain.tensors import Array

Form = Literal["corners", "corners, y first", "center"]
"""The four numbers of a box: x1, y1, x2, y2, or y1, x1, y2, x2, or center x, y, width, height."""

_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Pixels between the cells of each grid of the usual detectors with one stage."""

_SMALLEST = 64
"""Rows and columns of the smallest input whose number of cells says something."""

_ANCHORS = 3
"""Boxes of each cell in detectors with anchors."""


@dataclass(frozen=True)
class Part:
    """Numbers of each box, read from one tensor.

    Attributes:
        tensor: (N, boxes, columns), or without the axis N if the model takes one sample.
        columns: the first column and the one after the last; None if the tensor has one number for
            each box, (N, boxes).
        transposed: whether the tensor is (N, columns, boxes).
    """

    tensor: str
    columns: tuple[int, int] | None = None
    transposed: bool = False


@dataclass(frozen=True)
class BoxLayout:
    """The tensors of a detector, and how boxes and class scores are computed from them.

    Attributes:
        name: the name in `LAYOUTS`.
        boxes: four numbers for each box, in the form `form`.
        scores: one score for each class, or if there are `labels`, the score of that class.
        fraction: whether coordinates are fractions of the input's width and height, not pixels.
        objectness: a number that the class scores are multiplied with.
        labels: the class of each box, where each box has only one.
        angle: the rotation of each box in radians.
        activation: what turns the scores into probabilities. With "softmax", the last class is the
            background.
        strides: of boxes that are not decoded, the pixels between the cells of each grid.
        chosen: whether the model returns only the boxes that it chose, so that the same row is
            another box in another picture.
    """

    name: str
    boxes: Part
    scores: Part
    form: Form = "center"
    fraction: bool = False
    objectness: Part | None = None
    labels: Part | None = None
    angle: Part | None = None
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    strides: tuple[int, ...] = ()
    chosen: bool = False

    @property
    def parts(self) -> list[Part]:
        """All parts of tensors that are read."""
        found = (self.boxes, self.scores, self.objectness, self.labels, self.angle)
        return [part for part in found if part is not None]


@dataclass(frozen=True)
class Outputs:
    """What layouts are recognized by.

    Attributes:
        shapes: shapes of the outputs for one sample, in order. Sizes that depend on the values of
            the sample may be those of any sample.
        size: rows and columns of the model's input.
        classes: number of classes that have a name; None if there are no names.
        metadata: the model's metadata.
        inputs: names of all inputs.
        values: the outputs for one sample, if the model was run.
    """

    shapes: Mapping[str, Shape]
    size: tuple[int, int]
    classes: int | None
    metadata: Mapping[str, str]
    inputs: Collection[str]
    values: Mapping[str, Array] = field(default_factory=dict)

    def called(self, *names: str) -> str:
        """The output with one of these names, or where there is none, the first output."""
        return next((name for name in self.shapes if name in names), next(iter(self.shapes)))

    @property
    def first(self) -> Shape:
        """The shape of the first output."""
        return next(iter(self.shapes.values()))


def find_layout(model: Model, outputs: Outputs, given: str | None) -> tuple[BoxLayout, str] | None:
    """The layout of a detector, and its source in words; None if the model is no known detector.

    The layout is the one called `given`, or else found from the model's metadata, from the names of
    its outputs, or from their shapes.

    Raises:
        ModelError: there is no layout called `given`, or the outputs do not fit it.
    """
    if given is not None:
        return _given(given, outputs), "given"
    for source, recognize in _RECOGNIZED.items():
        name = recognize(model, outputs)
        if name is not None:
            return LAYOUTS[name](outputs), source
    return None


def is_named_like_boxes(model: Model) -> bool:
    """Whether names of outputs, or the metadata, suggest that the outputs hold boxes."""
    names = [spec.name.lower() for spec in model.outputs]
    is_named = any("box" in name or name.startswith("det") for name in names)
    return is_named or model.metadata.get("task") in _ULTRALYTICS


def _given(name: str, outputs: Outputs) -> BoxLayout:
    if name not in LAYOUTS:
        raise ModelError(
            f"There is no layout of boxes called {name!r}{closest(name, LAYOUTS)}: choose one of "
            f"{', '.join(LAYOUTS)}."
        )
    try:
        layout = LAYOUTS[name](outputs)
    except (IndexError, StopIteration):
        layout = None
    if layout is None or not all(_fits(part, outputs) for part in layout.parts):
        shapes = ", ".join(f"{name} {shape}" for name, shape in outputs.shapes.items())
        raise ModelError(f"The outputs ({shapes}) do not fit the layout {name!r}.")
    return layout


def _fits(part: Part, outputs: Outputs) -> bool:
    """Whether a tensor has the axes and the columns of a part."""
    shape = outputs.shapes[part.tensor]
    if part.columns is None:
        return len(shape) in (1, 2)
    return len(shape) in (2, 3) and shape[-2 if part.transposed else -1] >= part.columns[1]


def _ultralytics(outputs: Outputs) -> BoxLayout:
    """(N, 4 + classes + others, boxes); masks, key points or an angle follow the classes."""
    tensor, columns = outputs.called("output0"), outputs.first[1]
    end = columns if outputs.classes is None else 4 + outputs.classes
    turned = Part(tensor, (end, end + 1), True) if outputs.metadata.get("task") == "obb" else None
    return BoxLayout(
        "ultralytics", Part(tensor, (0, 4), True), Part(tensor, (4, end), True), angle=turned
    )


def _end_to_end(outputs: Outputs) -> BoxLayout:
    """(N, boxes, 6 + others): the box, its score, its class."""
    tensor, is_turned = outputs.called("output0"), outputs.metadata.get("task") == "obb"
    return BoxLayout(
        "ultralytics-end-to-end",
        Part(tensor, (0, 4)),
        Part(tensor, (4, 5)),
        form="center" if is_turned else "corners",
        labels=Part(tensor, (5, 6)),
        angle=Part(tensor, (6, 7)) if is_turned else None,
        chosen=True,
    )


def _corners(outputs: Outputs) -> BoxLayout:
    """(N, 4 + classes, boxes) or (N, boxes, 4 + classes), the longer axis being that of boxes."""
    tensor, (_, rows, columns) = outputs.called("output0", "output"), outputs.first
    transposed = rows < columns
    end = min(rows, columns)
    return BoxLayout(
        "corners",
        Part(tensor, (0, 4), transposed),
        Part(tensor, (4, end), transposed),
        form="corners",
    )


def _with_objectness(name: str, strides: tuple[int, ...] = ()) -> Callable[[Outputs], BoxLayout]:
    def made(outputs: Outputs) -> BoxLayout:
        """(N, boxes, 5 + classes + others), the fifth number being the objectness."""
        tensor, columns = outputs.called("output0", "output", "output1"), outputs.first[2]
        end = columns if outputs.classes is None else 5 + outputs.classes
        return BoxLayout(
            name,
            Part(tensor, (0, 4)),
            Part(tensor, (5, end)),
            objectness=Part(tensor, (4, 5)),
            strides=strides,
        )

    return made


def _boxes_and_scores(outputs: Outputs) -> BoxLayout:
    """(N, boxes, 4) and (N, boxes, classes)."""
    shapes = outputs.shapes
    boxes = next(name for name, shape in shapes.items() if shape[-1] == 4)
    scores = next(name for name in shapes if name != boxes)
    return BoxLayout(
        "boxes-and-scores",
        Part(boxes, (0, 4)),
        Part(scores, (0, shapes[scores][-1])),
        form="corners",
    )


def _queries(
    name: str,
    boxes: Collection[str],
    scores: Collection[str],
    activation: Literal["sigmoid", "softmax"],
) -> Callable[[Outputs], BoxLayout]:
    def made(outputs: Outputs) -> BoxLayout:
        """(N, boxes, 4) as fractions, and (N, boxes, classes) without an activation."""
        tensor = outputs.called(*scores)
        return BoxLayout(
            name,
            Part(outputs.called(*boxes), (0, 4)),
            Part(tensor, (0, outputs.shapes[tensor][-1])),
            fraction=True,
            activation=activation,
        )

    return made


def _chosen(
    name: str, form: Form = "corners", fraction: bool = False
) -> Callable[[Outputs], BoxLayout]:
    def made(outputs: Outputs) -> BoxLayout:
        """Boxes, scores and classes that the model has chosen, each in its own output."""
        boxes, scores, labels = (outputs.called(*_CHOSEN[kind]) for kind in _CHOSEN)
        return BoxLayout(
            name,
            Part(boxes, (0, 4)),
            Part(scores),
            form=form,
            fraction=fraction,
            labels=Part(labels),
            chosen=True,
        )

    return made


_CHOSEN: Mapping[str, Collection[str]] = {
    "boxes": ("boxes", "bboxes", "detection_boxes", "det_boxes", "pred_boxes"),
    "scores": ("scores", "detection_scores", "det_scores", "pred_scores"),
    "labels": ("labels", "detection_classes", "det_classes", "pred_classes"),
}
"""Names of the outputs of detectors that choose their boxes themselves."""


_LOGITS = ("logits", "pred_logits")
"""Names of the class scores of detectors with queries."""


def _mmdeploy(outputs: Outputs) -> BoxLayout:
    """(N, boxes, 5), the fifth number being the score, and (N, boxes) classes."""
    tensor = outputs.called("dets")
    return BoxLayout(
        "mmdeploy",
        Part(tensor, (0, 4)),
        Part(tensor, (4, 5)),
        form="corners",
        labels=Part(outputs.called("labels")),
        chosen=True,
    )


def _paddle(outputs: Outputs) -> BoxLayout:
    """(boxes, 6): class, score, box."""
    tensor = outputs.called()
    return BoxLayout(
        "paddle-detection",
        Part(tensor, (2, 6)),
        Part(tensor, (1, 2)),
        form="corners",
        labels=Part(tensor, (0, 1)),
        chosen=True,
    )


LAYOUTS: Mapping[str, Callable[[Outputs], BoxLayout]] = {
    "ultralytics": _ultralytics,
    "ultralytics-end-to-end": _end_to_end,
    "yolov5": _with_objectness("yolov5"),
    "yolox": _with_objectness("yolox"),
    "yolox-undecoded": _with_objectness("yolox-undecoded", _STRIDES[0]),
    "corners": _corners,
    "boxes-and-scores": _boxes_and_scores,
    "detr": _queries("detr", ("pred_boxes",), _LOGITS, "softmax"),
    "detr-sigmoid": _queries("detr-sigmoid", ("pred_boxes",), _LOGITS, "sigmoid"),
    "rf-detr": _queries("rf-detr", ("dets",), ("labels",), "sigmoid"),
    "chosen": _chosen("chosen"),
    "chosen-fractions": _chosen("chosen-fractions", fraction=True),
    "tensorflow": _chosen("tensorflow", "corners, y first", fraction=True),
    "mmdeploy": _mmdeploy,
    "paddle-detection": _paddle,
}
"""Layouts by name. Sidecar files and `Explainer(boxes=...)` use these names."""


def _by_metadata(model: Model, outputs: Outputs) -> str | None:
    """The layouts that Ultralytics exports, by the metadata that it writes."""
    metadata, shape = outputs.metadata, outputs.first
    task = metadata.get("task", "detect")
    if not is_ultralytics(metadata) or task not in _ULTRALYTICS or len(shape) != 3:
        return None
    classes = len(_collection(read_literal(metadata, "names")))
    others = _ULTRALYTICS[task](metadata)
    if metadata.get("end2end") == "True" or shape[2] == 6 + others:
        return "ultralytics-end-to-end"
    if shape[1] == 4 + classes + others:
        return "ultralytics"
    return "yolov5" if shape[2] == 5 + classes + others else None


def _key_points(metadata: Mapping[str, str]) -> int:
    points, numbers = _collection(read_literal(metadata, "kpt_shape"))
    return int(points) * int(numbers)


def _collection(value: object) -> Collection[Any]:
    return value if isinstance(value, dict | list | tuple) else ()


_ULTRALYTICS: Mapping[str, Callable[[Mapping[str, str]], int]] = {
    "detect": lambda metadata: 0,
    "segment": lambda metadata: 32,
    "pose": _key_points,
    "obb": lambda metadata: 1,
}
"""By task, the number of columns besides box, scores and class."""


def _by_names(model: Model, outputs: Outputs) -> str | None:
    """The layouts that exporters give names to."""
    names, shapes = set(outputs.shapes), outputs.shapes
    if {"im_shape", "scale_factor"} & set(outputs.inputs) and outputs.first[-1] == 6:
        return "paddle-detection"
    if names & set(_LOGITS) and "pred_boxes" in names and shapes["pred_boxes"][-1] == 4:
        return _detr(outputs)
    if {"dets", "labels"} <= names:
        return "mmdeploy" if shapes["dets"][-1] == 5 else "rf-detr"
    if "detection_boxes" in names:
        return "tensorflow"
    if "bboxes" in names and names & set(_CHOSEN["labels"]):
        return "chosen-fractions"
    return "chosen" if all(names & set(own) for own in _CHOSEN.values()) else None


def _detr(outputs: Outputs) -> str | None:
    """By the number of names: with a softmax there is one class more, the background."""
    if outputs.classes is None:
        return None
    scores = outputs.shapes[outputs.called(*_LOGITS)][-1]
    return {outputs.classes: "detr-sigmoid", outputs.classes + 1: "detr"}.get(scores)


def _by_shapes(model: Model, outputs: Outputs) -> str | None:
    """The layouts whose number of boxes is that of all cells of the usual grids."""
    if min(outputs.size) < _SMALLEST:
        return None
    cells = {sum(_cells(outputs.size, stride) for stride in some) for some in _STRIDES}
    match [shape[1:] for shape in outputs.shapes.values()]:
        case [(first, 4), (second, _)] | [(first, _), (second, 4)]:
            is_pair = first == second and first in cells and _are_corners(outputs)
            return "boxes-and-scores" if is_pair else None
        case [(_, _)]:
            return _in_one_tensor(model, outputs, cells)
        case _:
            return None


def _in_one_tensor(model: Model, outputs: Outputs, cells: Collection[int]) -> str | None:
    """The layouts with one output of rank 3."""
    _, rows, columns = outputs.first
    is_turned, numbers, boxes = rows < columns, min(rows, columns), max(rows, columns)
    values = outputs.values.get(outputs.called())
    if values is not None and boxes >= _MANY:
        by_row = values[0].T if is_turned else values[0]
        if _has_corners(by_row):
            return _with_corners(outputs, by_row, is_turned, boxes in cells)
    classes = 1 if outputs.classes is None else outputs.classes
    if is_turned:
        return "ultralytics" if boxes in cells and numbers >= 4 + classes else None
    if numbers < 5 + classes:
        return None
    if boxes in {_ANCHORS * count for count in cells}:
        return "yolov5"
    if boxes in cells:
        return "yolox" if _is_decoded(model, outputs.called()) else "yolox-undecoded"
    return None


def _with_corners(
    outputs: Outputs, by_row: Array, is_turned: bool, is_of_cells: bool
) -> str | None:
    """The layouts with one output that holds corners; None where other numbers may follow them."""
    numbers, classes = by_row.shape[1], outputs.classes
    if numbers == _CHOSEN_NUMBERS and not is_turned:
        score, label = by_row[:, 4], by_row[:, 5]
        is_score = ((score >= 0) & (score <= 1)).all()
        if is_score and (label == np.rint(label)).all():
            return "ultralytics-end-to-end"
    is_usual = is_of_cells and is_turned if classes is None else numbers == 4 + classes
    return "corners" if is_usual else None


def _are_corners(outputs: Outputs) -> bool:
    """Whether the output with four columns may hold corners."""
    known = [values for values in outputs.values.values() if values.shape[-1] == _BOX]
    return all(_has_corners(values[0]) for values in known)


def _has_corners(by_row: Array) -> bool:
    """Whether the third and fourth number are nearly never less than the first and second.

    With a center, width and height this is not so: a box near the right edge is not that wide.
    """
    box = by_row[:, :4]
    return bool((box[:, 2:] >= box[:, :2]).mean() >= _NEARLY and (box[:, 2:] > box[:, :2]).any())


_MANY = 50
"""Number of boxes that say what their numbers are."""

_NEARLY = 0.95

_BOX = 4

_CHOSEN_NUMBERS = 6
"""Corners, score and class."""


def _cells(size: tuple[int, int], stride: int) -> int:
    rows, columns = (-(-side // stride) for side in size)
    return rows * columns


def _is_decoded(model: Model, output: str) -> bool:
    """Whether the graph takes the exponential of widths and heights."""
    index = model.index
    return any(index.nodes[i].op_type == "Exp" for i in index.ancestors([output]))


_RECOGNIZED: Mapping[str, Callable[[Model, Outputs], str | None]] = {
    "found from the model's metadata": _by_metadata,
    "found from the names of the outputs": _by_names,
    "found from the shape of the output": _by_shapes,
}

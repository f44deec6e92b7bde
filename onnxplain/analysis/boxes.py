"""Layouts of detectors: which tensors hold the boxes, their scores and their classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from onnxplain.model.shapes import Shape
from onnxplain.tensors import Array

Form = Literal["corners", "corners, y first", "center"]
"""The four numbers of a box: x1, y1, x2, y2, or y1, x1, y2, x2, or center x, y, width, height."""

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Pixels between the cells of each grid of the usual detectors with one stage."""


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
        boxes, scores, labels = (outputs.called(*CHOSEN[kind]) for kind in CHOSEN)
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


CHOSEN: Mapping[str, Collection[str]] = {
    "boxes": ("boxes", "bboxes", "detection_boxes", "det_boxes", "pred_boxes"),
    "scores": ("scores", "detection_scores", "det_scores", "pred_scores"),
    "labels": ("labels", "detection_classes", "det_classes", "pred_classes"),
}
"""Names of the outputs of detectors that choose their boxes themselves."""


LOGITS = ("logits", "pred_logits")
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
    "yolox-undecoded": _with_objectness("yolox-undecoded", STRIDES[0]),
    "corners": _corners,
    "boxes-and-scores": _boxes_and_scores,
    "detr": _queries("detr", ("pred_boxes",), LOGITS, "softmax"),
    "detr-sigmoid": _queries("detr-sigmoid", ("pred_boxes",), LOGITS, "sigmoid"),
    "rf-detr": _queries("rf-detr", ("dets",), ("labels",), "sigmoid"),
    "chosen": _chosen("chosen"),
    "chosen-fractions": _chosen("chosen-fractions", fraction=True),
    "tensorflow": _chosen("tensorflow", "corners, y first", fraction=True),
    "mmdeploy": _mmdeploy,
    "paddle-detection": _paddle,
}
"""Layouts by name. Sidecar files and `Explainer(boxes=...)` use these names."""

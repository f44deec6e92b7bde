"""Which layout the outputs of a detector have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from onnxplain.analysis.boxes import CHOSEN, LAYOUTS, LOGITS, STRIDES, BoxLayout, Outputs, Part
from onnxplain.errors import ModelError
from onnxplain.images.metadata import is_ultralytics, read_literal
from onnxplain.model.model import Model
from onnxplain.suggestions import closest
from onnxplain.tensors import Array

_SMALLEST = 64
"""Rows and columns of the smallest input whose number of cells says something."""

_ANCHORS = 3
"""Boxes of each cell in detectors with anchors."""


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
    if names & set(LOGITS) and "pred_boxes" in names and shapes["pred_boxes"][-1] == 4:
        return _detr(outputs)
    if {"dets", "labels"} <= names:
        return "mmdeploy" if shapes["dets"][-1] == 5 else "rf-detr"
    if "detection_boxes" in names:
        return "tensorflow"
    if "bboxes" in names and names & set(CHOSEN["labels"]):
        return "chosen-fractions"
    return "chosen" if all(names & set(own) for own in CHOSEN.values()) else None


def _detr(outputs: Outputs) -> str | None:
    """By the number of names: with a softmax there is one class more, the background."""
    if outputs.classes is None:
        return None
    scores = outputs.shapes[outputs.called(*LOGITS)][-1]
    return {outputs.classes: "detr-sigmoid", outputs.classes + 1: "detr"}.get(scores)


def _by_shapes(model: Model, outputs: Outputs) -> str | None:
    """The layouts whose number of boxes is that of all cells of the usual grids."""
    if min(outputs.size) < _SMALLEST:
        return None
    cells = {sum(_cells(outputs.size, stride) for stride in some) for some in STRIDES}
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

"""Layouts of detectors: recognized, and brought into one form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper
from tiny import Array, noise, run

from onnxplain.analysis.boxes import LAYOUTS, BoxLayout, Outputs, find_layout
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.transforms.detections import BOXES, LABELS, SCORES, with_detections
from onnxplain.transforms.extract import with_outputs

SIZE = (64, 96)
CELLS = 8 * 12 + 4 * 6 + 2 * 3

Outcome = tuple[Array, Array, Array | None]
"""Corners (N, 4, boxes), class scores, and classes."""


def echo(outputs: dict[str, Array], opset: int = 17, op: str = "Identity", **open_: str) -> Model:
    """A model that returns what it is given, with the outputs' names; `open_` axes vary."""
    types = {np.dtype(np.int64): TensorProto.INT64, np.dtype(np.float32): TensorProto.FLOAT}

    def info(name: str, array: Array, suffix: str = "") -> Any:
        shape = [open_.get(f"axis{i}", size) for i, size in enumerate(array.shape)]
        return helper.make_tensor_value_info(name + suffix, types[array.dtype], shape)

    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_in"], [name]) for name in outputs],
        "g",
        [info(name, array, "_in") for name, array in outputs.items()],
        [info(name, array) for name, array in outputs.items()],
    )
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def normalized(
    outputs: dict[str, Array],
    classes: int | None = None,
    given: str | None = None,
    opset: int = 17,
    **open_: str,
) -> tuple[BoxLayout, Outcome]:
    model = echo(outputs, opset, **open_)
    shapes = {name: array.shape for name, array in outputs.items()}
    facts = Outputs(shapes, SIZE, classes, {}, model.index.inputs)
    found = find_layout(model, facts, given)
    assert found is not None
    layout, _ = found
    names = [BOXES, SCORES, *([LABELS] if layout.labels else [])]
    made = with_outputs(with_detections(model, layout, shapes, SIZE), names)
    got = run(made.proto, {f"{name}_in": array for name, array in outputs.items()})
    return layout, (got[0], got[1], got[2] if len(got) > 2 else None)


def positive(*shape: int, seed: int = 0) -> Array:
    return np.abs(noise(*shape, seed=seed))


def corners(center: Array) -> Array:
    """(N, 4, boxes) of center, width and height, one box after the other."""
    found = np.empty_like(center)
    for sample, own in enumerate(center):
        for i, (x, y, w, h) in enumerate(own.T):
            found[sample, :, i] = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return found


def turned(rows: Array) -> Array:
    return np.moveaxis(rows, -1, -2)


def ultralytics() -> tuple[dict[str, Array], Outcome]:
    y = positive(2, 4 + 3, CELLS)
    return {"output0": y}, (corners(y[:, :4]), y[:, 4:], None)


def yolov5() -> tuple[dict[str, Array], Outcome]:
    y = positive(1, 3 * CELLS, 5 + 3)
    return {"output0": y}, (corners(turned(y[..., :4])), turned(y[..., 5:] * y[..., 4:5]), None)


def yolox() -> tuple[dict[str, Array], Outcome]:
    """Not decoded: offsets and logarithms of sizes, in cells of 8, then 16, then 32 pixels."""
    y = noise(1, CELLS, 5 + 2)
    center, i = np.empty((1, 4, CELLS), np.float32), 0
    for stride in (8, 16, 32):
        for row in range(SIZE[0] // stride):
            for column in range(SIZE[1] // stride):
                x, down, w, h = y[0, i, :4]
                center[0, :2, i] = (x + column) * stride, (down + row) * stride
                center[0, 2:, i] = np.exp(w) * stride, np.exp(h) * stride
                i += 1
    return {"output": y}, (corners(center), turned(y[..., 5:] * y[..., 4:5]), None)


def boxes_and_scores() -> tuple[dict[str, Array], Outcome]:
    boxes, scores = positive(1, CELLS, 4), positive(1, CELLS, 5, seed=1)
    return {"903": scores, "914": boxes}, (turned(boxes), turned(scores), None)


def queries(names: Sequence[str], background: bool) -> tuple[dict[str, Array], Outcome]:
    boxes, logits = positive(1, 9, 4), noise(1, 9, 4, seed=1)
    pixels = corners(turned(boxes)) * np.array([96, 64, 96, 64])[None, :, None]
    exp = np.exp(logits.astype(np.float64))
    softmax = (exp / exp.sum(axis=-1, keepdims=True))[..., :3]
    scores = softmax if background else 1 / (1 + 1 / exp)
    return dict(zip(names, (boxes, logits), strict=True)), (pixels, turned(scores), None)


def chosen(names: Sequence[str], scale: Any = 1, order: Any = (0, 1, 2, 3)) -> Any:
    boxes, scores = positive(1, 7, 4), positive(1, 7, seed=1)
    labels = np.arange(7)[None] % 3
    expected = turned(boxes)[:, list(order)] * np.reshape(scale, (1, -1, 1))
    found = dict(zip(names, (boxes, scores, labels), strict=True))
    return found, (expected, scores[:, None], labels[:, None])


def mmdeploy() -> tuple[dict[str, Array], Outcome]:
    dets, labels = positive(1, 7, 5), np.arange(7)[None] % 3
    return {"dets": dets, "labels": labels}, (
        turned(dets[..., :4]),
        dets[:, None, :, 4],
        labels[:, None],
    )


FRACTION = [96, 64, 96, 64]
CASES: dict[str, tuple[str, Callable[[], Any], int | None]] = {
    "Ultralytics": ("ultralytics", ultralytics, None),
    "YOLOv5": ("yolov5", yolov5, None),
    "YOLOX": ("yolox-undecoded", yolox, None),
    "YOLO-NAS": ("boxes-and-scores", boxes_and_scores, None),
    "DETR": ("detr", lambda: queries(["pred_boxes", "logits"], True), 3),
    "Deformable DETR": ("detr-sigmoid", lambda: queries(["pred_boxes", "logits"], False), 4),
    "RF-DETR": ("rf-detr", lambda: queries(["dets", "labels"], False), None),
    "RT-DETR": ("chosen", lambda: chosen(["boxes", "scores", "labels"]), None),
    "SSD": ("chosen-fractions", lambda: chosen(["bboxes", "scores", "labels"], FRACTION), None),
    "TensorFlow": (
        "tensorflow",
        lambda: chosen(
            ["detection_boxes", "detection_scores", "detection_classes"], FRACTION, (1, 0, 3, 2)
        ),
        None,
    ),
    "MMDeploy": ("mmdeploy", mmdeploy, None),
}


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("case", CASES)
def test_layouts_become_one(case: str, opset: int) -> None:
    name, made, classes = CASES[case]
    outputs, expected = made()
    layout, got = normalized(outputs, classes, opset=opset)
    assert layout.name == name
    for found, right in zip(got, expected, strict=True):
        if right is None:
            assert found is None
        else:
            assert_allclose(found, right, rtol=1e-5, atol=1e-5)


def test_a_varying_number_of_boxes_is_filled_up() -> None:
    """As torchvision exports it, without a batch axis."""
    boxes, scores, labels = positive(5, 4), positive(5, seed=1), np.arange(5)
    layout, got = normalized({"boxes": boxes, "labels": labels, "scores": scores}, axis0="n")
    assert layout.chosen
    assert got[0].shape == (1, 4, 300)
    assert got[2] is not None
    assert_allclose(got[0][0, :, :5], boxes.T)
    assert_allclose(got[1][0, 0], [*scores, *[0] * 295])
    assert_allclose(got[2][0, 0, :5], labels)


def test_a_rotated_box_gets_the_box_around_it() -> None:
    """A box of 4 x 2 pixels at 45 degrees is 3 · sqrt(2) pixels wide and high."""
    y = np.zeros((1, 4 + 1 + 1, CELLS), np.float32)
    y[0, :4, 0] = 10, 20, 4, 2
    y[0, 4:, 0] = 0.5, np.pi / 4
    model, shapes = echo({"output0": y}), {"output0": y.shape}
    metadata = {"task": "obb", "names": "{0: 'ship'}", "stride": "32"}
    found = find_layout(model, Outputs(shapes, SIZE, 1, metadata, ()), None)
    assert found is not None
    assert found[1] == "found from the model's metadata"
    made = with_outputs(with_detections(model, found[0], shapes, SIZE), [BOXES, SCORES])
    got, scores = run(made.proto, {"output0_in": y})
    half = 1.5 * np.sqrt(2)
    assert_allclose(got[0, :, 0], [10 - half, 20 - half, 10 + half, 20 + half], rtol=1e-5)
    assert scores.shape == (1, 1, CELLS)


@pytest.mark.parametrize(
    ("task", "others", "more"),
    [("detect", 0, {}), ("segment", 32, {}), ("pose", 51, {"kpt_shape": "[17, 3]"})],
)
@pytest.mark.parametrize("end_to_end", [False, True])
def test_ultralytics_says_what_follows_the_classes(
    task: str, others: int, more: dict[str, str], end_to_end: bool
) -> None:
    shape = (1, 300, 6 + others) if end_to_end else (1, 4 + 2 + others, CELLS)
    y = positive(*shape)
    metadata = {"task": task, "names": "{0: 'a', 1: 'b'}", "stride": "32", **more}
    found = find_layout(
        echo({"output0": y}), Outputs({"output0": shape}, SIZE, 2, metadata, ()), None
    )
    assert found is not None
    assert found[0].name == ("ultralytics-end-to-end" if end_to_end else "ultralytics")
    assert found[0].scores.columns == ((4, 5) if end_to_end else (4, 6))


@pytest.mark.parametrize(
    "shapes",
    [
        {"y": (1, 1000)},
        {"y": (1, 21, 64, 96)},
        {"y": (1, 40, 7)},
        {"tokens": (1, 197, 768), "class": (1, 10)},
        {"logits": (1, 9, 4), "pred_boxes": (1, 9, 4)},
    ],
)
def test_other_outputs_are_no_boxes(shapes: dict[str, tuple[int, ...]]) -> None:
    """The last is a DETR of which the number of classes is not known."""
    model = echo({name: positive(*shape) for name, shape in shapes.items()})
    assert find_layout(model, Outputs(shapes, SIZE, None, {}, ()), None) is None


def test_every_layout_has_a_case() -> None:
    same = {"ultralytics-end-to-end", "yolox", "paddle-detection"}
    assert {name for name, *_ in CASES.values()} | same == set(LAYOUTS)

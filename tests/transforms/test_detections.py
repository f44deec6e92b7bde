"""Layouts of detectors: recognized, and brought into one form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper
from tiny import Array, noise, run

from onnxplain.analysis.box_layouts import find_layout
from onnxplain.analysis.boxes import LAYOUTS, BoxLayout, Outputs
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.transforms.detections import BOXES, LABELS, SCORES, PictureInput, with_detections
from onnxplain.transforms.extract import with_outputs

SIZE = (64, 96)
CELLS = 8 * 12 + 4 * 6 + 2 * 3

PICTURE = PictureInput("picture", 2, 3)
PICTURE_INFO = helper.make_tensor_value_info(
    "picture", TensorProto.FLOAT, [1, 3, "rows", "columns"]
)

Outcome = tuple[Array, Array, Array | None]
"""Corners (N, 4, boxes), class scores, and classes."""


def echo(outputs: dict[str, Array], opset: int = 17, op: str = "Identity", **open_: str) -> Model:
    """A model that returns what it is given, with the outputs' names; `open_` axes vary."""
    types = {np.dtype(np.int64): TensorProto.INT64, np.dtype(np.float32): TensorProto.FLOAT}

    def info(name: str, array: Array, suffix: str = "") -> Any:
        shape = [open_.get(f"axis{i}", size) for i, size in enumerate(array.shape)]
        return helper.make_tensor_value_info(name + suffix, types[array.dtype], shape)

    graph = helper.make_graph(
        [helper.make_node(op, [f"{name}_in"], [name]) for name in outputs],
        "g",
        [PICTURE_INFO, *(info(name, array, "_in") for name, array in outputs.items())],
        [info(name, array) for name, array in outputs.items()],
    )
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def run_on(model: Model, feeds: dict[str, Array], size: tuple[int, int] = SIZE) -> list[Array]:
    """The outputs for a picture of that size."""
    known = feeds | {PICTURE.name: np.zeros((1, 3, *size), np.float32)}
    return run(model.proto, {name: known[name] for name in model.index.inputs})


def normalized(
    outputs: dict[str, Array],
    classes: int | None = None,
    given: str | None = None,
    opset: int = 17,
    **open_: str,
) -> tuple[BoxLayout, Outcome]:
    model = echo(outputs, opset, **open_)
    shapes = {name: array.shape for name, array in outputs.items()}
    facts = Outputs(shapes, SIZE, classes, {}, model.index.inputs, outputs)
    found = find_layout(model, facts, given)
    assert found is not None
    layout, _ = found
    names = [BOXES, SCORES, *([LABELS] if layout.labels else [])]
    made = with_outputs(with_detections(model, layout, shapes, PICTURE), names)
    got = run_on(made, {f"{name}_in": array for name, array in outputs.items()})
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


def two_corners(boxes: int, seed: int = 0) -> Array:
    """(1, 4, boxes), the second corner to the right of the first and below it."""
    first = noise(1, 2, boxes, seed=seed)
    return np.concatenate([first, first + positive(1, 2, boxes, seed=seed + 1)], axis=1)


def joined_corners(boxes: int, by_row: bool) -> tuple[dict[str, Array], Outcome]:
    """As YOLOv9, SSD and PicoDet of LibreYOLO, which writes the names of the classes."""
    box, scores = two_corners(boxes), positive(1, 5, boxes, seed=2)
    y = np.concatenate([box, scores], axis=1)
    return {"output": turned(y) if by_row else y}, (box, scores, None)


def boxes_and_scores() -> tuple[dict[str, Array], Outcome]:
    boxes, scores = turned(two_corners(CELLS)), positive(1, CELLS, 5, seed=2)
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


def end_to_end() -> tuple[dict[str, Array], Outcome]:
    """Rows of corners, a score and a class, of a model that says nothing of itself."""
    box, label = two_corners(60), np.arange(60, dtype=np.float32)[None, None]
    score = 1 / (1 + positive(1, 1, 60, seed=2))
    y = turned(np.concatenate([box, score, label], axis=1))
    return {"output": y}, (box, score, label)


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
    "YOLOv9": ("corners", lambda: joined_corners(CELLS, by_row=False), None),
    "SSD with all boxes": ("corners", lambda: joined_corners(99, by_row=False), 5),
    "PicoDet": ("corners", lambda: joined_corners(99, by_row=True), 5),
    "YOLO-NAS": ("boxes-and-scores", boxes_and_scores, None),
    "DETR": ("detr", lambda: queries(["pred_boxes", "logits"], True), 3),
    "Deformable DETR": ("detr-sigmoid", lambda: queries(["pred_boxes", "logits"], False), 4),
    "D-FINE": ("detr-sigmoid", lambda: queries(["pred_boxes", "pred_logits"], False), 4),
    "EfficientDet": ("ultralytics-end-to-end", end_to_end, 90),
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


def test_all_rows_are_kept_where_a_model_returns_many() -> None:
    """As EfficientDet does, which leaves it to others to suppress overlaps."""
    boxes, scores, labels = positive(5000, 4), positive(5000, seed=1), np.arange(5000) % 3
    _, got = normalized({"boxes": boxes, "labels": labels, "scores": scores}, axis0="n")
    assert_allclose(got[0][0], boxes.T)


def test_rows_that_are_not_chosen_are_all_kept() -> None:
    """Their number is the same for all samples of one size, even if it is not declared."""
    outputs, expected = ultralytics()
    _, got = normalized({"output0": outputs["output0"][:1]}, axis2="n")
    assert_allclose(got[0], expected[0][:1], rtol=1e-5)


@pytest.mark.parametrize("end_to_end", [False, True])
@pytest.mark.parametrize("degrees", [45, 135, -45])
def test_a_rotated_box_gets_the_box_around_it(degrees: float, end_to_end: bool) -> None:
    """A box of 4 x 2 pixels at 45 degrees is 3 · sqrt(2) pixels wide and high."""
    angle = np.deg2rad(degrees)
    y = np.zeros((1, 4 + 1 + 1, CELLS), np.float32)
    y[0, :, 0] = 10, 20, 4, 2, 0.5, angle
    if end_to_end:
        y = np.zeros((1, 300, 4 + 1 + 1 + 1), np.float32)
        y[0, 0] = 10, 20, 4, 2, 0.5, 0, angle
    model, shapes = echo({"output0": y}), {"output0": y.shape}
    metadata = {"task": "obb", "names": "{0: 'ship'}", "stride": "32"}
    found = find_layout(model, Outputs(shapes, SIZE, 1, metadata, ()), None)
    assert found is not None
    assert found[1] == "found from the model's metadata"
    made = with_outputs(with_detections(model, found[0], shapes, PICTURE), [BOXES, SCORES])
    got, scores = run_on(made, {"output0_in": y})
    half = 1.5 * np.sqrt(2)
    assert_allclose(got[0, :, 0], [10 - half, 20 - half, 10 + half, 20 + half], rtol=1e-5)
    assert scores.shape == (1, 1, 300 if end_to_end else CELLS)
    assert scores[0, 0, 0] == 0.5


def test_paddle_detection_has_the_class_and_the_score_first() -> None:
    y = positive(7, 6)
    y[:, 0] = np.arange(7)
    model = echo({"fetch": y})
    found = find_layout(model, Outputs({"fetch": y.shape}, SIZE, 9, {}, ("im_shape",)), None)
    assert found is not None
    made = with_detections(model, found[0], {"fetch": y.shape}, PICTURE)
    got = run_on(with_outputs(made, [BOXES, SCORES, LABELS]), {"fetch_in": y})
    assert_allclose(got[0][0], y[:, 2:].T)
    assert_allclose(got[1][0, 0], y[:, 1])
    assert_allclose(got[2][0, 0], y[:, 0])


def test_fractions_are_of_the_size_of_each_picture() -> None:
    """The layout was found with a picture of another size."""
    outputs = {
        "pred_boxes": np.array([[[0.25, 0.5, 0.5, 1]]], np.float32),
        "logits": noise(1, 1, 3),
    }
    model, shapes = echo(outputs), {name: array.shape for name, array in outputs.items()}
    layout = LAYOUTS["detr"](Outputs(shapes, SIZE, 2, {}, ()))
    made = with_outputs(with_detections(model, layout, shapes, PICTURE), [BOXES])
    feeds = {f"{name}_in": array for name, array in outputs.items()}
    (got,) = run_on(made, feeds, (40, 200))
    assert_allclose(got[0, :, 0], [0, 0, 100, 40])


def test_cells_are_those_of_the_size_of_each_picture() -> None:
    """A picture of 32 x 40 has 20, 6 and 2 cells of 8, 16 and 32 pixels; part of one is one."""
    y = np.zeros((1, 28, 6), np.float32)
    outputs = {"output": y}
    model = echo(outputs, axis1="boxes")
    layout = LAYOUTS["yolox-undecoded"](Outputs({"output": (1, CELLS, 6)}, SIZE, 1, {}, ()))
    made = with_detections(model, layout, {"output": (1, CELLS, 6)}, PICTURE)
    (got,) = run_on(with_outputs(made, [BOXES]), {"output_in": y}, (32, 40))
    center = (got[0, :2] + got[0, 2:]) / 2
    assert_allclose(got[0, 2:] - got[0, :2], np.tile(np.repeat([8, 16, 32], [20, 6, 2]), (2, 1)))
    assert_allclose(center[:, 19], [32, 24])
    assert_allclose(center[:, 25], [32, 16])
    assert_allclose(center[:, 27], [32, 0])


def test_a_yolox_with_exponentials_is_decoded() -> None:
    shape = (1, CELLS, 5 + 2)
    model = echo({"output": noise(*shape)}, op="Exp")
    found = find_layout(model, Outputs({"output": shape}, SIZE, 2, {}, ()), None)
    assert found is not None
    assert (found[0].name, found[0].strides) == ("yolox", ())


def test_yolov5_writes_no_task() -> None:
    """The number of boxes is not that of three for each cell, as in YOLOv5 with four grids."""
    shape = (1, 99, 5 + 2)
    metadata = {"names": "{0: 'a', 1: 'b'}", "stride": "64"}
    found = find_layout(
        echo({"output0": noise(*shape)}), Outputs({"output0": shape}, SIZE, 2, metadata, ()), None
    )
    assert found is not None
    assert found[0].name == "yolov5"


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


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize(("numbers", "classes"), [(4 + 3, 4), (4 + 3, None), (4 + 3, 2)])
def test_numbers_between_corners_and_scores_are_no_scores(
    numbers: int, classes: int | None, by_row: bool
) -> None:
    """As FCOS of LibreYOLO, with the grid of each box. Without names a turned one is YOLOv9."""
    y = np.concatenate([two_corners(CELLS), noise(1, numbers - 4, CELLS, seed=2)], axis=1)
    output = turned(y) if by_row else y
    values = {"output": output}
    facts = Outputs({"output": output.shape}, SIZE, classes, {}, (), values)
    found = find_layout(echo(values), facts, None)
    assert (found and found[0].name) == ("corners" if classes is None and not by_row else None)


@pytest.mark.parametrize("change", ["score above 1", "class in between", "rows and columns"])
def test_six_numbers_that_are_not_box_score_and_class(change: str) -> None:
    outputs, _ = end_to_end()
    (y,) = outputs.values()
    if change == "score above 1":
        y[0, 0, 4] = 1.5
    if change == "class in between":
        y[0, 0, 5] = 0.5
    values = {"output": turned(y) if change == "rows and columns" else y}
    shapes = {name: array.shape for name, array in values.items()}
    assert find_layout(echo(values), Outputs(shapes, SIZE, 90, {}, (), values), None) is None


@pytest.mark.parametrize(
    ("shape", "classes", "size"),
    [
        ((1, 9, 99), None, SIZE),  # of no usual grid, and without names
        ((1, 9, 40), 5, SIZE),  # too few boxes to tell
        ((1, 7, 21), None, (32, 32)),  # an input so small that 21 cells say nothing
    ],
)
def test_little_evidence_is_none(
    shape: tuple[int, ...], classes: int | None, size: tuple[int, int]
) -> None:
    y = np.concatenate([two_corners(shape[2]), noise(1, shape[1] - 4, shape[2], seed=2)], axis=1)
    values = {"output": y}
    facts = Outputs({"output": shape}, size, classes, {}, (), values)
    assert find_layout(echo(values), facts, None) is None


def test_rows_of_zeros_tell_nothing() -> None:
    """As a model returns them that found nothing in the sample."""
    values = {"output": np.zeros((1, 60, 6), np.float32)}
    facts = Outputs({"output": (1, 60, 6)}, SIZE, 90, {}, (), values)
    assert find_layout(echo(values), facts, None) is None


def test_centers_beside_scores_are_not_read_as_corners() -> None:
    values = {"boxes": positive(1, CELLS, 4), "scores": positive(1, CELLS, 5, seed=1)}
    shapes = {name: array.shape for name, array in values.items()}
    assert find_layout(echo(values), Outputs(shapes, SIZE, 5, {}, (), values), None) is None


def test_end_to_end_is_said_by_the_metadata() -> None:
    """Whatever follows the six numbers."""
    shape = (1, 300, 6 + 3)
    metadata = {"names": "{0: 'a'}", "stride": "32", "task": "detect", "end2end": "True"}
    found = find_layout(
        echo({"output0": noise(*shape)}), Outputs({"output0": shape}, SIZE, 1, metadata, ()), None
    )
    assert found is not None
    assert found[0].name == "ultralytics-end-to-end"


def test_boxes_of_queries_have_four_numbers() -> None:
    shapes = {"pred_boxes": (1, 9, 5), "pred_logits": (1, 9, 4)}
    model = echo({name: positive(*shape) for name, shape in shapes.items()})
    assert find_layout(model, Outputs(shapes, SIZE, 4, {}, ()), None) is None


def test_columns_must_suffice_for_the_classes() -> None:
    """A YOLOX has an objectness, so 4 + classes columns are something else."""
    values = {"output": noise(1, CELLS, 4 + 3)}
    facts = Outputs({"output": (1, CELLS, 4 + 3)}, SIZE, 3, {}, (), values)
    assert find_layout(echo(values), facts, None) is None
    turned_facts = Outputs({"output": (1, 4 + 3, CELLS)}, SIZE, 4, {}, ())
    assert find_layout(echo({"output": turned(values["output"])}), turned_facts, None) is None


def test_metadata_without_a_stride_is_not_that_of_ultralytics() -> None:
    """Other exporters write names and a task too."""
    outputs, _ = joined_corners(CELLS, by_row=False)
    shapes = {name: array.shape for name, array in outputs.items()}
    metadata = {"task": "detect", "names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e'}"}
    found = find_layout(echo(outputs), Outputs(shapes, SIZE, 5, metadata, (), outputs), None)
    assert found is not None
    assert found[0].name == "corners"


def test_every_layout_has_a_case() -> None:
    same = {"yolox", "paddle-detection"}
    assert {name for name, *_ in CASES.values()} | same == set(LAYOUTS)

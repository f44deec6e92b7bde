"""Detectors: what is detected, how boxes are named, and what is explained of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references.perturbation import rise, seeded_rise_masks
from square_detector import GAIN, SHIFT, SIDE, detector, picture
from tiny import Array, run, tiny

from onnxplain import Explainer, targets
from onnxplain.errors import ModelError, NotInPictureError, OnnxplainError, OptionError, TargetError
from onnxplain.images.preprocess import Preprocess

AS_IT_IS = Preprocess(size=(SIDE, SIDE), scale=1 / 255, fit="stretch")
PICTURE = picture()
X = np.moveaxis(PICTURE, -1, 0)[None].astype(np.float32) / 255


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(detector(metadata=True), preprocess=AS_IT_IS)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def rows(x: Array) -> tuple[Array, Array]:
    """Corners (4, boxes) and scores (2, boxes) of a sample."""
    (y,) = run(detector(), {"x": x.astype(np.float32)})
    center, size = y[0, :2], y[0, 2:4]
    return np.concatenate([center - size / 2, center + size / 2]), y[0, 4:]


def overlap(a: Array, b: Array) -> float:
    wide, high = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return float(wide * high / (sum(areas) - wide * high))


def best_match(x: Array, box: Array, index: int) -> float:
    """The largest IoU · score, one row after the other."""
    corners, scores = rows(x)
    every = range(corners.shape[1])
    return max(overlap(corners[:, i], box) * float(scores[index, i]) for i in every)


RED, SECOND, GREEN = (16, 8, 24, 16), (40, 48, 48, 56), (32, 16, 48, 32)


def test_what_is_detected(explainer: Explainer) -> None:
    found = explainer.detections(PICTURE)
    assert [box.name for box in found] == ["0 red", "1 green", "0 red#2"]
    assert [box.corners for box in found] == [RED, GREEN, SECOND]
    best = sigmoid(GAIN + SHIFT)
    assert [box.place.confidence for box in found] == pytest.approx(
        [best, best, sigmoid(GAIN * 230 / 255 + SHIFT)], rel=1e-5
    )
    place = found[2].place
    assert (place.x, place.y, place.width, place.height, place.rank) == (40, 48, 8, 8, 2)


@pytest.mark.parametrize(
    ("target", "box", "index"),
    [("red", RED, 0), ("red#2", SECOND, 0), ("top1", RED, 0), ("green", GREEN, 1)],
)
def test_the_gradient_is_that_of_the_row(
    explainer: Explainer, target: str, box: Array, index: int
) -> None:
    found = explainer.explain(PICTURE, "gradient", target)
    expected = np.zeros((3, SIDE, SIDE))
    x1, y1, x2, y2 = box
    score = sigmoid(GAIN * X[0, index, y1, x1] + SHIFT)
    expected[index, y1:y2, x1:x2] = score * (1 - score) * GAIN / (x2 - x1) ** 2
    assert found.score == pytest.approx(score, rel=1e-5)
    assert found.score_kind == "confidence"
    assert_allclose(found.values, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("target", "factors", "box", "name"),
    [
        ("red - green", (1, -1), RED, "0_red-1_green"),
        ("red#2 - 0.5 * green", (1, -0.5), SECOND, "0_red-2-0.5x1_green"),
        ("not:red@44,50", (-1, 0), SECOND, "not_0_red-2"),
        ("1-0", (-1, 1), GREEN, "1_green-0_red"),
    ],
)
def test_a_class_of_a_box_rather_than_another(
    explainer: Explainer, target: str, factors: Any, box: Array, name: str
) -> None:
    def difference(x: Array) -> float:
        return sum(f * best_match(x, np.array(box), index) for index, f in enumerate(factors) if f)

    options = {"window": 32, "stride": 32}
    found = explainer.explain(PICTURE, "occlusion", target, **options)
    expected = np.zeros((2, 2))
    for row in (0, 1):
        for column in (0, 1):
            x = X.copy()
            x[..., 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 0
            expected[row, column] = difference(X) - difference(x)
    assert_allclose(found.values.mean(axis=0)[::32, ::32], expected, atol=1e-6)
    assert np.abs(expected).max() > 0.1
    assert found.target.name == name
    assert len(found.target.boxes) == 1


def test_boxes_are_compared_one_by_one(explainer: Explainer) -> None:
    with pytest.raises(TargetError, match="There is no class 5: the model has 2 classes"):
        explainer.explain(PICTURE, "gradient", "0-5")
    with pytest.raises(TargetError, match="compared at one box, and 'red-any' means several"):
        explainer.explain(PICTURE, "gradient", "red#any - green")


def test_a_changed_picture_is_scored_by_the_best_match(explainer: Explainer) -> None:
    """As in D-RISE, because other boxes may take the place of the one that is explained."""
    found = explainer.explain(PICTURE, "occlusion", "red", window=8, stride=8)
    expected = np.zeros((8, 8))
    before = best_match(X, np.array(RED), 0)
    for row in range(8):
        for column in range(8):
            x = X.copy()
            x[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0
            expected[row, column] = before - best_match(x, np.array(RED), 0)
    assert_allclose(found.values.mean(axis=0)[::8, ::8], expected, atol=1e-6)
    assert expected.max() > 0.5


def test_drise_against_a_reference(explainer: Explainer) -> None:
    options: dict[str, Any] = {"samples": 24, "grid": 4, "seed": 3}
    found = explainer.explain(PICTURE, "drise", "green", **options)
    masks = seeded_rise_masks(24, 4, 0.5, 3, (SIDE, SIDE))

    def score(x: Array) -> float:
        return best_match(x, np.array(GREEN), 1)

    expected = rise(X, np.zeros_like(X), score, masks, 0.5)
    assert_allclose(found.values.mean(axis=0), expected, rtol=1e-4)


def test_drise_needs_a_detector() -> None:
    made = tiny("p = GlobalAveragePool(x) y = Flatten(p)", outputs="float[N,3] y")
    plain = Explainer(made, preprocess=Preprocess(size=(8, 8)))
    with pytest.raises(OptionError, match="use rise"):
        plain.attribute(np.ones((1, 3, 8, 8), np.float32), "drise", 0)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("red@20,10", ["0 red"]),
        ("@44,50", ["0 red#2"]),
        ("@box:30,15,18,18", ["1 green"]),
        ("top3", ["0 red", "1 green", "0 red#2"]),
        ("top5", ["0 red", "1 green", "0 red#2"]),  # fewer are found
        ("green, red#2", ["1 green", "0 red#2"]),
        ("0", ["0 red"]),
    ],
)
def test_names_of_boxes(explainer: Explainer, target: str, names: list[str]) -> None:
    assert [one.name for one in explainer.targets(PICTURE, target)] == names


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("top0", "no top0: count from top1"),
        ("red#9", "no number 9 box of class 0"),
        ("red@1,1", "no box of class 0 .red. at 1,1"),
        ("blue", "No class is called 'blue'"),
        ("red@", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_box_that_is_not_there(explainer: Explainer, target: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        explainer.explain(PICTURE, "gradient", target)


@pytest.mark.parametrize("target", ["top1", "top5"])
def test_without_a_box_there_is_none_to_explain(explainer: Explainer, target: str) -> None:
    nothing = np.zeros_like(PICTURE)
    with pytest.raises(NotInPictureError, match=f"no {target}: no score is above"):
        explainer.explain(nothing, "gradient", target)


@pytest.mark.parametrize(("target", "count"), [("any", 3), ("red#any", 2)])
def test_several_boxes_are_explained_by_their_sum(
    explainer: Explainer, target: str, count: int
) -> None:
    found = explainer.explain(PICTURE, "gradient", target)
    boxes = explainer.detections(PICTURE)
    own = [box for box in boxes if count == 3 or box.index == 0]
    each = [explainer.explain(PICTURE, "gradient", box) for box in own]
    assert_allclose(found.values, sum(one.values for one in each), rtol=1e-5)
    assert found.score == pytest.approx(sum(box.place.confidence for box in own))
    assert len(found.target.boxes) == count


def test_a_box_of_one_picture_explains_another(explainer: Explainer) -> None:
    """Its place is fixed, and its score is that of the other picture."""
    (box, *_) = explainer.detections(PICTURE)
    assert isinstance(box, targets.Box)
    found = explainer.explain(PICTURE[::-1], "gradient", box)
    assert found.score == pytest.approx(sigmoid(SHIFT), rel=1e-4)


def test_a_folder_of_pictures_explains_the_boxes_of_each(explainer: Explainer) -> None:
    flipped = np.ascontiguousarray(PICTURE[:, ::-1])
    found = list(explainer.explain_many([PICTURE, flipped], "gradient", "green"))
    assert [one.target.boxes[0].x for one in found] == [32, SIDE - 48]
    assert_allclose(found[1].values, found[0].values[..., ::-1], atol=1e-9)


def test_files_hold_the_box(explainer: Explainer, tmp_path: Path) -> None:
    found = explainer.explain(PICTURE, "gradient", "red#2")
    manifest = json.loads(found.save(tmp_path, "json")[0].read_text())
    box = manifest["target"]["box"]
    assert [box[side] for side in ("x", "y", "width", "height")] == [40, 48, 8, 8]
    assert manifest["target"]["label"] == "red"
    assert manifest["score"]["kind"] == "confidence"
    assert found.target.title == "red #2"


def test_the_layout_is_found_from_the_shape_of_the_output() -> None:
    plain = Explainer(detector(), preprocess=AS_IT_IS)
    assert plain.detector is not None
    assert plain.detector.layout == "ultralytics"
    assert plain.detector.origin == "found from the shape of the output"
    assert [box.name for box in plain.detections(PICTURE)] == ["0", "1", "0#2"]


def test_corners_are_told_from_centers_by_a_run() -> None:
    plain = Explainer(detector(corners=True), preprocess=AS_IT_IS)
    assert plain.detector is not None
    assert plain.detector.layout == "corners"
    assert [box.corners for box in plain.detections(PICTURE)] == [RED, GREEN, SECOND]


def test_the_layout_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no layout of boxes called 'ultralitics'"):
        _ = Explainer(detector(), boxes="ultralitics", preprocess=AS_IT_IS).detector
    file = tmp_path / "model.onnx"
    file.write_bytes(detector().SerializeToString())
    file.with_name("model.onnxplain.json").write_text('{"boxes": "boxes-and-scores"}')
    with pytest.raises(ModelError, match="do not fit the layout 'boxes-and-scores'"):
        _ = Explainer(file, preprocess=AS_IT_IS).detector


def test_nothing_is_explained_where_nothing_is_detected(explainer: Explainer) -> None:
    with pytest.raises(TargetError, match=r"no top1: no score is above 0\.25"):
        explainer.explain(np.zeros_like(PICTURE), "gradient")


def test_an_input_that_tells_the_size_of_the_picture_is_filled() -> None:
    """As in RT-DETR: boxes are fractions, multiplied by width and height."""
    made = tiny(
        """p = Flatten(x) z = Mul(p, nothing) s = ReduceMean<axes=[1], keepdims=1>(p)
        size = Cast<to=1>(orig_target_sizes) four = Concat<axis=1>(size, size)
        one = Unsqueeze(four, axis) boxes = Mul(fractions, one)
        scores = Concat<axis=1>(s, s) labels = Identity(classes)""",
        f"float[1,3,{SIDE},{2 * SIDE}] x, int64[1,2] orig_target_sizes",
        "int64[1,2] labels, float[1,2,4] boxes, float[1,2] scores",
        nothing=np.float32(0),
        axis=np.array([1]),
        fractions=np.array([[[0.25, 0.5, 0.5, 1], [0, 0, 1, 1]]], np.float32),
        classes=np.array([[4, 7]]),
    )
    found = Explainer(made, preprocess={"fit": "stretch", "scale": 1 / 255, "mean": 0, "std": 1})
    white = np.full((SIDE, 2 * SIDE, 3), 255, np.uint8)
    boxes = found.detections(white)
    assert [(box.index, box.corners) for box in boxes] == [
        (4, (32, 32, 64, 64)),
        (7, (0, 0, 128, 64)),
    ]
    x = np.ones((1, 3, SIDE, 2 * SIDE), np.float32)
    explained = found.attribute(x, "gradient", boxes[1])
    assert_allclose(explained.values, np.full(x.shape, 1 / x.size), rtol=1e-4)
    with pytest.raises(TargetError, match="gives each box only one class"):
        found.explain(white, "gradient", "4-7")


def test_an_input_that_tells_the_size_follows_each_picture() -> None:
    """The model takes any size, and each picture keeps its own."""
    made = tiny(
        """p = ReduceMean<axes=[1, 2, 3], keepdims=0>(x) s = Unsqueeze(p, axis)
        z = Mul(s, nothing) size = Cast<to=1>(orig_target_sizes) four = Concat<axis=1>(size, size)
        one = Unsqueeze(four, axis) boxes = Mul(fractions, one)
        scores = Concat<axis=1>(s, z) labels = Identity(classes)""",
        "float[1,3,H,W] x, int64[1,2] orig_target_sizes",
        "int64[1,2] labels, float[1,2,4] boxes, float[1,2] scores",
        axis=np.array([1]),
        fractions=np.array([[[0.5, 0.5, 1, 1], [0, 0, 0, 0]]], np.float32),
        classes=np.array([[4, 7]]),
        nothing=np.float32(0),
    )
    own = Preprocess(size=None, scale=1 / 255, fit="stretch")
    found = Explainer(made, preprocess=own)
    for height, width in ((20, 40), (50, 30)):
        white = np.full((height, width, 3), 255, np.uint8)
        (box,) = found.detections(white)
        assert box.corners == (width / 2, height / 2, width, height)
        x = np.ones((1, 3, height, width), np.float32)
        values = found.attribute(x, "gradient").values
        assert_allclose(values, np.full(x.shape, 1 / x.size), rtol=1e-4)


def test_labels_that_cannot_be_read_are_not_taken_for_no_detector(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(detector().SerializeToString())
    file.with_name("model.onnxplain.json").write_text('{"labels": "missing.txt"}')
    with pytest.raises(OnnxplainError, match=r"missing\.txt"):
        _ = Explainer(file, preprocess=AS_IT_IS).detector


@pytest.mark.parametrize("target", ["green", "any"])
def test_deeplift_distributes_the_score_of_the_row(explainer: Explainer, target: str) -> None:
    """The change from a black picture, where another row has the largest score."""
    found = explainer.explain(PICTURE, "deeplift", target)
    boxes = explainer.detections(PICTURE)
    own = [box for box in boxes if target in ("any", box.label)]
    expected = np.zeros((3, SIDE, SIDE))
    for box in own:
        x1, y1, x2, y2 = map(int, box.corners)
        change = box.place.confidence - sigmoid(SHIFT)
        expected[box.index, y1:y2, x1:x2] = change / (x2 - x1) ** 2
    assert_allclose(found.values, expected, rtol=1e-4, atol=1e-7)

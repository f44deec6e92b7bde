"""Files explain what `run` explains, and say where `run` refuses to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from onnx import ModelProto
from tiny import Array, noise, tiny

from onnxplain import Explainer
from onnxplain.errors import MapError, NotInPictureError
from onnxplain.images.preprocess import Preprocess

Export = Callable[..., Callable[..., dict[str, Array]]]
AS_IT_IS = Preprocess(size=(32, 32), scale=1, fit="stretch")
CELLS = np.mgrid[:4, :4].reshape(2, -1)[::-1] * 8 + 4
BOXES = np.concatenate([CELLS - 12, CELLS + 12]).astype(np.float32)
"""A box of 24 pixels around each cell of 8, (4, 16), so that neighbors overlap."""


def near(found: Array, expected: Array) -> None:
    scale = np.abs(expected).max()
    assert_allclose(found, expected, atol=1e-5 * scale)
    assert np.ptp(expected) > 0.05 * scale, "the case shows nothing"


def one_class_per_box() -> ModelProto:
    """(N, boxes, 6): the box, its largest score, and the class of that score."""
    return tiny(
        """c = Conv<strides=[8,8]>(x, kernel) f = Reshape(c, flat) p = Sigmoid(f)
        s = ReduceMax<axes=[1]>(p) a = ArgMax<axis=1>(p) k = Cast<to=1>(a)
        zero = Mul(s, nothing) b = Add(zero, boxes) t = Concat<axis=1>(b, s, k)
        y = Transpose<perm=[0,2,1]>(t)""",
        "float[N,3,32,32] x",
        "float[N,16,6] y",
        kernel=noise(3, 3, 8, 8) * 0.15,
        flat=np.array([0, 3, -1]),
        nothing=np.float32(0),
        boxes=BOXES[None],
    )


@pytest.mark.parametrize(
    ("method", "options"), [("occlusion", {"window": 12, "stride": 4}), ("drise", {"samples": 20})]
)
def test_no_box_of_another_class_takes_the_place_of_a_box(
    exported: Export, method: str, options: dict[str, Any]
) -> None:
    explainer = Explainer(
        one_class_per_box(), preprocess=AS_IT_IS, boxes="ultralytics-end-to-end", provider="cpu"
    )
    x = noise(2, 3, 32, 32, seed=3)
    found = exported(explainer, method, **options)(x, [-1, -1])
    for i in range(2):
        near(found["values"][i], explainer.attribute(x[i : i + 1], method, **options).values[0])


def suppressing() -> ModelProto:
    """The boxes and scores that the model itself chose: another number of them in each picture."""
    return tiny(
        """c = Conv<strides=[8,8]>(x, kernel) f = Reshape(c, flat) p = Sigmoid(f)
        chosen = NonMaxSuppression(all_boxes, p, most, overlap, least)
        place = Gather<axis=1>(chosen, two) class = Gather<axis=1>(chosen, one)
        boxes = Gather(rows, place)
        s = Squeeze(p, zero) pair = Gather<axis=1>(chosen, class_and_place)
        scores = GatherND(s, pair) labels = Identity(class)""",
        "float[1,3,32,32] x",
        "float[K,4] boxes, float[K] scores, int64[K] labels",
        kernel=noise(3, 3, 8, 8) * 0.15,
        flat=np.array([1, 3, 16]),
        all_boxes=BOXES.T[None].copy(),
        rows=BOXES.T.copy(),
        most=np.array([10]),
        overlap=np.array([0.5], np.float32),
        least=np.array([0.6], np.float32),
        zero=np.array([0]),
        one=np.array(1),
        two=np.array(2),
        class_and_place=np.array([1, 2]),
    )


@pytest.mark.parametrize(
    ("method", "options"),
    [("gradient", {}), ("gradcam", {}), ("occlusion", {"window": 8, "stride": 8})],
)
def test_a_detector_that_returns_another_number_of_boxes_for_each_picture(
    exported: Export, method: str, options: dict[str, Any]
) -> None:
    explainer = Explainer(suppressing(), preprocess=AS_IT_IS, provider="cpu")
    run = exported(explainer, method, **options)
    counts = set()
    for seed, gain in enumerate([0.3, 1, 3]):
        x = noise(1, 3, 32, 32, seed=seed) * np.float32(gain)
        found, expected = run(x, [-1]), explainer.attribute(x, method, **options)
        near(found["values"], expected.values)
        count = len(found["scores"])
        assert found["boxes"].shape == (count, 4)
        assert found["explained"] == found["scores"].argmax()
        assert [run(x, [row])["status"].item() for row in (0, count - 1)] == [0, 0]
        assert [run(x, [row])["status"].item() for row in (count, 299, 300)] == [3, 3, 3]
        counts.add(count)
    none = run(np.zeros((1, 3, 32, 32), np.float32), [-1])
    assert (none["boxes"].shape, none["status"].item()) == ((0, 4), 3)
    assert len(counts) == 3, "the pictures are too similar"


def test_how_samples_are_run_is_known_of_a_detector_without_a_batch_axis() -> None:
    explainer = Explainer(suppressing(), preprocess=AS_IT_IS, provider="cpu")
    assert explainer.batching().startswith("one by one")


def segmenter(scores: str, **constants: Any) -> Explainer:
    made = tiny(
        f"c = Conv<pads=[1,1,1,1]>(x, first) r = Relu(c) s = Conv(r, classes) y = {scores}",
        "float[N,3,8,8] x",
        "float[N,4,8,8] y",
        first=noise(6, 3, 3, 3) * 0.3,
        classes=noise(4, 6, 1, 1, seed=1),
        **constants,
    )
    return Explainer(made, preprocess=Preprocess(size=(8, 8), scale=1), provider="cpu")


@pytest.mark.parametrize("method", ["occlusion", "scorecam"])
def test_of_equal_scores_the_first_class_is_predicted(exported: Export, method: str) -> None:
    """As integers of a quantized model often are: many cells have the largest score twice."""
    explainer = segmenter("Clip(s, low, high)", low=np.float32(-9), high=np.float32(0.2))
    options = {"window": 3, "stride": 2} if method == "occlusion" else {"layer": "r"}
    x = noise(3, 3, 8, 8, seed=2)
    answer = explainer.predict(x)["y"]
    assert ((answer == answer.max(axis=1, keepdims=True)).sum(axis=1) > 1).mean() > 0.1
    found = exported(explainer, method, **options)(x, [-1, 1, 3])
    for i, target in enumerate(["top1", 1, 3]):
        expected = explainer.attribute(x[i : i + 1], method, target, **options)
        assert found["explained"][i] == expected.targets[0].index
        near(found["values"][i], expected.values[0])


LAYER = {"layer": "r"}
NEEDS_TARGET = {
    "gradient": {},
    "gradcam": LAYER,
    "scorecam": LAYER,
    "ablationcam": LAYER,
    "occlusion": {"window": 4, "stride": 4},
    "rise": {"samples": 5},
}


@pytest.mark.parametrize("method", NEEDS_TARGET)
def test_a_class_that_is_predicted_nowhere_is_no_such_class(exported: Export, method: str) -> None:
    lower = np.array([0, 0, -50, 0], np.float32).reshape(4, 1, 1)
    explainer, options = segmenter("Add(s, lower)", lower=lower), NEEDS_TARGET[method]
    x = noise(2, 3, 8, 8, seed=2)
    found = exported(explainer, method, **options)(x, [2, -1])
    assert found["status"].tolist() == [3, 0]
    assert not found["heatmap"][0].any()
    with pytest.raises(NotInPictureError):
        explainer.attribute(x[:1], method, 2, **options)


@pytest.mark.parametrize("method", ["eigencam", "feature_maps"])
def test_a_method_without_a_target_does_not_ask_where_the_class_is(
    exported: Export, method: str
) -> None:
    lower = np.array([0, 0, -50, 0], np.float32).reshape(4, 1, 1)
    explainer = segmenter("Add(s, lower)", lower=lower)
    run = exported(explainer, method, **LAYER)
    assert run(noise(1, 3, 8, 8), [2])["status"].tolist() == [0]


CLASSIFIER = """c = Conv<pads=[1,1,1,1]>(x, first) r = Relu(c)
    m = ReduceMean<axes=[2,3], keepdims=0>(r) y = MatMul(m, classes)"""


@pytest.mark.parametrize("method", ["deconvnet", "odam", "gradcam"])
def test_a_score_that_is_not_finite_is_not_explained(exported: Export, method: str) -> None:
    made = tiny(
        CLASSIFIER,
        "float[N,3,8,8] x",
        "float[N,4] y",
        first=noise(6, 3, 3, 3),
        classes=noise(6, 4, seed=1),
    )
    explainer = Explainer(made, preprocess=Preprocess(size=(8, 8), scale=1), provider="cpu")
    x = noise(2, 3, 8, 8, seed=2)
    x[1] = np.nan
    found = exported(explainer, method)(x, [0, 0])
    assert found["status"].tolist() == [0, 2]
    assert not found["heatmap"][1].any()
    with pytest.raises(MapError):
        explainer.attribute(x[1:], method, 0)


def test_a_map_of_scores_that_are_not_finite_is_not_called_a_missing_class(
    exported: Export,
) -> None:
    explainer, x = segmenter("Identity(s)"), np.full((1, 3, 8, 8), np.nan, np.float32)
    run = exported(explainer, "gradient")
    assert [run(x, [code])["status"].item() for code in (-1, 0, 3, 4)] == [2, 2, 2, 3]

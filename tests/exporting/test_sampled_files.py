"""Files of sampled methods: what is explained stays the same in all rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose
from square_detector import SIDE, detector, picture
from tiny import Array, noise, tiny

import onnxplain
from onnxplain import Explainer
from onnxplain.images.preprocess import Preprocess

DETECTOR = Explainer(
    detector(metadata=True), preprocess=Preprocess(size=(SIDE, SIDE), scale=1 / 255, fit="stretch")
)
SEGMENTER = Explainer(
    tiny(
        """c = Conv<strides=[2,2], pads=[1,1,1,1]>(x, first, bias) a = Tanh(c)
        d = Conv<strides=[2,2], pads=[1,1,1,1]>(a, second) b = Tanh(d)
        s = Conv(b, classes) y = Resize<mode="linear">(s, none, scales)""",
        "float[N,3,16,24] x",
        "float[N,4,16,24] y",
        first=noise(6, 3, 3, 3),
        bias=noise(6, seed=1),
        second=noise(8, 6, 3, 3, seed=2),
        classes=noise(4, 8, 1, 1, seed=3),
        none=np.zeros(0, np.float32),
        scales=np.array([1, 1, 4, 4], np.float32),
    ),
    preprocess={"layout": "NCHW", "scale": 1, "mean": 0, "std": 1},
    provider="cpu",
)


def outputs(path: Path, **feeds: Array) -> dict[str, Array]:
    onnx.checker.check_model(path, full_check=True)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, map(np.asarray, session.run(names, feeds)), strict=True))


METHODS: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 8, "stride": 6},
    "rise": {"samples": 12},
    "scorecam": {"layer": "b", "baseline": "white"},
    "ablationcam": {"layer": "b"},
    "integrated_gradients": {"steps": 4, "baseline": "white"},
    "smooth_gradcam++": {"samples": 3, "layer": "a"},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_region_stays_where_it_is_as_the_picture_changes(method: str, tmp_path: Path) -> None:
    options, x = METHODS[method], noise(2, 3, 16, 24, seed=5)
    path = onnxplain.export(SEGMENTER, tmp_path / "file.onnx", method, **options)
    everywhere = np.zeros((2, 16, 24), np.uint8)
    found = outputs(path, x=x, target=np.array([-1, -1]), region=everywhere)
    for i in range(2):
        own = SEGMENTER.attribute(x[i : i + 1], method, "top1", **options)
        assert found["explained"][i] == own.targets[0].index
        expected, scale = own.values[0], np.abs(own.values).max()
        assert_allclose(found["values"][i], expected, atol=1e-5 * scale)
        assert np.ptp(expected) > 0.05 * scale, "the case shows nothing"


def test_rows_of_fixed_boxes_are_chosen_by_their_number(tmp_path: Path) -> None:
    options = {"window": 24, "stride": 12}
    x = np.moveaxis(picture(), -1, 0)[None].astype(np.float32) / 255
    path = onnxplain.export(DETECTOR, tmp_path / "file.onnx", "occlusion", **options)
    rows = [8 + 2, 64 + 4 + 2, 6 * 8 + 5]  # of a grid of 8 x 8 cells, then one of 4 x 4
    found = outputs(path, x=np.repeat(x, 3, axis=0), target=np.array(rows))["values"]
    for values, box in zip(found, DETECTOR.detections(picture()), strict=True):
        expected = DETECTOR.attribute(x, "occlusion", box, **options).values[0]
        assert_allclose(values, expected, atol=1e-5 * np.abs(expected).max())
        assert np.ptp(expected) > 0.05 * np.abs(expected).max()


MODELS = Path(__file__).parents[2] / "models"
OF_BOXES: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 48, "stride": 24},
    "drise": {"samples": 12},
    "scorecam": {"layer": "/model/detect/p3/cls/cls.1/act/Mul_output_0"},
    "integrated_gradients": {"steps": 3},
}


@pytest.mark.parametrize("method", OF_BOXES)
def test_a_row_is_followed_as_its_box_is(method: str, tmp_path: Path) -> None:
    """In a changed picture the box may be in another row, at another place, or be lost."""
    explainer = Explainer(MODELS / "digit_detector.onnx", provider="cpu")
    pictures = [MODELS / "detector_scenes" / name for name in ("five.png", "nine_zero.png")]
    x = np.concatenate(explainer.samples(pictures))
    path = onnxplain.export(explainer, tmp_path / "file.onnx", method, **OF_BOXES[method])
    found = outputs(path, images=x, target=np.array([-1, -1]))["values"]
    for i, file in enumerate(pictures):
        box = explainer.detections(file)[0]
        own = explainer.attribute(x[i : i + 1], method, box, **OF_BOXES[method]).values[0]
        assert_allclose(found[i], own, atol=1e-5 * np.abs(own).max())
        assert np.ptp(own) > 0.05 * np.abs(own).max()

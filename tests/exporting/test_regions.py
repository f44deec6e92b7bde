"""The input `region` of a segmenter's file: a class is explained over any places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from explainer.formulas import AS_IT_IS, noise, noise_picture
from explainer.test_segmenters import MIX, PER_PIXEL
from explainer.test_segmenters import explainer as segmenter
from numpy.testing import assert_allclose
from tiny import Array, tiny

import onnxplain
from onnxplain import Explainer, Preprocess
from onnxplain.errors import NotInPictureError, TargetError
from onnxplain.exporting.verify import verify
from onnxplain.targets import Region

Export = Callable[..., Callable[..., dict[str, Array]]]

SMALL = "c = Conv<pads=[1,1,1,1], strides=[2,2]>(x, first) r = Relu(c) y = Conv(r, classes)"
LAYER = {"layer": "r"}
METHODS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "gradcam": LAYER,
    "fullgrad": {},
    "scorecam": LAYER,
    "ablationcam": LAYER,
    "occlusion": {"window": 4, "stride": 4},
    "integrated_gradients": {"steps": 3},
}


def coarse(**preprocess: Any) -> Explainer:
    """A segmenter whose map has half as many rows and columns as its input, 12 by 16."""
    made = tiny(
        SMALL,
        "float[N,3,12,16] x",
        "float[N,4,6,8] y",
        first=noise(6, 3, 3, 3) * 0.3,
        classes=noise(4, 6, 1, 1, seed=1),
    )
    settings = Preprocess(size=(12, 16), scale=1 / 255, **preprocess)
    labels = ["sky", "cat", "dog", "road"]
    return Explainer(made, preprocess=settings, labels=labels, provider="cpu")


def box(size: tuple[int, int], rows: slice, columns: slice) -> Array:
    mask = np.zeros(size, np.uint8)
    mask[rows, columns] = 255
    return mask


def near(found: Array, expected: Array, limit: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= limit * np.abs(expected).max()


@pytest.mark.parametrize("form", ["channels first", "channels last"])
def test_the_gradient_is_that_of_the_mean_over_the_region(exported: Export, form: str) -> None:
    explainer = segmenter(form)
    x = explainer.samples([noise_picture(6, 8)])[0]
    mask = box((6, 8), slice(1, 4), slice(2, 7))
    run = exported(explainer, "gradient")
    for index in range(4):
        found = run(x, [index], region=mask[None])
        expected = MIX[index][:, None, None] * (mask > 0) / 15
        assert_allclose(found["values"][0], expected, rtol=1e-5, atol=1e-9)
        assert (found["explained"].item(), found["status"].item()) == (index, 0)


def test_the_top_class_is_the_one_with_the_largest_area_in_the_region(exported: Export) -> None:
    explainer = segmenter()
    x = explainer.samples([noise_picture(6, 8)])[0]
    run, predicted = exported(explainer, "gradient"), PER_PIXEL[0].argmax(axis=0)
    found = set()
    for column in range(8):
        mask = box((6, 8), slice(None), slice(column, column + 1))
        top = int(np.bincount(predicted[:, column], minlength=4).argmax())
        assert run(x, [-1], region=mask[None])["explained"].item() == top
        found.add(top)
    assert len(found) > 1, "the picture is too even"


@pytest.mark.parametrize("method", METHODS)
def test_each_sample_has_a_region(exported: Export, method: str) -> None:
    """A coarser map: a cell of 2 by 2 places belongs to the region by the place at its center."""
    explainer, options = coarse(), METHODS[method]
    x = noise(4, 3, 12, 16, seed=2)
    masks = np.zeros((4, 12, 16), np.uint8)
    masks[0, 2:9, 4:11], masks[1, 11, 15], masks[2, :, :8] = 1, 255, 7
    run = exported(explainer, method, **options)
    found = run(x, [2, 0, -1, -1], region=masks)
    cells = masks[:, 1::2, 1::2] > 0
    assert cells.sum(axis=(1, 2)).tolist() == [9, 1, 24, 0]
    predicted = explainer.predict(x)["y"].argmax(axis=1)
    tops = [np.bincount(predicted[i][cells[i] if i < 3 else ...].ravel()).argmax() for i in (2, 3)]
    assert found["explained"].tolist() == [2, 0, *tops]
    assert found["status"].tolist() == [0, 0, 0, 0]
    for i, index in enumerate([2, 0, tops[0]]):
        target = Region(int(index), cells[i])
        expected = explainer.attribute(x[i : i + 1], method, [target], **options)
        near(found["values"][i], expected.values[0])
    near(found["values"][3], explainer.attribute(x[3:], method, **options).values[0])


def test_a_region_without_the_center_of_a_cell_is_the_cells_around_it(exported: Export) -> None:
    """Centers of cells are at the odd places, so one even place holds none."""
    explainer, x = coarse(), noise(1, 3, 12, 16, seed=2)
    mask, cells = box((12, 16), slice(4, 5), slice(6, 7)), np.zeros((6, 8), bool)
    cells[2, 3] = True
    found = exported(explainer, "gradient")(x, [1], region=mask[None])
    near(found["values"], explainer.attribute(x, "gradient", [Region(1, cells)]).values)


SETTINGS: dict[str, dict[str, Any]] = {
    "stretch": {"fit": "stretch"},
    "letterbox": {"fit": "letterbox"},
    "crop": {"fit": "crop"},
    "resized and cropped": {"fit": "crop", "resize": 18},
}


@pytest.mark.parametrize("size", [(29, 53), (9, 7)])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_region_of_a_picture_is_a_mask_of_its_pixels(
    exported: Export, tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    """As `run --target CLASS@MASK.png`, also where the model does not see what is marked."""
    explainer = coarse(**SETTINGS[name])
    picture, path = noise_picture(*size).astype(np.uint8), tmp_path / "mask.png"
    run = exported(explainer, "gradient", with_preprocessing=True)
    height, width = size
    masks = [
        box(size, slice(height // 4, height // 2 + 1), slice(width // 4, width // 2 + 1)),
        box(size, slice(height // 2, height // 2 + 1), slice(width // 2, width // 2 + 1)),
        box(size, slice(0, 1), slice(0, 1)),
        box(size, slice(height - 1, None), slice(None)),
    ]
    seen = []
    for mask in masks:
        cv2.imwrite(str(path), mask)
        found = run(None, [2], picture=picture, region=mask[None])
        seen.append(found["status"].item() == 0)
        if not seen[-1]:
            top = run(None, [-1], picture=picture, region=mask[None])
            assert [one["status"].item() for one in (found, top)] == [3, 3]
            with pytest.raises(TargetError, match="crops"):
                explainer.explain(picture, "gradient", f"2@{path}")
            continue
        expected = explainer.explain(picture, "gradient", f"2@{path}")
        near(found["values"][0], expected.values)
        assert_allclose(found["heatmap"][0], expected.heatmap, atol=1e-5)
    assert seen[:2] == [True, True]
    assert all(seen) == ("crop" not in SETTINGS[name]["fit"])


def test_a_class_that_is_predicted_nowhere_can_be_explained_at_a_region(exported: Export) -> None:
    made = tiny(
        "s = Conv(x, k) y = Sigmoid(s)", "float[N,3,6,8] x", "float[N,1,6,8] y", k=noise(1, 3, 1, 1)
    )
    explainer = Explainer(made, preprocess=AS_IT_IS, labels=["crack"])
    x, where = np.zeros((1, 3, 6, 8), np.float32), box((6, 8), slice(0, 2), slice(0, 2))[None]
    x -= np.sign(noise(1, 3, 1, 1))
    run = exported(explainer, "gradient")
    codes = {"predicted": run(x, [0]), "named": run(x, [0], region=where),
             "top": run(x, [-1], region=where)}  # fmt: skip
    assert {name: found["status"].item() for name, found in codes.items()} == {
        "predicted": 3, "named": 0, "top": 3,
    }  # fmt: skip
    for target in ("0", "top1@box:0,0,2,2"):
        with pytest.raises((NotInPictureError, TargetError)):
            explainer.attribute(x, "gradient", target)


def test_no_region_of_a_fixed_target_or_of_a_signal(tmp_path: Path) -> None:
    fixed = onnxplain.export(coarse(), tmp_path / "fixed.onnx", "gradient", target="1@all")
    wave = tiny(
        "c = Conv<pads=[1,1]>(x, k) r = Relu(c) y = Conv(r, classes)",
        "float[N,2,32] x", "float[N,3,32] y",
        k=noise(4, 2, 3), classes=noise(3, 4, 1, seed=1),
    )  # fmt: skip
    signal = onnxplain.export(
        Explainer(wave, labels=["a", "b", "c"]), tmp_path / "signal.onnx", "gradient"
    )
    for path, names in ((fixed, ["x"]), (signal, ["x", "target"])):
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [value.name for value in session.get_inputs()] == names


@pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 lacks operators of the file"
)
def test_opencv_reads_the_region(tmp_path: Path) -> None:
    path = onnxplain.export(coarse(), tmp_path / "file.onnx", "gradcam", **LAYER)
    x, regions = noise(2, 3, 12, 16), np.zeros((2, 12, 16), np.uint8)
    regions[0, 3:7, 4:9] = 1
    feeds = {"x": x, "target": np.array([-1, 0]), "region": regions}
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    network = cv2.dnn.readNetFromONNX(str(path))
    for name, value in feeds.items():
        network.setInput(value, name)
    for found, expected in zip(network.forward(names), session.run(names, feeds), strict=True):
        near(found, expected)


@pytest.mark.parametrize("with_preprocessing", [False, True])
def test_verify_leaves_the_region_to_the_model(tmp_path: Path, with_preprocessing: bool) -> None:
    explainer = coarse()
    path = onnxplain.export(
        explainer, tmp_path / "file.onnx", "gradcam", with_preprocessing=with_preprocessing, **LAYER
    )
    (found,) = verify(path, explainer, [noise_picture(30, 40).astype(np.uint8)])
    assert not found.problem
    assert found.largest < 1e-5

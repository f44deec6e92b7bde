"""Layouts, channel orders and types of models' inputs; kinds and sizes of pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from explainer.formulas import (
    AS_IT_IS,
    NET_R_SHAPES,
    OPTIONS,
    Array,
    linear,
    model,
    noise,
    noise_picture,
)
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper

from onnxplain import Explainer
from onnxplain.errors import PictureError
from onnxplain.methods.options import options_of
from onnxplain.methods.registry import METHODS
from tools.cases import nets

PICTURE = noise_picture()


# Class k is the mean of the model's channel k.
KINDS = {
    "NCHW": ("float[N,3,8,8]", "y = ReduceMean<axes=[2,3], keepdims=0>(x)", {}),
    "NHWC": ("float[N,8,8,3]", "y = ReduceMean<axes=[1,2], keepdims=0>(x)", {}),
    "uint8 NHWC": (
        "uint8[N,8,8,3]",
        "f = Cast<to=1>(x) y = ReduceMean<axes=[1,2], keepdims=0>(f)",
        {},
    ),
    "int8": (
        "int8[N,3,8,8]",
        "f = Cast<to=1>(x) y = ReduceMean<axes=[2,3], keepdims=0>(f)",
        {"mean": 128},
    ),
    "float16": (
        "float16[N,3,8,8]",
        "f = Cast<to=1>(x) y = ReduceMean<axes=[2,3], keepdims=0>(f)",
        {},
    ),
    "BGR": ("float[N,3,8,8]", "y = ReduceMean<axes=[2,3], keepdims=0>(x)", {"channels": "BGR"}),
    "any size": (
        "float[N,3,H,W]",
        "y = ReduceMean<axes=[2,3], keepdims=0>(x)",
        {"size": "picture"},
    ),
    "normalized": (
        "float[N,3,8,8]",
        "y = ReduceMean<axes=[2,3], keepdims=0>(x)",
        {"scale": 1 / 255, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)},
    ),
}
RED, BLUE = np.s_[:4, :4], np.s_[8:12, 12:]


def painted(dtype: Any = np.uint8) -> Array:
    """12 x 20 pixels, a red block at the upper left and a blue one at the lower right."""
    pixels = np.zeros((12, 20, 3), np.uint8)
    pixels[RED] = (255, 0, 0)
    pixels[BLUE] = (0, 0, 255)
    return pixels.astype(dtype) * (257 if dtype is np.uint16 else 1)


@pytest.mark.parametrize(
    ("kind", "method"), [*((kind, "occlusion") for kind in KINDS), ("uint8 NHWC", "rise")]
)
def test_every_kind_of_input(kind: str, method: str) -> None:
    declared, body, settings = KINDS[kind]
    made = model(f"g ({declared} x) => (float[N,3] y) {{ {body} }}")
    frame = {"size": 8, "fit": "stretch", "interpolation": "area"}
    explainer = Explainer(made, preprocess={**AS_IT_IS, **frame, **settings})
    red, blue = (2, 0) if kind == "BGR" else (0, 2)
    options: dict[str, Any] = {"samples": 300, "score": "logit"} if method == "rise" else {}
    found = explainer.explain_each(painted(), method, [red, blue], **options)
    for explanation, here, there in zip(found, (RED, BLUE), (BLUE, RED), strict=True):
        heat = explanation.heatmap
        assert heat.shape == (12, 20)
        assert heat[here].max() == 1
        assert heat[here].mean() > 2 * heat[there].mean()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_every_kind_of_picture(dtype: Any) -> None:
    explainer = Explainer(
        linear("3,12,20", noise(2, 720)), preprocess={**AS_IT_IS, "fit": "stretch"}
    )
    expected = explainer.explain(painted(), "occlusion", 1)
    found = explainer.explain(painted(dtype), "occlusion", 1)
    assert_allclose(found.values, expected.values, atol=1e-3)
    assert_array_equal(found.picture, painted())
    alpha = np.concatenate([painted(dtype), np.ones((12, 20, 1), dtype)], axis=2)
    assert_array_equal(explainer.explain(alpha, "occlusion", 1).values, found.values)


def test_gray_model_and_gray_picture() -> None:
    made = model(
        "g (float[N,1,12,20] x) => (float[N,1] y) { p = GlobalAveragePool(x) y = Flatten(p) }"
    )
    explainer = Explainer(made, preprocess={**AS_IT_IS, "fit": "stretch"})
    heat = explainer.explain(painted(), "occlusion", 0, window=1, stride=1).heatmap
    # Luma of red and of blue, ITU-R BT.601.
    assert_allclose(heat[RED], 1, rtol=1e-4)
    assert_allclose(heat[BLUE], 0.114 / 0.299, rtol=1e-4)
    gray = painted()[..., 0]
    assert_array_equal(
        explainer.explain(gray, "occlusion", 0).picture, np.repeat(gray[..., None], 3, axis=2)
    )


def test_pictures_of_any_size_one_after_the_other() -> None:
    text = "g (float[N,3,H,W] x) => (float[N,4] y) { c = Conv<strides=[2,2]>(x, k) a = Relu(c)"
    text += " p = GlobalAveragePool(a) f = Flatten(p) y = MatMul(f, w) }"
    made = model(text, k=noise(6, 3, 3, 3), w=noise(6, 4, seed=1))
    settings = {**AS_IT_IS, "size": "picture", "fit": "stretch"}
    explainer = Explainer(made.SerializeToString(), preprocess=settings, labels=list("wxyz"))
    for height, width in ((21, 35), (40, 22), (21, 35)):
        picture = noise_picture(60, 60)[:height, :width]
        found = explainer.explain(picture, "scorecam", "y", score="logit")
        assert found.values.shape == ((height - 1) // 2, (width - 1) // 2)
        assert found.heatmap.shape == (height, width)
        assert found.provenance.model.path is None


def test_picture_files_and_what_is_none(net_r: Explainer, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    file = tmp_path / "noise.png"
    cv2.imwrite(str(file), PICTURE[..., ::-1])
    for picture in (file, str(file)):
        found = net_r.explain(picture, "cam", 0)
        assert found.picture_path == file
        assert_array_equal(found.values, net_r.explain(PICTURE, "cam", 0).values)
    with pytest.raises(PictureError, match="does not exist"):
        net_r.explain(tmp_path / "other.png", "cam", 0)
    with pytest.raises(PictureError, match="multiply it by 255"):
        net_r.explain(PICTURE / 255, "cam", 0)


@pytest.fixture(scope="module")
def whole_and_half() -> tuple[Explainer, Explainer]:
    """Net R, and its copy in float16."""
    halved = nets.net_r()
    for weight in halved.graph.initializer:
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    for value in (*halved.graph.input, *halved.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    settings = {"size": (20, 26), "fit": "stretch", "scale": 1 / 60, "mean": 2, "std": 1}
    whole, half = (Explainer(made, preprocess=settings) for made in (nets.net_r(), halved))
    return whole, half


@pytest.mark.parametrize(
    "method",
    [
        method
        for method in NET_R_SHAPES
        # Every step of the gradient ascent starts from the rounded result of the step before, and
        # regions are those of the rounded picture.
        if method not in ("activation_maximization", "xrai")
    ],
)
def test_a_model_in_half_precision_agrees_with_its_original(
    whole_and_half: tuple[Explainer, Explainer], method: str
) -> None:
    options = OPTIONS.get(method, {})
    if "seed" in options_of(METHODS[method]):
        # With others, a noisy copy is at a kink of a rectifier, on another side for each model.
        options = {**options, "seed": 1}
    expected, found = (each.explain(PICTURE, method, 1, **options) for each in whole_and_half)
    assert found.values.dtype == np.float32
    largest = np.abs(expected.values).max()
    assert_allclose(found.values, expected.values, rtol=0, atol=5e-3 * largest)
    assert_allclose(found.heatmap, expected.heatmap, atol=5e-3)

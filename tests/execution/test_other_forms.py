"""The shipped SqueezeNet in deployed forms: quantized, in float16, optimized.

A quantized model has its own maps: they are compared with the outputs of plain ONNX Runtime for
each occluded picture. They are also similar to those of the float32 model, which shows that the
right tensors, scales and zero points were read.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from tiny import Array, run

from onnxplain import Explainer
from onnxplain.errors import LayerError
from onnxplain.images.picture import read_picture

pytestmark = pytest.mark.slow

MODELS = Path(__file__).parents[2] / "models"
SOURCE = MODELS / "squeezenet1_1.onnx"
CAT = MODELS / "pictures" / "chelsea.png"


@functools.cache
def original() -> Explainer:
    return Explainer(SOURCE, provider="cpu")


@functools.cache
def cat() -> Array:
    return original().preprocess.apply(read_picture(CAT))[0]


@functools.cache
def target() -> int:
    """The top class of the float32 model."""
    index = original().attribute(cat(), "eigencam").targets[0].index
    assert index is not None
    return index


def prepared(folder: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = folder / "prepared.onnx"
    quant_pre_process(SOURCE, path, skip_symbolic_shape=True)
    return path


def static(folder: Path, style: str) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"data": cat()}, {"data": cat()[..., ::-1].copy()}]

        def get_next(self) -> dict[str, Array] | None:
            return self.left.pop() if self.left else None

    path = folder / f"{style}.onnx"
    quantize_static(prepared(folder), path, Reader(), quant_format=QuantFormat[style])
    return path


def dynamic(folder: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(prepared(folder), folder / "dynamic.onnx", weight_type=QuantType.QUInt8)
    return folder / "dynamic.onnx"


def halved(folder: Path, keep_io_types: bool) -> Path:
    float16 = pytest.importorskip("onnxconverter_common").float16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = float16.convert_float_to_float16(onnx.load(SOURCE), keep_io_types=keep_io_types)
    onnx.save(model, folder / "half.onnx")
    return folder / "half.onnx"


def optimized(model: Path, folder: Path, level: str) -> Path:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return folder / "optimized.onnx"


FORMS: dict[str, Callable[[Path], Path]] = {
    "QDQ": lambda folder: static(folder, "QDQ"),
    "QOperator": lambda folder: static(folder, "QOperator"),
    "dynamic": dynamic,
    "float16": lambda folder: halved(folder, keep_io_types=False),
    "float16 inside": lambda folder: halved(folder, keep_io_types=True),
    "basic": lambda folder: optimized(SOURCE, folder, "BASIC"),
    "extended": lambda folder: optimized(SOURCE, folder, "EXTENDED"),
}
QUANTIZED = {"QDQ", "QOperator", "dynamic"}
WINDOW = 76  # three by three, the last clipped to 75 of 227 pixels
OCCLUSION: dict[str, Any] = {"window": WINDOW, "stride": WINDOW, "fill": "zeros"}


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = FORMS[request.param](tmp_path_factory.mktemp("form"))
    return request.param, path, Explainer(path, provider="cpu")


def narrow_layer(explainer: Explainer) -> str:
    """The last of 64 channels."""
    found = [layer for layer in explainer.layers(cat()) if layer.channels == 64]
    return found[-1].tensor


def likeness(a: Array, b: Array) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_occlusion_is_that_of_plain_runs(form: Any, score: str) -> None:
    name, path, explainer = form
    options = {"target": target(), "score": score, **OCCLUSION}
    x = cat().astype(explainer.input.dtype)
    found = explainer.attribute(x, "occlusion", **options)
    reference = original().attribute(cat(), "occlusion", **options)
    assert found.scores[0] == pytest.approx(reference.scores[0], rel=0.1)
    assert likeness(found.values, reference.values) > (0.95 if name in QUANTIZED else 0.999)
    if score == "logit":
        return
    model = onnx.load(path)
    (before,) = run(model, {"data": x})
    lost = found.values[0].mean(axis=0)[::WINDOW, ::WINDOW]
    for row, column in np.ndindex(3, 3):
        y = x.copy()
        y[..., WINDOW * row :, WINDOW * column :][..., :WINDOW, :WINDOW] = 0
        (after,) = run(model, {"data": y})
        assert lost[row, column] == pytest.approx((before - after)[0, target()], abs=2e-3)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "reciprocam", "cam", "eigencam"])
def test_layers_are_read_and_changed(form: Any, method: str) -> None:
    name, _, explainer = form
    maps = []
    for each in (explainer, original()):
        # Score-CAM needs a run per channel: a layer with few channels is enough.
        options = {"layer": narrow_layer(each)} if method == "scorecam" else {}
        x = cat().astype(each.input.dtype)
        maps.append(each.attribute(x, method, target=target(), **options).values)
    assert likeness(*maps) > (0.9 if name in QUANTIZED else 0.99)


def test_channels_in_blocks_are_refused_not_misread(tmp_path: Path) -> None:
    path = optimized(MODELS / "efficientnet_lite0.onnx", tmp_path, "ALL")
    if all(node.domain != "com.microsoft.nchwc" for node in onnx.load(path).graph.node):
        pytest.skip("this CPU has no such convolutions")
    with pytest.raises(LayerError, match="save it at the level extended"):
        Explainer(path, provider="cpu").layer(x=np.zeros((1, 3, 224, 224), np.float32))

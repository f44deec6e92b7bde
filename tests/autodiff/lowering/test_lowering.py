"""The passes together, on the shipped models in the forms in which models are deployed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

from onnxplain.analysis.score import find_score
from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.tensors import Array
from tools.gradcheck import normal
from tools.gradcheck.agreement import agreeing
from tools.gradcheck.reference import onnxruntime_function

MODELS = Path(__file__).parents[3] / "models"
PICTURE = normal(1, 3, 224, 224).astype(np.float16).astype(np.float32)


def gradient(model: Model) -> Array:
    """The gradient of one logit at the picture."""
    (spec,) = model.inputs
    differentiated = differentiate(lower(model), find_score(model).logit, [spec.name])
    seed = np.zeros((1, 1000), np.float32)
    seed[0, 282] = 1
    run = onnxruntime_function(differentiated.proto)
    (found,) = run({spec.name: PICTURE.astype(spec.dtype), SEED: seed})
    return found


class Calibration(CalibrationDataReader):
    """One picture."""

    def __init__(self, name: str) -> None:
        self._feeds = [{name: PICTURE}]

    def get_next(self) -> dict[str, Array] | None:
        return self._feeds.pop() if self._feeds else None


def half(model: Path, to: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(model)), to)


def half_inside(model: Path, to: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=True), to)


def optimized(level: str) -> Callable[[Path, Path], None]:
    def save(model: Path, to: Path) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(to)
        ort.InferenceSession(model, options, ["CPUExecutionProvider"])

    return save


def quantized(form: QuantFormat) -> Callable[[Path, Path], None]:
    def save(model: Path, to: Path) -> None:
        name = load(model).inputs[0].name
        quantize_static(model, to, Calibration(name), quant_format=form, per_channel=True)

    return save


def rounded(model: Path, to: Path) -> None:
    """The float32 model with the weights that its float16 form has."""
    proto = onnx.load(model)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            weight = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    onnx.save(proto, to)


def unchanged(model: Path, to: Path) -> None:
    to.write_bytes(model.read_bytes())


def cosine(a: Array, b: Array) -> float:
    return float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


Make = Callable[[Path, Path], None]
QDQ = quantized(QuantFormat.QDQ)

# A form, the form that its gradient is compared with, and the least cosine. Quantization changes a
# gradient more than an output, because it moves activations across the kinks of their Relus.
FORMS: dict[str, tuple[Make, Make, float]] = {
    "float16": (half, rounded, 0.99999),
    "float16 inside": (half_inside, rounded, 0.99999),
    "saved at the basic level": (optimized("ORT_ENABLE_BASIC"), unchanged, 0.99999),
    "saved at the extended level": (optimized("ORT_ENABLE_EXTENDED"), unchanged, 0.99999),
    "QDQ int8": (QDQ, unchanged, 0.7),
    "QOperator int8": (quantized(QuantFormat.QOperator), QDQ, 0.99999),
}


@pytest.fixture(scope="module")
def gradient_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make, str], Array]:
    """The gradient of a form of a model; each is made once, because several forms share it."""

    @functools.cache
    def made(make: Make, name: str) -> Array:
        path = tmp_path_factory.mktemp("form") / "model.onnx"
        make(MODELS / f"{name}.onnx", path)
        return gradient(load(path))

    return made


@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1_1"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_gradient_of_a_deployed_form(
    form: tuple[Make, Make, float], name: str, gradient_of: Callable[[Make, str], Array]
) -> None:
    *makers, least = form
    assert cosine(*(gradient_of(make, name) for make in makers)) > least


def test_gradient_of_weights_in_int8(tmp_path: Path) -> None:
    """The other model gives wrong outputs if its weights have one scale for all channels."""
    quantize_dynamic(MODELS / "squeezenet1_1.onnx", tmp_path / "int8.onnx")
    found = gradient(load(tmp_path / "int8.onnx"))
    assert cosine(found, gradient(load(MODELS / "squeezenet1_1.onnx"))) > 0.8


@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1_1"])
def test_weights_names_and_metadata_stay(name: str) -> None:
    model = load(MODELS / f"{name}.onnx")
    before = model.proto.SerializeToString(deterministic=True)
    prepared = agreeing(model.proto, lower, {model.inputs[0].name: PICTURE}, rtol=1e-4, atol=1e-5)
    assert model.proto.SerializeToString(deterministic=True) == before
    assert prepared.metadata == model.metadata
    assert set(prepared.index.tensors()) >= set(model.index.tensors())
    weights = {t.name: t.raw_data for t in prepared.proto.graph.initializer}
    for tensor in model.proto.graph.initializer:
        if len(tensor.raw_data) > 16384:
            assert weights[tensor.name] == tensor.raw_data


def test_external_weights_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    proto = onnx.load(MODELS / "squeezenet1_1.onnx")
    onnx.save(proto, path, save_as_external_data=True, location="weights", size_threshold=1024)
    prepared = lower(load(path))
    assert prepared.folder == tmp_path
    places = {t.name: t for t in onnx.load(path, load_external_data=False).graph.initializer}
    external = [t for t in prepared.proto.graph.initializer if t.external_data]
    assert len(external) > 20
    assert all(t == places[t.name] for t in external)


def test_what_onnx_runtime_saved_becomes_standard_onnx(tmp_path: Path) -> None:
    optimized("ORT_ENABLE_EXTENDED")(MODELS / "squeezenet1_1.onnx", tmp_path / "saved.onnx")
    saved = load(tmp_path / "saved.onnx")
    prepared = lower(saved).proto
    assert {entry.domain for entry in saved.proto.opset_import} > {"", "com.microsoft"}
    assert {entry.domain for entry in prepared.opset_import} == {""}
    onnx.checker.check_model(prepared, full_check=True)

"""The passes together, on the shipped models in the forms in which models are deployed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from gradcheck import normal
from gradcheck.reference import onnxruntime_function
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization import quantize_dynamic as quantize_weights
from onnxruntime.transformers.float16 import convert_float_to_float16

from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.autodiff.prepare import prepare
from onnxplain.graph.load import load
from onnxplain.graph.model import Model
from onnxplain.graph.score import find_score
from onnxplain.tensors import Array

MODELS = Path(__file__).parents[2] / "models"
PICTURE = normal(1, 3, 224, 224)


def gradient(model: Model) -> Array:
    """Of one logit at the picture."""
    (spec,) = model.inputs
    differentiated = differentiate(prepare(model), find_score(model).logit, [spec.name])
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


def optimised(level: str) -> Callable[[Path, Path], None]:
    def save(model: Path, to: Path) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(to)
        ort.InferenceSession(model, options, ["CPUExecutionProvider"])

    return save


def quantised(form: QuantFormat) -> Callable[[Path, Path], None]:
    def save(model: Path, to: Path) -> None:
        name = load(model).inputs[0].name
        quantize_static(model, to, Calibration(name), quant_format=form, per_channel=True)

    return save


FORMS: dict[str, tuple[Callable[[Path, Path], None], float]] = {
    "float16": (half, 0.999),
    "float16 inside": (half_inside, 0.999),
    "saved at the basic level": (optimised("ORT_ENABLE_BASIC"), 0.999999),
    "saved at the extended level": (optimised("ORT_ENABLE_EXTENDED"), 0.999999),
    "weights in int8": (quantize_weights, 0.8),
    "QDQ int8": (quantised(QuantFormat.QDQ), 0.8),
    "QOperator int8": (quantised(QuantFormat.QOperator), 0.8),
}


@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1_1"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_gradient_of_a_deployed_form(
    form: tuple[Callable[[Path, Path], None], float], name: str, tmp_path: Path
) -> None:
    make, least = form
    deployed = tmp_path / "deployed.onnx"
    make(MODELS / f"{name}.onnx", deployed)
    expected, found = gradient(load(MODELS / f"{name}.onnx")), gradient(load(deployed))
    cosine = np.vdot(expected, found) / np.linalg.norm(expected) / np.linalg.norm(found)
    print("COS",cosine)
    assert cosine > least

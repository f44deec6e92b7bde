"""Straight-through gradients of quantisation.

No finite difference can tell them. By hand: with scale 0.5 and zero point 3, the uint8 numbers
stand for -1.5 ... 126; what is rounded to them lies between -1.75 and 126.25.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from gradcheck import gradients, normal
from gradcheck.reference import onnxruntime_function
from onnx import ModelProto, numpy_helper, parser

from onnxplain.autodiff.differentiate import GRADIENT, SEED, differentiate
from onnxplain.autodiff.prepare import prepare
from onnxplain.graph.load import load
from onnxplain.tensors import Array


def pair(zero: Array, scale: Array, shape: str, opset: int = 21, attributes: str = "") -> ModelProto:
    """QuantizeLinear, then DequantizeLinear."""
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": {opset}]> g (float{shape} x) => (float{shape} y)
        {{ q = QuantizeLinear{attributes}(x, s, z) y = DequantizeLinear{attributes}(q, s, z) }}"""
    )
    model.graph.initializer.append(numpy_helper.from_array(scale, "s"))
    model.graph.initializer.append(numpy_helper.from_array(zero, "z"))
    return model


X = np.array([-300, -1.8, -1.7, 0, 0.2, 126.2, 126.3, 300], np.float32)
RANGES = {
    "uint8": (np.uint8(3), [0, 0, 1, 1, 1, 1, 0, 0]),
    "int8": (np.int8(3), [0, 1, 1, 1, 1, 0, 0, 0]),  # -65.5 ... 62
    "uint16": (np.uint16(3), [0, 0, 1, 1, 1, 1, 1, 1]),
    "int16": (np.int16(3), [1, 1, 1, 1, 1, 1, 1, 1]),
    "int4": (np.array(3, ml_dtypes.int4), [0, 1, 1, 1, 1, 0, 0, 0]),  # -5.5 ... 2
    "float8": (np.array(0, ml_dtypes.float8_e4m3fn), [0, 1, 1, 1, 1, 0, 0, 0]),
}


@pytest.mark.parametrize("case", RANGES.values(), ids=RANGES)
def test_range_of_each_type(case: tuple[Array, list[int]]) -> None:
    zero, expected = case
    model = pair(np.asarray(zero), np.array(0.5, np.float32), "[8]")
    scale = 0.5 if zero.dtype != ml_dtypes.float8_e4m3fn else 0.25
    if scale != 0.5:  # 448 · 0.25 = 112
        model = pair(np.asarray(zero), np.array(scale, np.float32), "[8]")
    seed = normal(8)
    found = gradients(model, {"x": X}, {"y": seed}, ["x"])
    np.testing.assert_allclose(found["x"], seed * expected, rtol=1e-6)

"""Straight-through gradients of quantization, which finite differences cannot check."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, numpy_helper, parser

from onnxplain.autodiff.differentiate import GRADIENT, SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import gradients, normal
from tools.gradcheck.reference import onnxruntime_function

F32 = np.float32


def pair(shape: str, attributes: str = "", **constants: Array) -> ModelProto:
    """QuantizeLinear, then DequantizeLinear, of a tensor that is not the score."""
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]> g (float{shape} x) => (float{shape} y)
        {{ q = QuantizeLinear{attributes}(x, s, z) r = DequantizeLinear{attributes}(q, s, z)
        n = Neg(r) y = Neg(n) }}"""
    )
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


# Just inside and just outside of the range that is rounded to a representable number, for scale 0.5
# and zero point 3: (smallest - 3 - 1/2) / 2 and (largest - 3 + 1/2) / 2. Halves round to even.
EDGES = {
    "uint8": (np.uint8(3), -1.75, 126.25),
    "int8": (np.int8(3), -65.75, 62.25),
    "uint16": (np.uint16(3), -1.75, 32766.25),
    "int16": (np.int16(3), -16385.75, 16382.25),
    "uint4": (np.array(3, ml_dtypes.uint4), -1.75, 6.25),
    "int4": (np.array(3, ml_dtypes.int4), -5.75, 2.25),
    "float8": (np.array(0, ml_dtypes.float8_e4m3fn), -224.0, 224.0),
}


@pytest.mark.parametrize("case", EDGES.values(), ids=EDGES)
def test_range_of_each_type(case: tuple[Array, float, float]) -> None:
    zero, low, high = case
    step = F32(0.01)
    x = np.array([low - 9, low - step, low + step, 0, high - step, high + step, high + 9], F32)
    model = pair("[7]", s=np.array(0.5, F32), z=np.asarray(zero))
    seed = normal(7)
    found = gradients(model, {"x": x}, {"y": seed}, ["x"])
    np.testing.assert_allclose(found["x"], seed * [0, 0, 1, 1, 1, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("shape", ["[2,3,4]", "[a,b,c]"])
def test_by_axis(shape: str) -> None:
    """int8 with a zero point of 0 holds ±127 scales."""
    scales = np.array([0.001, 0.01, 1.0], F32)
    model = pair(shape, "<axis=-2>", s=scales, z=np.zeros(3, np.int8))
    x, seed = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    found = gradients(model, {"x": x}, {"y": seed}, ["x"])
    inside = np.abs(x) < 127.5 * scales[:, None]
    assert 0 < inside.sum() < inside.size
    np.testing.assert_allclose(found["x"], seed * inside, rtol=1e-6)


@pytest.mark.parametrize("shape", ["[2,5]", "[a,b]"])
def test_by_block(shape: str) -> None:
    """Blocks of 2 along the last axis, the last one cut short."""
    scales = np.array([[0.001, 1, 0.01], [1, 0.01, 0.001]], F32)
    model = pair(shape, "<axis=1, block_size=2>", s=scales, z=np.zeros((2, 3), np.int8))
    x, seed = normal(2, 5), normal(2, 5, seed=1)
    found = gradients(model, {"x": x}, {"y": seed}, ["x"])
    inside = np.abs(x) < 127.5 * np.repeat(scales, 2, axis=1)[:, :5]
    assert 0 < inside.sum() < inside.size
    np.testing.assert_allclose(found["x"], seed * inside, rtol=1e-6)


@pytest.mark.peers
def test_as_torch_has_it() -> None:
    import torch

    x = (normal(1000) * 3).astype(F32)
    x[:4] = [1.275, -1.285, 1.2749, -1.2849]  # 127.5 and -128.5, both rounded to even
    leaf = torch.tensor(x, requires_grad=True)
    torch.fake_quantize_per_tensor_affine(leaf, 0.01, 0, -128, 127).sum().backward()
    model = pair("[1000]", s=np.array(0.01, F32), z=np.int8(0).reshape(()))
    found = gradients(model, {"x": x}, {"y": np.ones(1000, F32)}, ["x"])
    np.testing.assert_array_equal(found["x"], leaf.grad.numpy())


W = normal(8, 5, seed=2)
WHOLE = np.round(W * 50).astype(np.int8)

FORMS = {
    "QLinearMatMul": """{ q = QuantizeLinear(x, s, z)
        p = QLinearMatMul(q, s, z, w, t, zw, t, zp) y = DequantizeLinear(p, t, zp) }""",
    "MatMulInteger": """{ q, sq, zq = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, zq)
        f = Cast<to=1>(i) m = Mul(f, sq) y = Mul(m, t) }""",
    "DynamicQuantizeMatMul": "{ y = com.microsoft.DynamicQuantizeMatMul(x, w, t) }",
    "MatMulIntegerToFloat": """{ q, sq, zq = DynamicQuantizeLinear(x)
        y = com.microsoft.MatMulIntegerToFloat(q, w, sq, t, zq) }""",
    "moved about as integers": """{ q = QuantizeLinear(x, s, z) r = Transpose(q)
        v = DequantizeLinear(w, t, zw) u = DequantizeLinear(r, s, z) k = Transpose(u)
        y = MatMul(k, v) }""",
    "quantized to 16 bits by operators of ONNX Runtime": """{
        q = com.microsoft.QuantizeLinear(x, s, h) u = com.microsoft.DequantizeLinear(q, s, h)
        v = com.microsoft.DequantizeLinear(w, t, zw) y = MatMul(u, v) }""",
    "quantized by operators of ONNX Runtime": """{ q = com.microsoft.QuantizeLinear(x, s, z)
        u = com.microsoft.DequantizeLinear(q, s, z) v = com.microsoft.DequantizeLinear(w, t, zw)
        y = MatMul(u, v) }""",
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_gradient_of_a_prepared_product(body: str) -> None:
    """dx = dy Wᵀ with the weights that the integers represent: scales cancel, and are constants."""
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>
        g (float[n,8] x) => (float[n,5] y)
        <float s = {{0.05}}, uint8 z = {{128}}, float t = {{0.02}}, int8 zw = {{0}},
         uint8 zp = {{128}}, int16 h = {{0}}> {body}"""
    )
    model.graph.initializer.append(numpy_helper.from_array(WHOLE, "w"))
    x, seed = normal(3, 8) / 4, normal(3, 5, seed=1)
    found = gradients(lower(load(model)), {"x": x}, {"y": seed}, ["x"])
    np.testing.assert_allclose(found["x"], seed @ (WHOLE * F32(0.02)).T, rtol=1e-5, atol=1e-6)


TAILS = {
    "in one go": "y = DequantizeLinear(q, s, z)",
    "again once it is flat": """p = DequantizeLinear(q, s, z) f = Flatten(p)
        r = QuantizeLinear(f, s, z) y = DequantizeLinear(r, s, z)""",
    "and left as integers": "y = Identity(q)",
}


@pytest.mark.parametrize("tail", TAILS)
def test_score_beyond_its_range_has_the_gradient_of_what_is_rounded(tail: str) -> None:
    """d/dx of 3x: the range of the score ends at 2.55, and that of x is larger."""
    kind, slope = ("uint8", 3 / 0.01) if "integers" in tail else ("float", 3)
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]> g (float[1,2] x) => ({kind}[1,2] y)
        <float s = {{0.01}}, uint8 z = {{0}}, float t = {{0.1}}, float three = {{3}}>
        {{ a = QuantizeLinear(x, t, z) b = DequantizeLinear(a, t, z) c = Mul(b, three)
        q = QuantizeLinear(c, s, z) {TAILS[tail]} }}"""
    )
    differentiated = differentiate(load(model), "y", ["x"])
    run = onnxruntime_function(differentiated.proto)
    (found,) = run({"x": np.array([[20, 26]], F32), SEED: np.ones((1, 2), F32)})
    np.testing.assert_allclose(found, [[slope, 0]], rtol=1e-6)


def test_with_respect_to_integers_inside() -> None:
    """As if they were real numbers: 0.5 for each step."""
    model = load(pair("[2]", s=np.array(0.5, F32), z=np.array(3, np.uint8)))
    differentiated = differentiate(model, "y", ["q"])
    assert [value.name for value in differentiated.proto.graph.output] == [GRADIENT + "q"]
    (dq,) = onnxruntime_function(differentiated.proto)(
        {"x": np.zeros(2, F32), SEED: np.array([1, -4], F32)}
    )
    np.testing.assert_array_equal(dq, [0.5, -2])

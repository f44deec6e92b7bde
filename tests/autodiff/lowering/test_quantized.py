"""Operators on quantized tensors in ONNX Runtime, compared with the same in float32."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import ModelProto, parser

from onnxplain.autodiff.lowering.quantized import dequantize
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import normal
from tools.gradcheck.agreement import agreeing, operators

LIMITS = {"uint8": (0, 255), "int8": (-64, 64)}
"""Signed weights use only 7 bits: on processors without VNNI, ONNX Runtime adds two products of
unsigned and signed bytes in 16 bits, and larger ones saturate."""


def integers(*shape: int, dtype: str = "uint8", seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(*LIMITS[dtype], shape, dtype, endpoint=True)


FEEDS = {
    "x": integers(1, 4, 6, 5),
    "last": integers(1, 6, 5, 4),
    "other": integers(1, 4, 6, 5, seed=1),
    "w": integers(6, 2, 3, 3, dtype="int8", seed=2),
    "rows": integers(3, 8, seed=3),
    "columns": integers(8, 5, seed=4),
    "turned": integers(5, 8, dtype="int8", seed=5),
    "signed": integers(8, 5, dtype="int8", seed=6),
    "bias": np.random.default_rng(7).integers(-60_000, 60_000, 6).astype(np.int32),
    "bias5": np.random.default_rng(8).integers(-60_000, 60_000, 5).astype(np.int32),
    "real": normal(3, 8, seed=9),
    "shift": normal(5, seed=10),
    "chosen": np.random.default_rng(11).random((1, 4, 6, 5)) > 0.5,
    "tokens": integers(2, 3, 8, seed=12),
    "s": np.float32(0.02),
    "s2": np.float32(0.03),
    "s_wide": np.float32(1.5),
    "s6": np.linspace(0.01, 0.05, 6, dtype=np.float32),
    "s5": np.linspace(0.01, 0.05, 5, dtype=np.float32),
    "z": np.uint8(120),
    "z2": np.uint8(7),
    "z_signed": np.int8(-3),
    "z6": np.zeros(6, np.int8),
    "z5": np.arange(5, dtype=np.int8),
    "pads": np.array([0, 0, 1, 1, 0, 0, 0, 2]),
    "value": np.uint8(40),
    "sizes": np.array([1, 4, 12, 10]),
    "flat": np.array([1, -1]),
    "index": np.array([3, 0, 0]),
    "from": np.array([1]),
    "to": np.array([3]),
    "axis": np.array([2]),
}

CONV = "pads=[1,1,1,1], strides=[2,1], group=2"
CALLS = {
    "QLinearConv": f"QLinearConv<{CONV}>(x, s, z, w, s2, z_signed, s_wide, z)",
    "QLinearConv, by channel": f"QLinearConv<{CONV}>(x, s, z, w, s6, z6, s_wide, z2, bias)",
    "QLinearConv, channels last": f"com.microsoft.QLinearConv<{CONV}, channels_last=1>"
    "(last, s, z, w, s6, z6, s_wide, z2, bias)",
    "QLinearMatMul": "QLinearMatMul(rows, s, z, columns, s2, z2, s_wide, z)",
    "QLinearMatMul, by column": "QLinearMatMul(rows, s, z, signed, s5, z5, s_wide, z)",
    "QGemm": "com.microsoft.QGemm<alpha=0.5>(rows, s, z, columns, s2, z2, bias5, s_wide, z)",
    "QGemm, by column": "com.microsoft.QGemm<transB=1>"
    "(rows, s, z, turned, s5, z5, bias5, s_wide, z)",
    "QLinearAdd": "com.microsoft.QLinearAdd(x, s, z, other, s2, z2, s_wide, z)",
    "QLinearMul": "com.microsoft.QLinearMul(x, s, z, other, s2, z2, s2, z)",
    "QLinearLeakyRelu": "com.microsoft.QLinearLeakyRelu<alpha=0.2>(x, s, z, s2, z2)",
    "QLinearSigmoid": "com.microsoft.QLinearSigmoid(x, s, z, s2, z2)",
    "QLinearSoftmax": "com.microsoft.QLinearSoftmax<axis=-1, opset=13>(x, s, z, s2, z2)",
    "QLinearSoftmax, last axes": "com.microsoft.QLinearSoftmax<axis=2, opset=11>(x, s, z, s2, z2)",
    "QLinearAveragePool": "com.microsoft.QLinearAveragePool<kernel_shape=[3,2], strides=[2,2], "
    "pads=[1,0,1,0], count_include_pad=1>(x, s, z, s2, z2)",
    "QLinearAveragePool, channels last": "com.microsoft.QLinearAveragePool<kernel_shape=[3,2], "
    "channels_last=1>(last, s, z, s2, z2)",
    "QLinearGlobalAveragePool": "com.microsoft.QLinearGlobalAveragePool(x, s, z, s2, z2)",
    "QLinearGlobalAveragePool, channels last": "com.microsoft.QLinearGlobalAveragePool"
    "<channels_last=1>(last, s, z, s2, z2)",
    "QuantizeLinear": "com.microsoft.QuantizeLinear(real, s, z)",
    "QLinearConcat": "com.microsoft.QLinearConcat<axis=1>(s2, z2, x, s, z, other, s2, z)",
    "QLinearWhere": "com.microsoft.QLinearWhere(chosen, x, s, z, other, s2, z2, s2, z)",
}
"""Calls whose result is quantized."""

PRODUCTS = {
    "QGemm, to float": "com.microsoft.QGemm<alpha=2.0>(rows, s, z, columns, s2, z2)",
    "DequantizeLinear": "com.microsoft.DequantizeLinear<axis=1>(signed, s5, z5)",
    "MatMulInteger": "MatMulInteger(rows, columns, z, z2)",
    "MatMulInteger, by column": "MatMulInteger(rows, signed, z, z5)",
    "MatMulInteger, no zero points": "MatMulInteger(rows, signed)",
    "ConvInteger": f"ConvInteger<{CONV}>(x, w, z, z_signed)",
    "MatMulIntegerToFloat": "com.microsoft.MatMulIntegerToFloat(rows, signed, s, s5, z, z5, shift)",
    "DynamicQuantizeMatMul": "com.microsoft.DynamicQuantizeMatMul(real, signed, s5, z5, shift)",
}


def model_of(body: str) -> ModelProto:
    """A model of y whose inputs are the tensors of FEEDS that its body reads."""
    names = [name for name in dict.fromkeys(re.findall(r"\w+", body)) if name in FEEDS]
    inputs = ", ".join(
        f"{TYPES[FEEDS[name].dtype.name]}{dims(FEEDS[name])} {name}" for name in names
    )
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>
        g ({inputs}) => (float y) {{ {body} }}"""
    )
    model.graph.output[0].ClearField("type")
    return model


TYPES = {"float32": "float"} | {name: name for name in "uint8 int8 int32 int64 bool".split()}


def dims(value: Array) -> str:
    return f"[{','.join(map(str, value.shape))}]" if value.ndim else ""


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_quantized_results(call: str) -> None:
    """They may differ by one step, if a value lies between two steps."""
    changed = agreeing(model_of(f"y = {call}"), dequantize, FEEDS, rtol=0, atol=1)
    assert set(operators(changed)) <= FLOAT
    assert operators(changed)[-1] == "QuantizeLinear"


@pytest.mark.parametrize("call", PRODUCTS.values(), ids=PRODUCTS)
def test_products(call: str) -> None:
    changed = agreeing(model_of(f"y = {call}"), dequantize, FEEDS, rtol=1e-5, atol=1e-5)
    assert set(operators(changed)) <= FLOAT


FLOAT = set(
    "Add AveragePool Cast Concat Conv DequantizeLinear DynamicQuantizeLinear Flatten Gemm "
    "GlobalAveragePool LeakyRelu MatMul Mul QuantizeLinear Reshape Shape Sigmoid Softmax "
    "Transpose Where".split()
)
"""Operators that compute in float32, or quantize and dequantize."""

MOVES = {
    "MaxPool": "m = MaxPool<kernel_shape=[2,3], pads=[1,0,0,1]>(q)",
    "Transpose": "m = Transpose<perm=[0,2,3,1]>(q)",
    "Reshape, then Gather": "r = Reshape(q, flat) m = Gather<axis=1>(r, index)",
    "Slice": "m = Slice(q, from, to, axis)",
    "Split": "a, m = Split<axis=1, num_outputs=2>(q)",
    "Resize": 'm = Resize<mode="nearest">(q, , , sizes)',
    "Pad": "m = Pad(q, pads)",
    "Pad, with a value": "m = Pad(q, pads, value)",
}


@pytest.mark.parametrize("body", MOVES.values(), ids=MOVES)
def test_integers_that_are_moved_about(body: str) -> None:
    changed = agreeing(
        model_of(
            f"real_x = DequantizeLinear(other, s) q = QuantizeLinear(real_x, s2, z2) {body} "
            "y = DequantizeLinear(m, s2, z2)"
        ),
        dequantize,
        FEEDS,
    )
    nodes = changed.index.nodes
    quantized = {node.output[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert "m" in quantized
    assert {n.op_type for n in nodes if quantized & {*n.input}} == {"DequantizeLinear"}


def test_integers_whose_meaning_is_not_known_stay() -> None:
    model = load(model_of("y = MaxPool<kernel_shape=[2,2]>(x)"))
    assert dequantize(model) is model


def test_a_product_that_is_cast_to_float_stays_float() -> None:
    source = model_of(
        "a, sa, za = DynamicQuantizeLinear(real) i = MatMulInteger(a, signed, za, z5) "
        "f = Cast<to=1>(i) m = Mul(f, sa) y = Mul(m, s5)"
    )
    changed = agreeing(source, dequantize, FEEDS)
    maker = changed.index.producer("i")
    assert maker is not None
    assert maker.op_type == "MatMul"

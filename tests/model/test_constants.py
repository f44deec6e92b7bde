"""Values that depend only on constants, computed node by node, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from tiny import noise, run, tiny

from onnxplain.model.constants import constant_value, quantization, reduced_axes
from onnxplain.model.load import load
from onnxplain.model.quantization import Quantization

W = noise(6, 4)
INTS = np.arange(24, dtype=np.int8).reshape(6, 4)
ROW_SCALES, ROW_ZEROS = np.linspace(0.5, 1, 6, dtype=np.float32), np.arange(6, dtype=np.int8)
BLOCKS = np.linspace(0.5, 1, 12, dtype=np.float32).reshape(3, 4)

# name: (nodes that make `w`; opset; constants)
CHAINS = {
    "as it is": ("w = Identity(a)", 13, {"a": W}),
    "transposed, cast and scaled": (
        "b = Transpose(a)  c = Cast<to=11>(b)  d = Cast<to=1>(c)  w = Mul(d, s)",
        13,
        {"a": W, "s": np.array(3, np.float32)},
    ),
    "int8, one scale": (
        "w = DequantizeLinear(a, s, z)",
        10,
        {"a": INTS, "s": np.array(0.5, np.float32), "z": np.array(3, np.int8)},
    ),
    "int8, no zero point": (
        "w = DequantizeLinear(a, s)",
        13,
        {"a": INTS, "s": np.array(0.5, np.float32)},
    ),
    "int8, a scale for each row": (
        "w = DequantizeLinear<axis=0>(a, s, z)",
        13,
        {"a": INTS, "s": ROW_SCALES, "z": ROW_ZEROS},
    ),
    "int8, a scale for each column": (
        "w = DequantizeLinear<axis=-1>(a, s, z)",
        21,
        {"a": INTS, "s": ROW_SCALES[:4], "z": ROW_ZEROS[:4]},
    ),
    "int4 in blocks": (
        "w = DequantizeLinear<axis=0, block_size=2>(a, s)",
        21,
        {"a": (INTS % 8).astype(ml_dtypes.int4), "s": BLOCKS},
    ),
    "as ONNX Runtime's quantizer writes 16 bits": (
        "w = com.microsoft.DequantizeLinear<axis=0>(a, s, z)",
        17,
        {"a": INTS.astype(np.int16), "s": ROW_SCALES, "z": ROW_ZEROS.astype(np.int16)},
    ),
    "float8": (
        "w = DequantizeLinear(a, s)",
        19,
        {"a": W.astype(ml_dtypes.float8_e4m3fn), "s": np.array(2, np.float32)},
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_values_are_those_of_onnx_runtime(name: str) -> None:
    nodes, opset, constants = CHAINS[name]
    proto = tiny(nodes + " y = Add(x, w)", "float[A,B] x", "float y", opset=opset, ir=10,
                 domains=["com.microsoft"], **constants)  # fmt: skip
    found = constant_value(load(proto), "w")
    assert found is not None
    zeros = np.zeros(found.shape, np.float32)
    np.testing.assert_allclose(found, run(proto, {"x": zeros})[0], rtol=1e-6)


def test_what_depends_on_an_input_or_on_an_unknown_operator_is_no_constant() -> None:
    model = load(
        tiny(
            "s = Shape(x)  f = Cast<to=1>(s)  u = mine.Weights(a)  y = Add(x, x)",
            "float[4] x",
            domains=["mine"],
            a=W,
        )
    )
    for name in ("x", "s", "f", "u", "y", "nothing"):
        assert constant_value(model, name) is None
    np.testing.assert_array_equal(constant_value(model, "a"), W)


def test_what_is_drawn_at_random_is_no_constant() -> None:
    model = load(tiny("r = RandomNormalLike(a)  n = Neg(r)  y = Add(x, n)", "float[4] x", a=W))
    assert constant_value(model, "n") is None


def test_external_weights_are_read_where_they_lie(tmp_path: Path) -> None:
    proto = tiny("b = Transpose(a)  y = MatMul(x, b)", "float[N,4] x", a=W)
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    found = constant_value(load(tmp_path / "m.onnx"), "b")
    np.testing.assert_array_equal(found, W.T)


def test_what_integers_stand_for() -> None:
    half, three = np.array(0.5, np.float32), np.array(3, np.uint8)
    constants = {"s": half, "z": three, "t": 2 * half, "v": three + np.uint8(1)}
    model = load(
        tiny(
            "a = QuantizeLinear(x, s, z)  b = QuantizeLinear(x, t)"
            "c = com.microsoft.QLinearAdd(a, s, z, b, t, , t, v)  d = Relu(c)"
            "y = DequantizeLinear(c, t, v)  e = Shape(x)",
            domains=["com.microsoft"],
            **constants,
        )
    )
    assert quantization(model, "a") == Quantization(0.5, 3)
    assert quantization(model, "b") == Quantization(1, 0)
    assert quantization(model, "c") == Quantization(1, 4)
    for name in ("x", "d", "y", "e"):
        assert quantization(model, name) is None
    np.testing.assert_array_equal(
        Quantization(0.5, 3).real(np.array([3, 5, 255], np.uint8)), [0, 1, 126]
    )


AXES = {
    "an attribute": ("y = ReduceMean<axes=[2,3]>(x)", 13, {2, 3}),
    "counted from the end": ("y = ReduceMax<axes=[-1]>(x)", 13, {3}),
    "all, for want of any": ("y = ReduceMean(x)", 18, {0, 1, 2, 3}),
    "an input": ("y = ReduceMean(x, a)", 18, {1, 3}),
    "computed from constants": ("b = Neg(a)  y = ReduceMean(x, b)", 18, {1, 3}),
    "computed from the input": ("s = Shape(x)  b = Cast<to=7>(s)  y = ReduceMean(x, b)", 18, None),
}


@pytest.mark.parametrize("name", AXES)
def test_axes_of_a_reduction(name: str) -> None:
    nodes, opset, expected = AXES[name]
    constants = {"a": np.array([1, 3])} if "a)" in nodes else {}
    model = load(tiny(nodes, outputs="float y", opset=opset, **constants))
    assert reduced_axes(model, model.index.nodes[-1], 4) == expected

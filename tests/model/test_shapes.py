"""Shapes and values found without running a model, against those of ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from onnxplain.analysis.batch_axis import concrete_shapes
from onnxplain.model.shapes import ShapeEnv
from onnxplain.tensors import Array

# Operators without a shape function in ONNX, or without one at some opset.
WITHOUT_SHAPE_FUNCTION = {
    "GroupNormalization": "GroupNormalization<num_groups=2>(x, four, four)",
    "MeanVarianceNormalization": "MeanVarianceNormalization(x)",
    "GreaterOrEqual": "GreaterOrEqual(x, scalar)",
    "LessOrEqual": "LessOrEqual(x, scalar)",
    "Attention": "com.microsoft.Attention<num_heads=2>(tokens, qkv, twelve)",
    "BiasGelu": "com.microsoft.BiasGelu(x, six)",
    "FastGelu": "com.microsoft.FastGelu(x)",
    "Gelu": "com.microsoft.Gelu(x)",
    "MultiHeadAttention": "com.microsoft.MultiHeadAttention<num_heads=2>(tokens, tokens, tokens)",
    "QuickGelu": "com.microsoft.QuickGelu(x)",
    "SkipLayerNormalization": "com.microsoft.SkipLayerNormalization(tokens, tokens, four)",
    "SkipSimplifiedLayerNormalization": (
        "com.microsoft.SkipSimplifiedLayerNormalization(tokens, tokens, four)"
    ),
    "FusedConv": 'com.microsoft.FusedConv<activation="Relu", strides=[2,2], pads=[0,0,1,1]>(x, k)',
    "FusedGemm": 'com.microsoft.FusedGemm<activation="Relu", transB=1>(rows, weights)',
    "QGemm": "com.microsoft.QGemm<transB=1>(q_rows, scalar, z, q_weights, scalar, z, , scalar, z)",
    "QLinearAdd": "com.microsoft.QLinearAdd(q, scalar, z, q_one, scalar, z, scalar, z)",
    "QLinearMul": "com.microsoft.QLinearMul(q_one, scalar, z, q, scalar, z, scalar, z)",
    "QLinearConcat": "com.microsoft.QLinearConcat<axis=2>(scalar, z, q, scalar, z, q, scalar, z)",
    "QLinearAveragePool": (
        "com.microsoft.QLinearAveragePool<kernel_shape=[2,3], strides=[2,1]>"
        "(q, scalar, z, scalar, z)"
    ),
    "QLinearGlobalAveragePool": ("com.microsoft.QLinearGlobalAveragePool(q, scalar, z, scalar, z)"),
    "QLinearLeakyRelu": "com.microsoft.QLinearLeakyRelu(q, scalar, z, scalar, z)",
    "QLinearSigmoid": "com.microsoft.QLinearSigmoid(q, scalar, z, scalar, z)",
    "QLinearSoftmax": "com.microsoft.QLinearSoftmax<axis=1, opset=21>(q, scalar, z, scalar, z)",
}

DATA: dict[str, Array] = {
    "x": np.zeros((5, 4, 6, 6), np.float32),
    "q": np.zeros((5, 4, 6, 6), np.uint8),
    "tokens": np.zeros((5, 7, 4), np.float32),
    "rows": np.zeros((5, 4), np.float32),
    "q_rows": np.zeros((5, 4), np.uint8),
}
CONSTANTS: dict[str, Array] = {
    "q_one": np.zeros((1, 4, 1, 1), np.uint8),
    "k": np.zeros((3, 4, 3, 3), np.float32),
    "weights": np.zeros((3, 4), np.float32),
    "q_weights": np.zeros((3, 4), np.uint8),
    "qkv": np.zeros((4, 12), np.float32),
    "four": np.zeros(4, np.float32),
    "six": np.zeros(6, np.float32),
    "twelve": np.zeros(12, np.float32),
    "scalar": np.ones((), np.float32),
    "z": np.zeros((), np.uint8),
}


@pytest.mark.parametrize("node", WITHOUT_SHAPE_FUNCTION.values(), ids=WITHOUT_SHAPE_FUNCTION)
def test_shape_is_the_one_that_onnx_runtime_computes(node: str) -> None:
    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]> g () => (y) {{ y = {node} }}'
    )
    read = sorted(set(model.graph.node[0].input) & {*DATA, *CONSTANTS})
    for name in read:
        if name in DATA:
            dtype = helper.np_dtype_to_tensor_dtype(DATA[name].dtype)
            value = helper.make_tensor_value_info(name, dtype, DATA[name].shape)
            model.graph.input.append(value)
        else:
            model.graph.initializer.append(numpy_helper.from_array(CONSTANTS[name], name))
    env = ShapeEnv.of_inputs(model, {})
    env.visit(model.graph.node[0])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {name: DATA[name] for name in read if name in DATA})
    assert env.shape("y") == result.shape


SHAPE_ARITHMETIC = {
    7: """{ s = Shape(x)
            i = Constant<value = int64 {0}>()
            n = Gather(s, i)
            u = Unsqueeze<axes=[0]>(n)
            rest = Slice<starts=[1], ends=[4]>(s)
            f = Cast<to=1>(rest)
            h = Floor(f)
            c = Cast<to=7>(h)
            p = ReduceProd<keepdims=1>(c)
            v = Concat<axis=0>(u, p) }""",
    12: """{ s = Shape(x)
             one = Constant<value = int64[1] {1}>()
             three = Constant<value = int64[1] {3}>()
             m = Slice(s, one, three)
             d = Div(m, three)
             o = ConstantOfShape<value = int64[1] {2}>(one)
             v = Concat<axis=0>(d, o) }""",
    21: """{ n = Shape<end=1>(x)
             hw = Shape<start=-2>(x)
             e = Size(x)
             zero = Constant<value_int=0>()
             r = Unsqueeze(e, zero)
             q = Equal(hw, hw)
             w = Where(q, hw, n)
             v = Concat<axis=0>(n, w, r) }""",
}


@pytest.mark.parametrize("opset", SHAPE_ARITHMETIC)
def test_value_computed_from_shapes_is_the_one_that_onnx_runtime_computes(opset: int) -> None:
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> '
        f"g (float[n,3,h,w] x) => (int64[k] v) {SHAPE_ARITHMETIC[opset]}"
    )
    env = ShapeEnv.of_inputs(model, {"x": (5, 3, 8, 8)})
    for node in model.graph.node:
        env.visit(node)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.zeros((5, 3, 8, 8), np.float32)})
    value = env.value("v")
    assert value is not None
    assert value.tolist() == result.tolist()


def test_what_does_not_fit_together_is_not_known() -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[n,3] x, float[5,3] z) => (float[5,3] y) { y = Add(x, z) t = Shape(y) }""")
    envs = [ShapeEnv.of_inputs(model, {"x": (samples, 3)}) for samples in (5, 6)]
    for env in envs:
        for node in model.graph.node:
            env.visit(node)
    fits, does_not = envs
    assert (fits.shape("y"), does_not.shape("y")) == ((5, 3), None)
    assert does_not.value("t") is None


def test_weights_are_not_taken_for_shapes() -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g () => (y) { y = Neg(w) z = Neg(outside) }""")
    outside = numpy_helper.from_array(np.zeros(2, np.float32), "outside")
    outside.data_location = TensorProto.EXTERNAL
    outside.ClearField("raw_data")
    weights = numpy_helper.from_array(np.zeros((200, 200), np.float32), "w")
    model.graph.initializer.extend([weights, outside])
    env = ShapeEnv.of_inputs(model, {})
    for node in model.graph.node:
        env.visit(node)
    assert (env.shape("y"), env.value("y")) == ((200, 200), None)
    assert (env.shape("z"), env.value("z")) == ((2,), None)


def test_open_dimensions_become_numbers_however_they_are_written() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "h", None, -1, 0, 3])
    model = helper.make_model(helper.make_graph([], "g", [value], []))
    assert concrete_shapes(model, ["x"], samples=5, picture=8)["x"] == (5, 8, 8, 8, 8, 3)
    assert concrete_shapes(model, [], samples=5, picture=8)["x"] == (1, 8, 8, 8, 8, 3)

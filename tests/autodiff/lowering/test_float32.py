"""float16, bfloat16 and float64 models in float32."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser, shape_inference

from onnxplain.autodiff.lowering.float32 import to_float32
from onnxplain.model.external import weights
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.model.shapes import infer_specs
from tools.gradcheck import normal
from tools.gradcheck.agreement import agreeing, nodes, operators
from tools.gradcheck.reference import onnxruntime_function

MODELS = {
    "arithmetic": """<ir_version: 8, opset_import: ["": 17]>
        g (TYPE[n,3] x) => (TYPE[n,3] y) <float[3] w = {1, 2.5, -3}>
        { a = Mul(x, w) y = Tanh(a) }""",
    "an output that is read inside": """<ir_version: 8, opset_import: ["": 17]>
        g (TYPE[n,3] x) => (TYPE[n,3] y, TYPE[n,3] z) { y = Neg(x) z = Mul(y, x) }""",
    "types in attributes": """<ir_version: 8, opset_import: ["": 17]>
        g (TYPE[2,3] x, float[2,3] f) => (TYPE[2,3] y)
        { s = Shape(x) c = ConstantOfShape<value = float[1] {2.5}>(s)
          h = Cast<to = NUMBER>(f) l = CastLike(f, h) t = Sum(x, c, h, l) y = Relu(t) }""",
    "kept in float32 outside": """<ir_version: 8, opset_import: ["": 17]>
        g (float[n,3] x) => (float[n,3] y)
        { a = Cast<to = NUMBER>(x) b = Exp(a) y = Cast<to = 1>(b) }""",
    "inside a branch": """<ir_version: 8, opset_import: ["": 17]>
        g (TYPE[2,3] x, bool c) => (TYPE[2,3] y)
        { y = If(c) <then_branch = a () => (TYPE[2,3] p)
                       { k = Constant<value = float {0.5}>() p = Mul(x, k) },
                     else_branch = b () => (TYPE[2,3] q) <float[1] w = {3}> { q = Mul(x, w) }> }""",
    "shape arithmetic in floats": """<ir_version: 8, opset_import: ["": 17]>
        g (TYPE[n] x) => (TYPE[m] y) <int64[1] first = {0}, float half = {0.5}>
        { s = Shape(x) f = Cast<to = NUMBER>(s) r = Mul(f, half) d = Floor(r) i = Cast<to = 7>(d)
          y = Slice(x, first, i) }""",
}

NUMBERS = {
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "double": TensorProto.DOUBLE,
}
TOLERANCE = {"float16": 5e-3, "double": 1e-6}


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("text", MODELS.values(), ids=MODELS)
def test_answers_and_types_stay(text: str, kind: str) -> None:
    source = shape_inference.infer_shapes(typed(text, kind))
    model = load(source)
    feeds = {
        spec.name: normal(*(d if isinstance(d, int) else 4 for d in spec.shape or ())).astype(
            spec.dtype
        )
        for spec in model.inputs
    }
    agreeing(source, to_float32, feeds, rtol=TOLERANCE[kind], atol=TOLERANCE[kind])
    assert inner_types(to_float32(model)) <= {"float32", "int64", "bool"}


def test_bfloat16() -> None:
    source = """<ir_version: 8, opset_import: ["": 17]>
        g (float[2] x) => (float[2] y) <float[2] w = {1.5, -2}>
        { a = Cast<to = NUMBER>(x) b = Mul(a, w) y = Cast<to = 1>(b) }"""
    changed = to_float32(load(typed(source, "bfloat16")))
    (y,) = onnxruntime_function(changed.proto)({"x": np.array([2, 3], np.float32)})
    np.testing.assert_array_equal(y, [3, -6])


def test_large_weights_are_cast_by_a_node() -> None:
    matrix = normal(70, 70).astype(np.float16)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 70])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["n", 70])],
        [numpy_helper.from_array(matrix, "w")],
    )
    source = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    x = normal(2, 70, seed=1).astype(np.float16)
    changed = agreeing(source, to_float32, {"x": x}, rtol=5e-3, atol=5e-2)
    (kept,) = changed.proto.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(kept), matrix)
    assert operators(changed) == ["Cast", "Cast", "MatMul", "Cast"]


def test_a_float32_model_stays_as_it_is() -> None:
    source = """<ir_version: 8, opset_import: ["": 17]>
        g (float[n,3] x) => (float[n,3] y) <float[3] w = {1,2,3}> { y = Mul(x, w) }"""
    model = load(parser.parse_model(source))
    assert to_float32(model).proto == model.proto


def typed(text: str, kind: str) -> ModelProto:
    """The model with TYPE and NUMBER filled in, and its constants, written as floats, converted."""
    model = parser.parse_model(text.replace("TYPE", kind).replace("NUMBER", str(NUMBERS[kind])))
    for tensor in weights(model):
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(
                helper.make_tensor(tensor.name, NUMBERS[kind], values.shape, values.ravel())
            )
    return model


def inner_types(model: Model) -> set[str]:
    """Element types of all outputs of nodes, except for outputs of the model."""
    specs = infer_specs(without_declarations(model.proto))
    outputs = {spec.name for spec in model.outputs}
    made = {name for node in nodes(model) for name in node.output} - outputs
    return {specs[name].dtype.name for name in made if name in specs}


def without_declarations(proto: ModelProto) -> ModelProto:
    bare = ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]
    return bare

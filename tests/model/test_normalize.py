"""Every form of a weight and every order of nodes: the same outputs as those of the file."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from tiny import noise, run, tiny

from onnxplain.errors import ModelError
from onnxplain.model.load import load
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.session import Session
from onnxplain.transforms.extract import with_outputs

ROW = "float[1,4] x"
X = noise(1, 4)
W = np.array([1, 2, 3, 4], np.float32)


def sparse(name: str) -> object:
    values = numpy_helper.from_array(np.array([5, 7], np.float32), name)
    places = numpy_helper.from_array(np.array([1, 3], np.int64), "places")
    return helper.make_sparse_tensor(values, places, [4])


def sparse_constant() -> ModelProto:
    model = tiny("y = Add(x, c)", ROW)
    node = helper.make_node("Constant", [], ["c"], sparse_value=sparse("values"))
    model.graph.node.insert(0, node)
    return model


def sparse_initializer() -> ModelProto:
    model = tiny("y = Add(x, c)", ROW)
    model.graph.sparse_initializer.append(sparse("c"))
    return model


INNER = """<domain: "mine", opset_import: ["": 17]> inner (a) => (b) { b = Relu(a) }"""
OUTER = """<domain: "mine", opset_import: ["": 17, "mine": 1]>
outer <k> (a) => (b) { t = mine.inner(a)  c = Constant<value_float: float = @k>()  b = Mul(t, c) }
"""

OLD = """<domain: "mine", opset_import: ["": 11]> f (a) => (b) { b = Softmax<axis=1>(a) }"""

MODELS = {
    "Constant value": tiny("c = Constant<value = float[4] {1,2,3,4}>()  y = Add(x, c)", ROW),
    "Constant value_float": tiny("c = Constant<value_float = 1.5>()  y = Add(x, c)", ROW),
    "Constant value_floats": tiny(
        "c = Constant<value_floats = [1.0,2.0]>() d = Concat<axis=0>(c,c) y = Add(x, d)", ROW
    ),
    "Constant value_int": tiny(
        "c = Constant<value_int = 2>() d = Cast<to=1>(c) y = Add(x, d)", ROW
    ),
    "Constant value_ints": tiny("c = Constant<value_ints = [2,2]>()  y = Reshape(x, c)", ROW),
    "Constant sparse_value": sparse_constant(),
    "sparse initializer": sparse_initializer(),
    "Constant as an output": tiny(
        "c = Constant<value = float[4] {1,2,3,4}>()  y = Relu(x)", ROW, "float[1,4] y, float[4] c"
    ),
    "IR 3, initializers listed as inputs": tiny(
        "y = Add(x, w)", ROW + ", float[4] w", opset=9, ir=3, w=W
    ),
    "IR 3, a Constant": tiny(
        "c = Constant<value = float[4] {1,2,3,4}>()  y = Add(x, c)", ROW, opset=9, ir=3
    ),
    "functions in functions": tiny(
        "y = mine.outer<k = 2.0>(x)", ROW, domains=["mine"], functions=OUTER + INNER
    ),
    "a function of another opset": tiny(
        "y = mine.f(x)",
        ROW,
        domains=["mine"],
        functions=OLD,
    ),
    "nodes in no order": tiny("y = Add(b, a)  b = Exp(a)  a = Relu(x)", ROW),
    "an input as an output": tiny("y = Relu(x)", ROW, "float[1,4] y, float[1,4] x"),
}


@pytest.mark.parametrize("name", MODELS)
def test_answers_stay_as_they_are(name: str) -> None:
    expected = run(MODELS[name], {"x": X})
    model = load(MODELS[name])
    names = [spec.name for spec in model.outputs]
    got = Session(with_outputs(model, names), Backend()).run({"x": X}, names)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [spec.name for spec in model.inputs] == ["x"]


def test_nodes_are_sorted_and_otherwise_kept_in_their_order() -> None:
    unsorted = load(tiny("y = Add(b, a)  b = Exp(a)  a = Relu(x)", ROW))
    assert [node.op_type for node in unsorted.index.nodes] == ["Relu", "Exp", "Add"]
    ordered = load(tiny("a = Relu(x)  c = Neg(x)  b = Exp(a)  y = Sum(a, b, c)", ROW))
    assert [node.output[0] for node in ordered.index.nodes] == ["a", "c", "b", "y"]


def test_constants_become_initializers() -> None:
    model = load(MODELS["Constant value_ints"])
    assert [node.op_type for node in model.index.nodes] == ["Reshape"]
    assert model.index.constants["c"].data_type == TensorProto.INT64


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("opset", [15, 17])
def test_a_fused_sum_that_is_read_is_parted_from_its_normalization(bias: bool, opset: int) -> None:
    more = ", b" if bias else ""
    body = f"""
      s = Tanh(x)
      n, none, inverse, t = com.microsoft.SkipLayerNormalization<epsilon = 0.01> (x, s, c, c{more})
      y = Add(n, t)
    """
    proto = tiny(
        body, "float[1,2,4] x", "float y", opset=opset, domains=["com.microsoft"], c=W, b=W
    )
    x = noise(1, 2, 4)
    model = load(proto)
    assert [node.op_type for node in model.proto.graph.node].count("SkipLayerNormalization") == 0
    np.testing.assert_allclose(
        run(model.proto, {"x": x})[0], run(proto, {"x": x})[0], rtol=1e-5, atol=1e-6
    )
    total = run(with_outputs(model, ["t"]).proto, {"x": x})[0]
    np.testing.assert_allclose(total, x + np.tanh(x) + (W if bias else 0), rtol=1e-6)


@pytest.mark.parametrize("body", ["y = Identity(y)", "y = Add(x, b) b = Relu(y)"])
def test_a_cycle_is_refused(body: str) -> None:
    with pytest.raises(ModelError, match=r"The graph has a cycle, .* waits for its own output"):
        load(tiny(body, "float[1,2] x", "float[1,2] y"))


@pytest.mark.parametrize("inner", ["y = own.f(x)", "z = own.g(x) y = Relu(z)"])
def test_a_function_that_calls_itself_is_refused(inner: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 17, "own": 1]>
      main (float[1,2] x) => (float[1,2] y) {{ y = own.f(x) }}
      <domain: "own", opset_import: ["": 17, "own": 1]> f (x) => (y) {{ {inner} }}
      <domain: "own", opset_import: ["": 17, "own": 1]> g (x) => (y) {{ y = own.f(x) }}"""
    with pytest.raises(ModelError, match="of the model calls itself"):
        load(parser.parse_model(text))


def test_a_fused_sum_that_nobody_reads_stays() -> None:
    body = "y = com.microsoft.SkipLayerNormalization(x, x, c)"
    proto = tiny(body, "float[1,2,4] x", "float y", domains=["com.microsoft"], c=W)
    assert [node.op_type for node in load(proto).proto.graph.node] == ["SkipLayerNormalization"]


def test_the_epsilon_of_a_fused_normalization_is_its_own() -> None:
    """For numbers this small, epsilon of LayerNormalization would be most of the deviation."""
    body = """
      n, none, inverse, t = com.microsoft.SkipLayerNormalization(x, x, c)
      y = Add(n, t)
    """
    proto = tiny(body, "float[1,2,4] x", "float y", domains=["com.microsoft"], c=W)
    x = 1e-4 * noise(1, 2, 4)
    total = 2 * x.astype(np.float64)
    centered = total - total.mean(axis=-1, keepdims=True)
    expected = total + W * centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-12)
    for model in (proto, load(proto).proto):
        np.testing.assert_allclose(run(model, {"x": x})[0], expected, rtol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
def test_a_fused_sum_that_alone_is_read_needs_no_normalization(bias: bool) -> None:
    node = helper.make_node(
        "SkipLayerNormalization",
        ["x", "x", "c", "c", *["c"] * bias],
        ["", "", "", "s"],
        domain="com.microsoft",
    )
    proto = tiny("y = Relu(s)", "float[1,2,4] x", "float y", domains=["com.microsoft"], c=W)
    proto.graph.node.insert(0, node)
    model = load(proto).proto
    assert {node.op_type for node in model.graph.node} == {"Add", "Relu"}
    x = noise(1, 2, 4)
    expected = np.maximum(2 * x + W * bias, 0)
    np.testing.assert_allclose(run(model, {"x": x})[0], expected, rtol=1e-6)

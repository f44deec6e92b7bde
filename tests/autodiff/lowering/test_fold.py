"""What is folded, and what must not be."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from onnxplain.autodiff.lowering import fold
from onnxplain.autodiff.lowering.fold import fold_constants
from onnxplain.model.load import load
from onnxplain.model.shapes import infer_specs
from tools.gradcheck import normal
from tools.gradcheck.agreement import agreeing, operators
from tools.gradcheck.reference import onnxruntime_function

X = normal(2, 3, 4)

CASES = {
    "a static dimension beside a dynamic one": (
        """g (float[n,3,4] x) => (float[n,k] y)
        <int64 one = {1}, int64 two = {2}, int64[1] all = {-1}, int64[1] zero = {0}>
        { s = Shape(x) a = Gather(s, one) b = Gather(s, two) p = Mul(a, b)
          u = Unsqueeze(p, zero) t = Concat<axis=0>(all, u) y = Reshape(x, t) }""",
        ["Reshape"],
    ),
    "a slice of a shape": (
        """g (float[n,3,4] x) => (float[n,k] y) <int64[1] one = {1}, int64[1] end = {9},
            int64[1] all = {-1}>
        { s = Shape(x) a = Slice(s, one, end) p = ReduceProd(a) t = Concat<axis=0>(all, p)
          y = Reshape(x, t) }""",
        ["Reshape"],
    ),
    "a part of a shape": (
        """g (float[n,3,4] x) => (float[n,3,4] y)
        { s = Shape<start=1>(x) p = Size(s) f = Cast<to=1>(p) y = Mul(x, f) }""",
        ["Mul"],
    ),
    "a constant that a dynamic dimension cuts": (
        """g (float[n,3,4] x) => (float[n,3,4] y) <int64[1] zero = {0}, int64[1] one = {1},
            float[3] places = {1, 2, 4}>
        { s = Shape(x) a = Slice(s, zero, one) p = Slice(places, zero, a)
          f = ReduceSum<keepdims=0>(p) y = Mul(x, f) }""",
        ["Shape", "Slice", "Slice", "ReduceSum", "Mul"],
    ),
    "a dynamic dimension": (
        """g (float[n,3,4] x) => (float[n,3,4] y) <int64[1] zero = {0}>
        { s = Shape(x) a = Gather(s, zero) f = Cast<to=1>(a) y = Mul(x, f) }""",
        ["Shape", "Gather", "Cast", "Mul"],
    ),
    "shapes known by what is folded before": (
        """g (float[2,3,4] x) => (float[a,b] y)
        <int64 seven = {7}, int64 five = {5}, int64[1] zero = {0}, int64[1] all = {-1}>
        { m = Mod(seven, five) u = Unsqueeze(m, zero) t = Concat<axis=0>(u, all) r = Reshape(x, t)
          s = Shape(r) c = ReduceMax<keepdims=0>(s) f = Cast<to=1>(c) y = Mul(r, f) }""",
        ["Reshape", "Mul"],
    ),
    "a range that is empty": (
        """g (float[2,3,4] x) => (float[2,3,4] y) <float one = {1}, float limit = {0.5}>
        { r = Range(one, limit, one) s = ReduceSum<keepdims=0>(r) y = Add(x, s) }""",
        ["Add"],
    ),
    "random numbers": (
        """g (float[2,3,4] x) => (float[2,3,4] y)
        { r = RandomUniform<shape=[1], low=1.0, high=1.0000001>() y = Mul(x, r) }""",
        ["RandomUniform", "Mul"],
    ),
    "quantized weights": (
        """g (float[2,3,4] x) => (float[2,3,4] y) <int8[4] q = {1,2,3,4}, float s = {0.5}>
        { w = DequantizeLinear(q, s) y = Mul(x, w) }""",
        ["DequantizeLinear", "Mul"],
    ),
    "what grows large": (
        """g (float[2,3,4] x) => (float[2,3,4] y) <int64[2] shape = {100, 100}, float two = {2}>
        { e = Expand(two, shape) m = ReduceMax<keepdims=0>(e) y = Mul(x, m) }""",
        ["Expand", "ReduceMax", "Mul"],
    ),
    "a constant that is an output": (
        """g (float[2,3,4] x) => (float[2,3,4] y, int64[3] s) { s = Shape(x) y = Neg(x) }""",
        ["Neg"],
    ),
}


@pytest.mark.parametrize(("graph", "left"), CASES.values(), ids=CASES)
def test_what_is_left(graph: str, left: list[str]) -> None:
    changed = agreeing(f'<ir_version: 8, opset_import: ["": 18]> {graph}', fold_constants, {"x": X})
    assert operators(changed) == left


def test_a_range_up_to_a_vector_of_one_element() -> None:
    """ONNX Runtime refuses it if it knows the shape, as it does after branches are inlined."""
    source = """<ir_version: 8, opset_import: ["": 18]> g (float[2,3,4] x) => (float[2,3,4] y)
        <int64 zero = {0}, int64[1] limit = {8}, int64 two = {2}>
        { r = Range(zero, limit, two) f = Cast<to=1>(r) y = Mul(x, f) }"""
    changed = fold_constants(load(parser.parse_model(source)))
    (y,) = onnxruntime_function(changed.proto)({"x": X})
    np.testing.assert_array_equal(y, X * np.float32([0, 2, 4, 6]))


def test_large_weights_are_neither_read_nor_copied() -> None:
    weight = numpy_helper.from_array(normal(4, 2000), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["w"], ["s"]),
            helper.make_node("Transpose", ["w"], ["t"]),
            helper.make_node("Reshape", ["t", "s"], ["r"]),
            helper.make_node("MatMul", ["x", "r"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 2000])],
        [weight],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    changed = agreeing(model, fold_constants, {"x": X})
    assert operators(changed) == ["Transpose", "Reshape", "MatMul"]
    assert [t.name for t in changed.proto.graph.initializer] == ["w", "s"]


def chain(blocks: int) -> ModelProto:
    """Blocks that each reshape to a shape, computed with a remainder from the shape before."""
    lines = []
    for i in range(blocks):
        lines.append(
            f"s{i} = Shape(x{i}) c{i} = Gather(s{i}, one) m{i} = Mod(c{i}, seven) "
            f"d{i} = Sub(c{i}, m{i}) e{i} = Add(d{i}, m{i}) u{i} = Unsqueeze(e{i}, zero) "
            f"t{i} = Concat<axis=0>(all, u{i}) x{i + 1} = Reshape(x{i}, t{i})"
        )
    return parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18]> g (float[n,12] x0) => (float[a,b] x{blocks})
        <int64 one = {{1}}, int64 seven = {{7}}, int64[1] zero = {{0}}, int64[1] all = {{-1}}>
        {{ {" ".join(lines)} }}"""
    )


def test_a_long_chain_of_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two visits are enough; the second one finds that nothing is left."""
    visits = []
    visit = fold.folded_once
    monkeypatch.setattr(fold, "folded_once", lambda model: visits.append(1) or visit(model))
    changed = agreeing(chain(20), fold_constants, {"x0": normal(2, 12)})
    assert operators(changed) == ["Reshape"] * 20
    specs = infer_specs(changed.proto)
    assert all(specs[f"x{i}"].shape[1] == 12 for i in range(20))
    assert len(visits) == 2

"""If, Loop and Scan against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, parser

from onnxplain.autodiff.differentiate import differentiate
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, gradients, normal


def parsed(graph: str) -> ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> {graph}')


IF = """g (float[n,3] x, float[3] w, bool c) => (float[n,3] y, float[n,3] z)
    { h = Mul(x, w)
      y, z = If(c) <
        then_branch = a () => (float[n,3] p, float[n,3] r)
            { e = Exp(h) p = Mul(e, x) m = Mul(x, e) r = Tanh(m) },
        else_branch = b () => (float[n,3] q, float[n,3] o) <float two = {2}>
            { q = Mul(h, two) o = Identity(x) }> }"""

NESTED = """g (float[2,3] x, bool c, bool d) => (float[2,3] y)
    { y = If(c) <
        then_branch = a () => (float[2,3] p)
            { t = Tanh(x)
              p = If(d) <then_branch = aa () => (float[2,3] pa) { pa = Mul(t, x) },
                         else_branch = ab () => (float[2,3] pb) { pb = Exp(t) }> },
        else_branch = b () => (float[2,3] q) { q = Mul(x, x) }> }"""


@pytest.mark.parametrize("condition", [False, True])
def test_if(condition: bool) -> None:
    """Two results, tensors that one branch does not read, and one that a branch just returns."""
    check_gradient(parsed(IF), {"x": normal(2, 3), "w": normal(3, seed=1), "c": scalar(condition)})


@pytest.mark.parametrize("inner", [False, True])
def test_if_inside_if(inner: bool) -> None:
    feeds = {"x": normal(2, 3), "c": scalar(True), "d": scalar(inner)}
    check_gradient(parsed(NESTED), feeds)


def scalar(value: bool | int) -> Array:
    return np.array(value)


SCANS = {
    "states, elements, results and what is outside": """g (float[3] s, float[T,3] x, float[3] w)
        => (float[3] e, float[T,3] y)
        { e, y = Scan<num_scan_inputs=1,
                      body = b (float[3] a, float[3] v) => (float[3] a2, float[3] r)
            { m = Mul(a, w) k = Add(m, v) a2 = Tanh(k) r = Mul(a2, v) }>(s, x) }""",
    "backwards, along another axis": """g (float[3] s, float[3,T] x) => (float[3] e, float[3,T] y)
        { e, y = Scan<num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1],
                      scan_output_axes=[-1], scan_output_directions=[1],
                      body = b (float[3] a, float[3] v) => (float[3] a2, float[3] r)
            { k = Mul(a, v) a2 = Add(k, v) r = Exp(a) }>(s, x) }""",
    "results in the other direction": """g (float[3] s, float[T,3] x, float[T,3] z)
        => (float[T,3] y)
        { e, y = Scan<num_scan_inputs=2, scan_input_directions=[0,1], scan_output_directions=[1],
                      body = b (float[3] a, float[3] v, float[3] u) => (float[3] a2, float[3] r)
            { k = Mul(a, v) a2 = Tanh(k) r = Mul(a, u) }>(s, x, z) }""",
    "no states": """g (float[T,3] x, float[3] w) => (float[T,3] y)
        { y = Scan<num_scan_inputs=1,
                   body = b (float[3] v) => (float[3] r) { r = Mul(v, w) }>(x) }""",
    "a counter": """g (float[3] s, float[T,3] x) => (float[3] e) <int64 zero = {0}, int64 one = {1}>
        { n, e = Scan<num_scan_inputs=1,
                      body = b (int64 i, float[3] a, float[3] v) => (int64 i2, float[3] a2)
            { i2 = Add(i, one) f = Cast<to=1>(i2) k = Mul(v, f) p = Mul(a, k) a2 = Add(p, v) }>
          (zero, s, x) }""",
    "axes from outside": """g (float[3] s, float[T,3] x, float[3] w) => (float[3] e)
        <int64[1] first = {0}, int64[1] last = {-1}>
        { e = Scan<num_scan_inputs=1, body = b (float[3] a, float[3] v) => (float[3] a2)
            { column = Unsqueeze(v, last) row = Unsqueeze(w, first) k = MatMul(column, row)
              m = ReduceSum<keepdims=0>(k, last) p = Mul(a, m) a2 = Add(p, v) }>(s, x) }""",
}


@pytest.mark.parametrize("graph", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize("steps", [1, 4])
def test_scan(graph: str, steps: int) -> None:
    long = (3, steps) if "[3,T] x" in graph else (steps, 3)
    feeds = {"s": normal(3), "x": normal(*long, seed=1), "w": normal(3, seed=2)}
    feeds["z"] = normal(steps, 3, seed=3)
    model = parsed(graph)
    check_gradient(model, {value.name: feeds[value.name] for value in model.graph.input})


LOOPS = {
    "a number of times": """g (float[3] x, float[3] w, int64 n) => (float[3] y)
        <bool yes = {1}>
        { y = Loop(n, yes, x) <body = b (int64 i, bool c, float[3] a) => (bool c2, float[3] a2)
            { c2 = Identity(c) m = Mul(a, w) a2 = Tanh(m) }> }""",
    "results, and the number of the iteration": """g (float[3] x, int64 n)
        => (float[3] y, float[T,3] z) <bool yes = {1}>
        { y, z = Loop(n, yes, x) <body = b (int64 i, bool c, float[3] a)
            => (bool c2, float[3] a2, float[3] r)
            { c2 = Identity(c) f = Cast<to=1>(i) m = Mul(a, f) a2 = Add(m, x)
              r = Mul(a2, a) }> }""",
    "until a condition": """g (float[3] x, float[3] w, int64 n) => (float[3] y)
        <bool yes = {1}, float limit = {3}>
        { y = Loop(, yes, x) <body = b (int64 i, bool c, float[3] a) => (bool c2, float[3] a2)
            { o = Abs(w) p = Mul(a, o) a2 = Add(p, a) m = ReduceSumSquare<keepdims=0>(a2)
              c2 = Less(m, limit) }> k = Identity(n) }""",
    "no states": """g (float[3] x, int64 n) => (float[T,3] z) <bool yes = {1}>
        { z = Loop(n, yes) <body = b (int64 i, bool c) => (bool c2, float[3] r)
            { c2 = Identity(c) f = Cast<to=1>(i) m = Mul(x, f) r = Exp(m) }> }""",
    "a branch inside": """g (float[3] x, int64 n) => (float[3] y) <bool yes = {1}, int64 one = {1}>
        { y = Loop(n, yes, x) <body = b (int64 i, bool c, float[3] a) => (bool c2, float[3] a2)
            { c2 = Identity(c) first = Less(i, one)
              a2 = If(first) <then_branch = t () => (float[3] p) { p = Mul(a, x) },
                              else_branch = e () => (float[3] q) { q = Tanh(a) }> }> }""",
}


@pytest.mark.parametrize("graph", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("times", [1, 3])
def test_loop(graph: str, times: int) -> None:
    feeds = {"x": normal(3) / 2, "w": normal(3, seed=1), "n": scalar(times)}
    model = parsed(graph)
    check_gradient(model, {value.name: feeds[value.name] for value in model.graph.input})


def test_gradients_nobody_asks_for_are_not_summed() -> None:
    """The body captures three tensors; only one is wanted."""
    model = load(parsed(SCANS["states, elements, results and what is outside"]))
    differentiated = differentiate(model, "y", ["x"])
    scans = [node for node in differentiated.index.nodes if node.op_type == "Scan"]
    assert len(scans[-1].output) == 2  # the state's and the element's


def test_what_is_not_a_tensor_is_an_error() -> None:
    model = parsed("""g (float[3] x, int64 n) => (float[3] y) <bool yes = {1}, int64 last = {-1}>
        { s = SequenceConstruct(x)
          r = Loop(n, yes, s) <
            body = b (int64 i, bool c, seq(float[3]) a) => (bool c2, seq(float[3]) a2)
            { c2 = Identity(c) p = SequenceAt(a, last) q = Tanh(p) a2 = SequenceInsert(a, q) }>
          y = SequenceAt(r, last) }""")
    with pytest.raises(GradientError):
        gradients(model, {"x": normal(3), "n": scalar(2)}, {"y": normal(3)}, ["x"])


CUTS = {
    "If": """g (float[3] x, bool c) => (float[3] y)
        { a = Tanh(x) y = If(c) <then_branch = b () => (float[3] p) { p = Round(a) },
                                 else_branch = d () => (float[3] q) { q = Floor(a) }> }""",
    "Scan": """g (float[3] s, float[T,3] x) => (float[3] y)
        { a = Tanh(x) y = Scan<num_scan_inputs=1, body = b (float[3] t, float[3] v) => (float[3] t2)
            { r = Sign(v) t2 = Add(t, r) }>(s, a) }""",
    "Loop": """g (int64 n, float[3] x) => (float[3] y)
        { a = Tanh(x) y = Loop(n, , a) <body = b (int64 i, bool k, float[3] t)
            => (bool k2, float[3] t2) { k2 = Identity(k) t2 = Ceil(t) }> }""",
}


@pytest.mark.parametrize("op", CUTS)
def test_what_is_cut_off_inside_is_not_given_a_gradient_of_zeros(op: str) -> None:
    with pytest.raises(GradientError, match=f"cut off from 'x' by {op} .* explain 'a'"):
        differentiate(load(parsed(CUTS[op])), "y", ["x"])

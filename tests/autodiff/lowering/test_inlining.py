"""Control flow that is inlined, and that must not be."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.lowering.inlining import inline_control_flow
from tools.gradcheck import gradients, normal
from tools.gradcheck.agreement import agreeing, operators

CASES = {
    "a constant condition": (
        """g (float[3] x) => (float[3] y, float[3] z) <bool c = {0}>
        { y, z = If(c) <then_branch = a () => (float[3] p, float[3] p2) { p = Neg(x) p2 = Exp(x) },
                        else_branch = b () => (float[3] q, float[3] w) <float[3] w = {1, 2, 3}>
                            { q = Mul(x, w) }> }""",
        {"Mul", "Identity"},
    ),
    "two branches with the same names": (
        """g (float[3] x) => (float[3] y) <bool c = {1}>
        { h = If(c) <then_branch = a () => (float[3] p) { t = Neg(x) p = Exp(t) },
                     else_branch = b () => (float[3] p) { t = Abs(x) p = Exp(t) }>
          y = If(c) <then_branch = a () => (float[3] p) { t = Tanh(h) p = Mul(t, h) },
                     else_branch = b () => (float[3] p) { t = Abs(h) p = Exp(t) }> }""",
        {"Neg", "Exp", "Tanh", "Mul", "Identity"},
    ),
    "a condition on a shape, inside another": (
        """g (float[3] x) => (float[3] y) <bool c = {1}, int64[1] three = {3}>
        { y = If(c) <then_branch = a () => (float[3] p)
            { s = Shape(x) e = Equal(s, three)
              p = If(e) <then_branch = aa () => (float[3] u) { u = Exp(x) },
                         else_branch = ab () => (float[3] v) { v = Neg(x) }> },
                     else_branch = b () => (float[3] q) { q = Abs(x) }> }""",
        {"Exp", "Identity"},
    ),
    "a condition that depends on the input": (
        """g (float[3] x) => (float[3] y) <float zero = {0}>
        { m = ReduceMax<keepdims=0>(x) c = Greater(m, zero)
          y = If(c) <then_branch = a () => (float[3] p) { p = Exp(x) },
                     else_branch = b () => (float[3] q) { q = Abs(x) }> }""",
        {"ReduceMax", "Greater", "If", "Exp", "Abs"},
    ),
    "a loop": (
        """g (float[3] x, float[3] w) => (float[3] y, float[t,3] z) <int64 n = {3}, bool c = {1}>
        { y, z = Loop(n, c, x) <body = b (int64 i, bool go, float[3] a)
            => (bool go2, float[3] a2, float[3] r) <float[3] k = {1, 2, 3}>
            { go2 = Identity(go) f = Cast<to=1>(i) m = Mul(a, f) p = Add(m, k) a2 = Mul(p, w)
              r = Tanh(a2) }> }""",
        {"Mul", "Add", "Tanh", "Unsqueeze", "Concat", "Identity"},
    ),
    "a loop that a constant of its own keeps going on": (
        """g (float[3] x) => (float[3] y) <int64 n = {2}>
        { y = Loop(n, , x) <body = b (int64 i, bool go, float[3] a) => (bool go2, float[3] a2)
            { t = Constant<value = bool {1}>() go2 = Identity(t) a2 = Tanh(a) }> }""",
        {"Tanh", "Identity"},
    ),
    "a loop that does not take place": (
        """g (float[3] x) => (float[3] y) <int64 n = {0}, bool c = {1}>
        { h = Tanh(x)
          y = Loop(n, c, h) <body = b (int64 i, bool go, float[3] a) => (bool go2, float[3] a2)
            { go2 = Identity(go) a2 = Exp(a) }> }""",
        {"Tanh", "Identity"},
    ),
    "a loop that its body ends": (
        """g (float[3] x) => (float[3] y) <int64 n = {9}, bool c = {1}, float five = {5}>
        { y = Loop(n, c, x) <body = b (int64 i, bool go, float[3] a) => (bool go2, float[3] a2)
            { a2 = Add(a, a) m = ReduceMax<keepdims=0>(a2) go2 = Less(m, five) }> }""",
        {"Loop", "Add", "ReduceMax", "Less"},
    ),
    "a long loop": (
        """g (float[3] x) => (float[3] y) <int64 n = {1001}, bool c = {1}>
        { y = Loop(n, c, x) <body = b (int64 i, bool go, float[3] a) => (bool go2, float[3] a2)
            { go2 = Identity(go) a2 = Tanh(a) }> }""",
        {"Loop", "Identity", "Tanh"},
    ),
}


@pytest.mark.parametrize(("graph", "left"), CASES.values(), ids=CASES)
def test_what_is_left(graph: str, left: set[str]) -> None:
    source = f'<ir_version: 8, opset_import: ["": 18]> {graph}'
    changed = agreeing(source, inline_control_flow, {"x": normal(3), "w": normal(3, seed=1)})
    assert set(operators(changed)) == left


def test_a_list_made_in_a_loop() -> None:
    """As in scripted models; no rule could follow a sequence from iteration to iteration."""
    source = """<ir_version: 8, opset_import: ["": 18]>
        g (float[2] x) => (float[6] y) <int64 n = {3}, bool c = {1}>
        { s = SequenceEmpty<dtype=1>()
          r, e = Loop(n, c, s, x) <body = b (int64 i, bool go, seq(float[2]) a, float[2] h)
              => (bool go2, seq(float[2]) a2, float[2] h2)
            { go2 = Identity(go) h2 = Mul(h, x) a2 = SequenceInsert(a, h2) }>
          y = ConcatFromSequence<axis=0>(r) }"""
    x = np.array([2, -3], np.float32)
    changed = agreeing(source, lower, {"x": x})
    found = gradients(changed, {"x": x}, {"y": np.ones(6, np.float32)}, ["x"])
    np.testing.assert_allclose(found["x"], 2 * x + 3 * x**2 + 4 * x**3)  # of x² + x³ + x⁴

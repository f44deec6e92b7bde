"""Whether a model decides by the values of a whole batch which nodes run."""

import pytest
from tiny import tiny

from onnxplain.analysis.branches import decides_by_values

IF = """
c = If(t) <then_branch = a () => (u) { u = Relu(x) }, else_branch = b () => (v) { v = Neg(x) }>
"""
LOOP = """
c = Loop(n, t, x) <body = a (int64 i, bool g, float[N,3,8,8] s) => (bool h, float[N,3,8,8] r)
  { r = Relu(s) h = %s }>
"""
INNER = """
c = Loop(n, , x) <body = a (int64 i, bool g, float[N,3,8,8] s) => (bool h, float[N,3,8,8] r)
  { h = Identity(g) m = ReduceMax <keepdims = 0> (%s) k = Cast <to = 9> (m)
    r = If(k) <then_branch = d () => (u) { u = Relu(s) }, else_branch = e () => (v) { v = Neg(s) }>
  }>
"""
MEAN = "m = ReduceMean <keepdims = 0> (x) t = Greater(m, z)"
ROWS = "s = Shape(x) e = Gather(s, q) t = Greater(e, q)"
CONSTANT = "t = Greater(z, z)"

MODELS = {
    "an If on the mean": (MEAN + IF, True),
    "an If on the number of samples": (ROWS + IF, False),
    "an If on a constant": (CONSTANT + IF, False),
    "a Loop while the mean is high": (MEAN + LOOP % "Identity(g)", True),
    "a Loop with constant rounds": (CONSTANT + LOOP % "Identity(g)", False),
    "a Loop until its state is high": (
        CONSTANT + (LOOP % "Cast <to = 9> (o)").replace("{", "{ o = ReduceMax <keepdims = 0> (s)"),
        True,
    ),
    "an If on the state of a Loop": (INNER % "s", True),
    "an If on a constant in a Loop": (INNER % "z", False),
}


@pytest.mark.parametrize("name", MODELS)
def test_whether_a_model_decides_by_values(name: str) -> None:
    nodes, expected = MODELS[name]
    proto = tiny(nodes + " p = GlobalAveragePool(c) y = Flatten(p)", z=[0.0], q=0, n=2)
    assert decides_by_values(proto.graph.node, "x") is expected

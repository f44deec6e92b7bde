"""Several seeds on one forward pass: each gradient is what that seed alone gives."""

import numpy as np
import pytest
from tiny import noise, run, tiny

from onnxplain.autodiff.differentiate import (
    GRADIENT,
    SEED,
    differentiate,
    gradient_name,
    seed_name,
)
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.propagation.guided import GUIDED
from onnxplain.autodiff.rules import STANDARD
from onnxplain.model.load import load

CONVOLUTIONS = """
    a = Conv<pads=[1,1,1,1]>(x, K)  b = Relu(a)  c = MaxPool<kernel_shape=[2,2], strides=[2,2]>(b)
    d = Softmax<axis=1>(c)  y = ReduceMean<axes=[2,3], keepdims=0>(d)
"""
# Bodies are separate graphs: their names must differ from those of the other seeds.
LOOPS = """
    v = ReduceMean<axes=[2,3], keepdims=0>(x)  n = Constant<value_int=3>()
    u = Loop(n, , v) <body = b (int64 i, bool c, float[N,3] s) => (bool c2, float[N,3] s2)
        { c2 = Identity(c)  t = Tanh(s)  s2 = Add(t, s) }>
    seen = Transpose<perm=[2,3,0,1]>(x)  flat = Reshape(seen, T)
    w, made = Scan<num_scan_inputs=1, body = d (float[N,3] p, float[N,3] e)
        => (float[N,3] q, float[N,3] r) { q = Mul(p, e)  r = Identity(q) }>(u, flat)
    m = ReduceMean<axes=[0], keepdims=0>(made)  y = Add(m, w)
"""
GRAPHS = {"convolutions": CONVOLUTIONS, "loops": LOOPS}
WEIGHTS = {"K": noise(3, 3, 3, 3), "T": np.array([64, -1, 3])}


@pytest.mark.parametrize(
    ("graph", "rules"),
    [("convolutions", STANDARD), ("convolutions", GUIDED), ("loops", STANDARD)],
)
def test_each_seed_gets_the_gradient_that_it_gets_alone(graph, rules):
    used = {name: value for name, value in WEIGHTS.items() if f"{name})" in GRAPHS[graph]}
    model = lower(load(tiny(GRAPHS[graph], outputs="float[N,3] y", **used)))
    x, seeds = noise(2, 3, 8, 8), noise(3, 2, 3, seed=1)
    together = differentiate(model, "y", ["x"], ["y"], rules, seeds=len(seeds)).proto
    feeds = {seed_name(i): seed for i, seed in enumerate(seeds)}
    found = run(together, {"x": x, **feeds})
    assert [o.name for o in together.graph.output][1:] == [gradient_name("x", i) for i in range(3)]
    alone = differentiate(model, "y", ["x"], ["y"], rules).proto
    for seed, gradient in zip(seeds, found[1:], strict=True):
        answer, expected = run(alone, {"x": x, SEED: seed})
        np.testing.assert_array_equal(answer, found[0])
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_the_first_seed_has_the_plain_names():
    assert (seed_name(0), gradient_name("x", 0)) == (SEED, GRADIENT + "x")


def test_several_seeds_share_the_forward_pass():
    model = load(tiny(CONVOLUTIONS, outputs="float[N,3] y", K=WEIGHTS["K"]))
    forward = len(model.proto.graph.node)
    one, three = (len(differentiate(model, "y", ["x"], seeds=n).proto.graph.node) for n in (1, 3))
    assert three - forward <= 3 * (one - forward)

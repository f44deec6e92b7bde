"""Numbers that a graph computes from sizes alone are constants for every backward rule."""

import numpy as np
import pytest
from tiny import noise, tiny

from onnxplain import Explainer

AFTER = "b = Mul(x, f) c = Relu(b) y = MatMul(c, w)"
FROM_SIZES = """
    s = Shape<start=1>(x) n = Squeeze(s) r = Range(zero, n, one) m = Mod(r, three)
    p = Add(m, one) f = Cast<to=1>(p)
"""
WEIGHTS = {"w": noise(6, 3)}
SIZES = {"zero": np.array(0), "one": np.array(1), "three": np.array(3)}
POSITIONS = np.array([1, 2, 3, 1, 2, 3], np.float32)


METHODS = {
    "lrp": {},
    "deeplift": {"baseline": "zeros"},
    "gradient": {},
    "guided_backprop": {},
    "deconvnet": {},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_factor_from_a_size_is_as_a_constant_one(method):
    x = noise(2, 6, seed=3)
    inputs = "float[N,D] x"
    dynamic = tiny(FROM_SIZES + AFTER, inputs, **WEIGHTS, **SIZES)
    static = tiny("f = Identity(k) " + AFTER, inputs, **WEIGHTS, k=POSITIONS)
    found, expected = (
        Explainer(model, provider="cpu").attribute(x, method, 1, **METHODS[method]).values
        for model in (dynamic, static)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.abs(expected).max() > 0

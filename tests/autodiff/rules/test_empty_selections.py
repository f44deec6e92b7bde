"""Gradients where nothing is selected at run time, as of a detector's class without any box."""

import numpy as np
import pytest
from tiny import run, tiny

from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.model.load import load

ROWS_ABOVE = """
    m = ReduceMax<axes=[1], keepdims=0>(x) b = Greater(m, limit) z = NonZero(b)
    i = Transpose<perm=[1,0]>(z) r = GatherND(x, i)
"""
TOTAL = "s = ReduceSum<keepdims=0>(u) t = ReduceSum<keepdims=0>(x) y = Add(s, t)"
AFTER = {
    "Unsqueeze": "u = Unsqueeze(r, zero)",
    "Reshape": "u = Reshape(r, boxes)",
    "Flatten": "a = Unsqueeze(r, zero) u = Flatten<axis=2>(a)",
    "Squeeze": "a = Unsqueeze(r, zero) u = Squeeze(a, zero)",
    "broadcasting": "a = Unsqueeze(r, zero) u = Add(a, row)",
    "Slice": "a = Transpose<perm=[1,0]>(r) c = Slice(a, zero, two, one) u = Unsqueeze(c, zero)",
    "GatherND": "a = Transpose<perm=[1,0]>(r) c = GatherND(a, pairs) u = Unsqueeze(c, zero)",
    "GatherElements": """
        n = Shape(r) k = ConstantOfShape<value=int64[1]{0}>(n)
        c = GatherElements<axis=1>(r, k) u = Unsqueeze(c, zero)""",
    "TopK": """
        f = Gather<axis=1>(r, first) n = Shape(f) v, k = TopK(f, n)
        a = Gather<axis=0>(r, k) u = Unsqueeze(a, zero)""",
    "MatMul": "a = MatMul(r, weights) u = Unsqueeze(a, zero)",
}
CONSTANTS = {
    "limit": np.array(5, np.float32),
    "first": np.array(0),
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "boxes": np.array([1, -1, 3]),
    "pairs": np.array([[0], [2]]),
    "row": np.ones((1, 3), np.float32),
    "weights": np.ones((3, 2), np.float32),
}


@pytest.mark.parametrize("after", AFTER)
def test_an_empty_selection_has_no_part_in_the_gradient(after):
    body = ROWS_ABOVE + AFTER[after] + TOTAL
    model = load(tiny(body, "float[4,3] x", "float y", opset=13, **CONSTANTS))
    x = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)
    differentiated = differentiate(lower(model), "y", ["x"])
    (gradient,) = run(differentiated.proto, {"x": x, SEED: np.array(1, np.float32)})
    np.testing.assert_array_equal(gradient, np.ones_like(x))

"""Which softmaxes weight values, with the matrix transposed or not."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny

from onnxplain.analysis.attention_weights import find_attention_weights
from onnxplain.model.load import load
from onnxplain.model.shapes import infer_shapes

# Four or five queries and four keys: `a` is (1, rows, 4), and `b` is its transpose, (1, 4, rows).
SOFTMAX = "u = MatMul(x, k)  a = Softmax<axis=-1>(u)  b = Transpose<perm=[0,2,1]>(a)"
AGAIN = "r = Reshape(b, shape)"
PRODUCTS = {
    # The columns of b v are sums over queries, each with weights of another query.
    "from the left": (SOFTMAX + "y = MatMul(b, e)", []),
    "from the left, shaped anew": (SOFTMAX + AGAIN + "y = MatMul(r, e)", []),
    "from the right": (SOFTMAX + "v = Transpose<perm=[0,2,1]>(g) y = MatMul(v, b)", ["a"]),
    "from the right, shaped anew": (
        SOFTMAX + AGAIN + "v = Transpose<perm=[0,2,1]>(g) y = MatMul(v, r)",
        ["a"],
    ),
}


@pytest.mark.parametrize("rows", [4, 5])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_matrix_that_is_turned_weighs_from_the_right(name: str, rows: int) -> None:
    nodes, expected = PRODUCTS[name]
    # Values of each query, and of the four keys.
    body = "e = Exp(x)  g = Slice(e, zero, four, one)" + nodes
    constants = {
        "k": np.ones((3, 4), np.float32),
        "shape": np.array([1, 4, rows]),
        "zero": np.array([0]),
        "four": np.array([4]),
        "one": np.array([1]),
    }
    model = load(tiny(body, f"float[1,{rows},3] x", "float y", **constants))
    shapes = infer_shapes(model.proto, {"x": (1, rows, 3)})
    found = find_attention_weights(model, shapes, "x", "y")
    assert [(one.tensor, one.rows, one.columns) for one in found] == [
        (t, rows, 4) for t in expected
    ]

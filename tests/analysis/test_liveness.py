"""A score reads the elements whose changes change it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto
from tiny import noise, run, tiny

from onnxplain.analysis.liveness import read_elements
from onnxplain.model.load import load
from onnxplain.model.shapes import infer_shapes

TOKENS = 0.3 * noise(1, 5, 4, seed=3)
WEIGHTS = {
    "w": noise(4, 6, seed=4),
    "back": noise(6, 4, seed=5),
    "flipped": noise(6, 4, seed=6),
    "four": noise(4, seed=7),
    "six": noise(6, seed=8),
    "grid": noise(1, 5, 4, seed=9),
    "first": np.array(0),
    "two": np.array([0, 2]),
    "rows": np.array([5, 4]),
    "tokens": np.array([1, 5, 6]),
    "heads": np.array([1, 5, 2, 2]),
    "joined": np.array([1, 5, 4]),
    "zero": np.array([0]),
    "one": np.array([1]),
    "three": np.array([3]),
    "wide": np.array([2, 5, 4]),
    "step": np.array(0.05, np.float32),
    "middle": np.array(128, np.uint8),
    "small": np.array([[100, 130, 140, 128]] * 4, np.uint8),
    "yes": np.array([[True], [False], [True], [True], [False]]),
}
PICK = "y = Gather<axis=1>({}, first)"

# The nodes between the tokens x (1, 5, 4) and the score y.
CASES = {
    "a token": PICK.format("x"),
    "tokens one by one": "n = LayerNormalization(x, four)  h = MatMul(n, w)  g = Tanh(h)"
    "d = MatMul(g, back)  s = Add(x, d)" + PICK.format("s"),
    "rows of a matrix": "r = Reshape(x, rows)  h = Gemm(r, w, six)  z = Reshape(h, tokens)"
    "" + PICK.format("z"),
    "a turned weight": "r = Reshape(x, rows)  h = Gemm<transB=1>(r, flipped)"
    "z = Reshape(h, tokens)"
    "" + PICK.format("z"),
    "heads, apart and joined": "h = Reshape(x, heads)  t = Transpose<perm=[0,2,1,3]>(h)"
    "e = Exp(t)  b = Transpose<perm=[0,2,1,3]>(e)  z = Reshape(b, joined)" + PICK.format("z"),
    "attention": "k = Transpose<perm=[0,2,1]>(x)  s = MatMul(x, k)  a = Softmax(s)"
    "v = MatMul(a, x)" + PICK.format("v"),
    "what attention asks with": "q = Gather<axis=1>(x, two)  k = Transpose<perm=[0,2,1]>(grid)"
    "s = MatMul(q, k)  a = Softmax(s)  y = MatMul(a, grid)",
    "what is asked": "k = Transpose<perm=[0,2,1]>(x)  s = MatMul(grid, k)" + PICK.format("s"),
    "a slice": "p = Slice(x, one, three, one)  y = Exp(p)",
    "parts": "p, r = Split<axis=2, num_outputs=2>(x)  q = Squeeze(p, zero)"
    "u = Unsqueeze(q, zero)  y = Neg(u)",
    "joined with others": "c = Concat<axis=1>(grid, x)  i = Slice(c, three, seven, one)y = Neg(i)",
    "a mean over some tokens": "p = Slice(x, one, three, one)y = ReduceMean<keepdims=0>(p, one)",
    "a mean in the place of each": "m = ReduceMean(x, one)  d = Sub(x, m)" + PICK.format("d"),
    "stretched": "p = Gather<axis=1>(x, first)  u = Unsqueeze(p, one)  b = Expand(u, wide)"
    "y = Mul(b, grid)",
    "chosen": "z = Mul(grid, grid)  y = Where(yes, x, z)",
    "quantized and back": "q = QuantizeLinear(x, step, middle)"
    "d = DequantizeLinear(q, step, middle)" + PICK.format("d"),
    "a product of integers": "q = QuantizeLinear(x, step, middle)"
    "p = QLinearMatMul(q, step, middle, small, step, middle, step, middle)"
    "d = DequantizeLinear(p, step, middle)" + PICK.format("d"),
    "a fused sum and normalization": "s = com.microsoft.SkipLayerNormalization(x, grid, four)"
    "" + PICK.format("s"),
    "the second term of a fused sum": "s = com.microsoft.SkipLayerNormalization(grid, x, four)"
    "" + PICK.format("s"),
    "a fused product": "k = com.microsoft.FusedMatMul<transB=1>(grid, x)" + PICK.format("k"),
    "an operator that is not known": "c = CumSum(x, one1)" + PICK.format("c"),
}
SUPERSETS = {"an operator that is not known", "chosen"}
"""Cases that count more as read than is read: the chosen side is not known."""


def build(body: str, opset: int = 18) -> ModelProto:
    read = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    constants = {**WEIGHTS, "seven": np.array([7]), "one1": np.array(1)}
    used = {name: value for name, value in constants.items() if name in read}
    return tiny(body, "float[1,5,4] x", "float y", opset=opset, domains=["com.microsoft"], **used)


def changes(proto: ModelProto) -> np.ndarray:
    """The elements of x that change y, found by changing each of them alone."""
    (before,) = run(proto, {"x": TOKENS})
    moved = np.zeros(TOKENS.shape, bool)
    for place in np.ndindex(*TOKENS.shape):
        other = TOKENS.copy()
        other[place] += 0.5
        moved[place] = not np.array_equal(run(proto, {"x": other})[0], before)
    return moved


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_is_what_the_score_changes_with(name: str) -> None:
    proto = build(CASES[name])
    model = load(proto)
    found = read_elements(model, infer_shapes(model.proto, {"x": TOKENS.shape}), "x", "y")["x"]
    expected = changes(build(CASES[name]))
    if name in SUPERSETS:
        assert found[expected].all()
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", ["", "<axis=1>", "<axis=2>", "<axis=-2>"])
def test_an_old_softmax_runs_over_all_axes_from_one_on(axis: str, opset: int) -> None:
    proto = build(f"s = Softmax{axis}(x)  y = Gather<axis=1>(s, first)", opset)
    model = load(proto)
    found = read_elements(model, infer_shapes(model.proto, {"x": TOKENS.shape}), "x", "y")["x"]
    np.testing.assert_array_equal(found, changes(proto))


def test_the_step_of_a_dynamic_quantization_is_no_way_through() -> None:
    """Every element affects it, but a score is not made of it."""
    proto = build(
        "q, s, z = DynamicQuantizeLinear(x)  d = DequantizeLinear(q, s, z)" + PICK.format("d")
    )
    model = load(proto)
    found = read_elements(model, infer_shapes(model.proto, {"x": TOKENS.shape}), "x", "y")["x"]
    assert found[:, 0].all()
    assert not found[:, 1:].any()


def test_all_is_read_where_shapes_contradict_each_other() -> None:
    """A damaged model declares them; ONNX Runtime says what is wrong when it runs."""
    model = load(build("r = Reshape(x, heads)" + PICK.format("r")))
    shapes = infer_shapes(model.proto, {"x": TOKENS.shape})
    found = read_elements(model, {**shapes, "x": (7, 3)}, "x", "y")["x"]
    assert found.shape == (7, 3)
    assert found.all()


def test_what_nothing_reads_is_left_out() -> None:
    model = load(
        build(
            "a = Exp(x)  b = Shape(a)  c = Gather(b, first)  f = Cast<to=1>(c)"
            "g = Gather<axis=1>(x, first)  y = Mul(g, f)"
        )
    )
    found = read_elements(model, infer_shapes(model.proto, {"x": TOKENS.shape}), "x", "y")
    assert "a" not in found
    assert found["x"][:, 0].all()

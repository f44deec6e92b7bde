"""Rules of elementwise operators, and their values at kinks and poles."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, parser

from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, distinct, gradients, normal, single_node, uniform
from tools.gradcheck.reference import onnxruntime_function

ANYWHERE = normal(2, 3, 4)
NONZERO = distinct(2, 3, 4)
POSITIVE = uniform(2, 3, 4)
INSIDE_ONE = uniform(2, 3, 4, low=-0.9, high=0.9)
ABOVE_ONE = uniform(2, 3, 4, low=1.2, high=3.0)

UNARY = {
    "Abs": NONZERO,
    "Acos": INSIDE_ONE,
    "Acosh": ABOVE_ONE,
    "Asin": INSIDE_ONE,
    "Asinh": ANYWHERE,
    "Atan": ANYWHERE,
    "Atanh": INSIDE_ONE,
    "Cos": ANYWHERE,
    "Cosh": ANYWHERE,
    "Dropout": ANYWHERE,
    "Erf": ANYWHERE,
    "Exp": ANYWHERE,
    "Identity": ANYWHERE,
    "Log": POSITIVE,
    "Neg": ANYWHERE,
    "Reciprocal": NONZERO,
    "Sin": ANYWHERE,
    "Sinh": ANYWHERE,
    "Sqrt": POSITIVE,
    "Tan": INSIDE_ONE,
    "Tanh": ANYWHERE,
}
SHAPES = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((3, 1), (2, 1, 4)), ((), (2, 3))]


@pytest.mark.parametrize("op", UNARY)
def test_unary(op: str) -> None:
    x = UNARY[op]
    check_gradient(single_node(op, {"x": x}, dynamic=True), {"x": x})


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("op", ["Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"])
def test_binary_with_broadcasting(
    op: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], dynamic: bool
) -> None:
    feeds = {"a": uniform(*shapes[0], seed=1), "b": uniform(*shapes[1], seed=2)}
    check_gradient(single_node(op, feeds, dynamic=dynamic), feeds)


@pytest.mark.parametrize("op", ["Max", "Mean", "Min", "Sum"])
@pytest.mark.parametrize("count", [1, 3])
def test_variadic(op: str, count: int) -> None:
    shapes = [(2, 3, 4), (3, 1), (1,)]
    feeds = {f"x{i}": normal(*shapes[i], seed=i) for i in range(count)}
    check_gradient(single_node(op, feeds, dynamic=True), feeds)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_fmod(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    # Quotients between 1.1 and 7, of both signs, none of them near an integer.
    b = np.full(shapes[1], 0.7, np.float32)
    a = b.ravel()[0] * (distinct(*shapes[0], step=0.2) + np.float32(0.03))
    feeds = {"a": a.astype(np.float32), "b": b}
    check_gradient(single_node("Mod", feeds, fmod=1, dynamic=True), feeds)


@pytest.mark.parametrize("exponent", [-1.5, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_pow_with_a_constant_exponent(exponent: float, dtype: type) -> None:
    feeds = {"a": POSITIVE if exponent % 1 else NONZERO, "n": np.array(exponent, dtype)}
    check_gradient(single_node("Pow", feeds, constants=["n"]), feeds, ["a"])


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(-1.0, 0), (0.0, 0), (0.5, 0), (1.0, 1), (1.5, 0), (2.0, 0), (3.0, 0)],
)
@pytest.mark.parametrize("constant", [True, False])
def test_pow_of_zero_has_a_finite_gradient(
    exponent: float, expected: float, constant: bool
) -> None:
    feeds = {"a": np.zeros(2, np.float32), "n": np.array([exponent], np.float32)}
    model = single_node("Pow", feeds, constants=["n"] if constant else [])
    wanted = ["a"] if constant else ["a", "n"]
    found = gradients(model, feeds, {"y0": np.ones(2, np.float32)}, wanted)
    np.testing.assert_array_equal(found["a"], [expected, expected])
    if not constant:
        np.testing.assert_array_equal(found["n"], [0])


@pytest.mark.parametrize(
    ("op", "at", "expected"),
    [
        ("Abs", 0.0, 0.0),
        ("Sqrt", 0.0, 0.0),
        ("Acos", 1.0, 0.0),
        ("Asin", -1.0, 0.0),
        ("Acosh", 1.0, 0.0),
    ],
)
def test_unary_at_a_point(op: str, at: float, expected: float) -> None:
    feeds = {"x": np.array([at], np.float32)}
    found = gradients(single_node(op, feeds), feeds, {"y0": np.ones(1, np.float32)}, ["x"])
    np.testing.assert_array_equal(found["x"], [expected])


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_equal_extrema_share_the_gradient(op: str) -> None:
    ones = np.ones(2, np.float32)
    feeds = {"a": ones, "b": ones.copy(), "c": np.array([1, 5], np.float32)}
    found = gradients(single_node(op, feeds), feeds, {"y0": ones * 6}, ["a", "b", "c"])
    ends = {"Max": ([2, 0], [2, 6]), "Min": ([2, 3], [2, 0])}[op]
    for name, expected in zip("abc", (ends[0], ends[0], ends[1]), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)


@pytest.mark.parametrize("names", ["x", "xl", "xh", "xlh"])
def test_clip(names: str) -> None:
    values = {"x": normal(4, 5), "l": np.float32(-0.4), "h": np.float32(0.6)}
    feeds = {name: np.asarray(values[name]) for name in names}
    inputs = {name: feeds.get(name) for name in "xlh"}
    check_gradient(single_node("Clip", inputs, dynamic=True), feeds)


def test_clip_with_crossed_limits() -> None:
    feeds = {"x": normal(4, 5), "l": np.array(0.5, np.float32), "h": np.array(-0.5, np.float32)}
    check_gradient(single_node("Clip", feeds), feeds)


def test_clip_has_no_gradient_at_its_limits() -> None:
    feeds = {"x": np.array([-1, 0, 3, 6, 7], np.float32)}
    limits = {"l": np.array(0, np.float32), "h": np.array(6, np.float32)}
    model = single_node("Clip", feeds | limits, constants=["l", "h"])
    found = gradients(model, feeds, {"y0": np.ones(5, np.float32)}, ["x"])
    np.testing.assert_array_equal(found["x"], [0, 0, 1, 0, 0])


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("dynamic", [False, True])
def test_where(shapes: tuple[tuple[int, ...], tuple[int, ...]], dynamic: bool) -> None:
    condition = normal(3, 1, seed=3) > 0
    feeds: dict[str, Array] = {"c": condition, "a": normal(*shapes[0]), "b": normal(*shapes[1])}
    if shapes[1] == (2, 3):
        feeds["c"] = condition.ravel()
    check_gradient(single_node("Where", feeds, dynamic=dynamic), feeds)


def test_cast_passes_gradients_between_floats_only() -> None:
    """The batch size, as a float, scales the result; no gradient is passed through it."""
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[N,3] x) => (float[N,3] y) {
            one = Constant<value=int64 {1}>()
            shape = Shape(x)  n = Size(shape)  m = Mul(n, one)  f = Cast<to=1>(m)
            same = Cast<to=1>(x)  alike = CastLike(same, x)  y = Mul(alike, f)
        }""")
    assert model.graph.node[4].attribute[0].i == TensorProto.FLOAT
    check_gradient(model, {"x": normal(2, 3)})


def test_dropout_in_training_without_a_mask_is_refused() -> None:
    inputs = {"x": ANYWHERE, "ratio": np.array(0.5, np.float32), "training": np.array(True)}
    model = single_node("Dropout", inputs, constants=["ratio", "training"])
    with pytest.raises(GradientError, match=r"the_Dropout.*inference mode"):
        gradients(model, {"x": ANYWHERE}, {"y0": ANYWHERE}, ["x"])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ratio", [0.8, 0.0, None])
def test_dropout_passes_on_what_it_kept(ratio: float | None, training: bool) -> None:
    """The output is x times the expected gradient, in the same run."""
    given = None if ratio is None else np.array(ratio, np.float32)
    feeds = {"x": np.ones((20, 20), np.float32), "ratio": given, "training": np.array(training)}
    model = lower(load(single_node("Dropout", feeds, constants=["ratio"])))
    proto = differentiate(model, "y0", ["x"], ["y0"]).proto
    seed = np.full((20, 20), 3, np.float32)
    y, dx = onnxruntime_function(proto)({**feeds, SEED: seed})
    np.testing.assert_allclose(dx, 3 * y, rtol=1e-6)
    assert (y == 0).any() == (training and ratio != 0)


@pytest.mark.parametrize("op", ["Ceil", "Floor", "Round", "Sign"])
def test_steps_cut_the_score_off(op: str) -> None:
    with pytest.raises(GradientError, match=f"cut off .* {op} 'the_{op}'"):
        gradients(single_node(op, {"x": ANYWHERE}), {"x": ANYWHERE}, {"y0": ANYWHERE}, ["x"])

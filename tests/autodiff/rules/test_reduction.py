"""Rules of reductions, with axes given in every form, and of cumulative sums and products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import parser

from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, distinct, gradients, normal, single_node, uniform

POINTS = {
    "ReduceL1": distinct(2, 3, 4),
    "ReduceL2": normal(2, 3, 4),
    "ReduceLogSum": uniform(2, 3, 4),
    "ReduceLogSumExp": normal(2, 3, 4),
    "ReduceMax": distinct(2, 3, 4),
    "ReduceMean": normal(2, 3, 4),
    "ReduceMin": distinct(2, 3, 4),
    "ReduceProd": distinct(2, 3, 4, step=0.2),
    "ReduceSum": normal(2, 3, 4),
    "ReduceSumSquare": normal(2, 3, 4),
}
AXES = [None, [], [1], [-1], [0, 2], [-1, 0], [0, 1, 2]]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("op", POINTS)
def test_reduction(op: str, axes: list[int] | None, keepdims: int, dynamic: bool) -> None:
    given = None if axes is None else np.array(axes, np.int64)
    feeds = {"x": POINTS[op]}
    model = single_node(
        op, {**feeds, "axes": given}, constants=["axes"], keepdims=keepdims, dynamic=dynamic
    )
    check_gradient(model, feeds)


@pytest.mark.parametrize("axes", [None, []])
@pytest.mark.parametrize("op", POINTS)
def test_reduction_over_no_axes(op: str, axes: list[int] | None) -> None:
    given = None if axes is None else np.array(axes, np.int64)
    feeds = {"x": POINTS[op]}
    for keepdims in (0, 1):
        model = single_node(
            op,
            {**feeds, "axes": given},
            constants=["axes"],
            keepdims=keepdims,
            noop_with_empty_axes=1,
        )
        check_gradient(model, feeds)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("op", POINTS)
def test_reduction_over_axes_that_are_an_input(op: str, keepdims: int) -> None:
    """Not even the rank of the reduced tensor is known."""
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[A,B,C] x, int64[N] axes) => (float y) {{
            r = {op}<keepdims={keepdims}>(x, axes)  s = Sin(r)  y = ReduceSum<keepdims=0>(s)
        }}""")
    check_gradient(model, {"x": POINTS[op], "axes": np.array([-1, 0])})


def test_partly_dynamic_mean_divides_by_the_static_sizes() -> None:
    model = single_node(
        "ReduceMean", {"x": POINTS["ReduceMean"], "axes": np.array([1, 2])}, constants=["axes"]
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    check_gradient(model, {"x": normal(5, 3, 4)})


def at_point(op: str, x: list[Any], dy: list[float], **attributes: Any) -> Array:
    feeds = {"x": np.array(x, np.float32), "axes": np.array([-1])}
    model = single_node(op, feeds, constants=["axes"], keepdims=0, **attributes)
    return gradients(model, feeds, {"y0": np.array(dy, np.float32)}, ["x"])["x"]


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_ties_share_the_gradient(op: str) -> None:
    sign = 1 if op == "ReduceMax" else -1
    found = at_point(op, [[sign, sign, 0], [0, sign, 0]], [6, 5])
    np.testing.assert_array_equal(found, [[3, 3, 0], [0, 5, 0]])


def test_product_with_zeros() -> None:
    found = at_point("ReduceProd", [[2, 0, 3], [0, 0, 5], [2, 3, 4]], [1, 1, 1])
    np.testing.assert_array_equal(found, [[0, 6, 0], [0, 0, 0], [12, 8, 6]])


@pytest.mark.parametrize("op", ["ReduceL1", "ReduceL2", "ReduceSumSquare"])
def test_norm_of_zeros(op: str) -> None:
    np.testing.assert_array_equal(at_point(op, [[0, 0], [0, 0]], [1, 2]), np.zeros((2, 2)))


def test_log_sum_exp_does_not_overflow() -> None:
    np.testing.assert_allclose(at_point("ReduceLogSumExp", [[200, 200]], [1]), [[0.5, 0.5]], 1e-5)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("axis", [0, -2])
@pytest.mark.parametrize(("op", "opset"), [("CumSum", 18), ("CumProd", 26)])
def test_cumulative(op: str, opset: int, axis: int, exclusive: int, reverse: int) -> None:
    x = normal(3, 4, 2)
    x[0, 1:3, 0] = x[1, 2, :] = x[:2, 0, 1] = 0
    inputs = {"x": x, "axis": np.array(axis)}
    attributes: dict[str, Any] = {"exclusive": exclusive, "reverse": reverse}
    model = single_node(op, inputs, opset=opset, constants=["axis"], dynamic=True, **attributes)
    check_gradient(model, {"x": x})

"""Pools over the grid of their attributes, and which of equal elements is chosen."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from autodiff.rules.grids import thinned

from onnxplain.autodiff.differentiate import differentiate
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from tools.gradcheck import check_gradient, check_node, distinct, gradients, normal, single_node
from tools.gradcheck.reference import onnxruntime_function

SIZES, KERNEL = [9, 8, 7], [3, 2, 2]
POOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "max": ("MaxPool", {}),
    "max and its indices": ("MaxPool", {"outputs": 2}),
    "max and its column-major indices": ("MaxPool", {"outputs": 2, "storage_order": 1}),
    "mean of what is there": ("AveragePool", {}),
    "mean with padding": ("AveragePool", {"count_include_pad": 1}),
    "norm": ("LpPool", {"p": 2}),
    "norm 3": ("LpPool", {"p": 3}),
}


def grid() -> list[tuple[Any, ...]]:
    """(rank, pool, dynamic, attributes)."""
    padding: list[dict[str, Any]] = [{}, {"pads": [1, 0, 0, 2, 1, 1]}]
    padding += [{"auto_pad": name} for name in ("SAME_UPPER", "SAME_LOWER", "VALID")]
    cases = []
    axes = product((1, 2, 3), POOLS, (False, True), (1, 2, 3), (1, 2), (0, 1), padding)
    for rank, pool, dynamic, stride, dilation, ceil_mode, pad in axes:
        same = pad.get("auto_pad", "").startswith("SAME")
        if same and dilation > 1:
            continue
        form: dict[str, Any] = {"kernel_shape": KERNEL[:rank], "ceil_mode": ceil_mode, **pad}
        if "pads" in pad:
            form["pads"] = pad["pads"][:rank] + pad["pads"][3 : 3 + rank]
        # The first axis differs from the others.
        form["strides"] = [stride, *[max(stride - 1, 1)] * (rank - 1)]
        form["dilations"] = [1] * (rank - 1) + [dilation]
        cases.append((rank, pool, dynamic, form))
    return cases


@pytest.mark.parametrize(("rank", "pool", "dynamic", "form"), thinned(grid(), 19))
def test_pool(rank: int, pool: str, dynamic: bool, form: dict[str, Any]) -> None:
    op, more = POOLS[pool]
    feeds = {"x": distinct(2, 3, *SIZES[:rank])}
    check_gradient(single_node(op, feeds, dynamic=dynamic, **form, **more), feeds, rtol=5e-4)


SIDE_BY_SIDE = [
    ([4, 6], [2, 3], 0),
    ([5, 8], [2, 3], 0),
    ([5, 8], [2, 3], 1),
    ([4, 6], [2, 3], 1),
    ([7], [3], 1),
    ([4, 6, 3], [2, 3, 2], 0),
]


@pytest.mark.parametrize(("sizes", "kernel", "ceil_mode"), SIDE_BY_SIDE)
@pytest.mark.parametrize("op", ["AveragePool", "LpPool", "MaxPool"])
def test_windows_side_by_side(op: str, sizes: list[int], kernel: list[int], ceil_mode: int) -> None:
    x = {"x": distinct(2, 3, *sizes)}
    check_node(op, x, batched="x", kernel_shape=kernel, strides=kernel, ceil_mode=ceil_mode)


@pytest.mark.parametrize("opset", [18, 22])
@pytest.mark.parametrize("op", ["AveragePool", "LpPool", "MaxPool"])
def test_no_window_begins_behind_the_input(op: str, opset: int) -> None:
    x = {"x": distinct(1, 2, 8)}
    check_node(op, x, opset=opset, kernel_shape=[1], strides=[2], ceil_mode=1)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
@pytest.mark.parametrize(
    ("op", "form"),
    [
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
        *(("GlobalLpPool", {"p": p}) for p in (1, 2, 3)),
    ],
)
def test_global_pool(op: str, form: dict[str, int], shape: tuple[int, ...]) -> None:
    check_node(op, {"x": distinct(*shape)}, batched="x", **form)


@pytest.mark.parametrize(
    ("op", "form", "seed", "expected"),
    [
        ("MaxPool", {"kernel_shape": [2, 2]}, [[1, 10, 100]], [[1, 0, 0, 100], [0, 0, 10, 0]]),
        (
            "MaxPool",
            {"kernel_shape": [2, 2], "strides": [2, 2]},
            [[1, 100]],
            [[1, 0, 0, 100], [0, 0, 0, 0]],
        ),
        ("GlobalMaxPool", {}, [[7]], [[0, 0, 0, 7], [0, 0, 0, 0]]),
    ],
)
def test_the_first_of_equal_maxima_takes_the_gradient(
    op: str, form: dict[str, Any], seed: list[list[int]], expected: list[list[int]]
) -> None:
    x = np.array([[[[1, 1, 0, 2], [1, 1, 2, 2]]]], np.float32)
    model = single_node(op, {"x": x}, **form)
    found = gradients(model, {"x": x}, {"y0": np.array([[seed]], np.float32)}, ["x"])
    np.testing.assert_array_equal(found["x"], [[expected]])


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    "form",
    [
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 2], "strides": [3, 1], "pads": [0, 1, 2, 0], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "dilations": [2, 1], "pads": [1, 0, 2, 1]},
        {"kernel_shape": [2, 2], "strides": [3, 3]},
    ],
)
def test_many_ties_go_where_onnxruntime_finds_the_maximum(
    form: dict[str, Any], dynamic: bool
) -> None:
    x = {"x": np.random.default_rng(0).integers(0, 3, (2, 3, 9, 8)).astype(np.float32)}
    y, indices = onnxruntime_function(single_node("MaxPool", x, outputs=2, **form))(x)
    seed = normal(*y.shape)
    expected = np.zeros(x["x"].size)
    np.add.at(expected, indices.ravel(), seed.ravel())
    found = gradients(single_node("MaxPool", x, dynamic=dynamic, **form), x, {"y0": seed}, ["x"])
    np.testing.assert_allclose(found["x"].ravel(), expected, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_window_in_the_padding_alone_gives_nothing_to_the_last_element(stride: int) -> None:
    x = {"x": np.array([[[3, 4]]], np.float32)}
    form = {"kernel_shape": [2], "dilations": [3], "pads": [1, 1], "strides": [stride]}
    model = single_node("MaxPool", x, **form)
    found = gradients(model, x, {"y0": np.ones((1, 1, 1), np.float32)}, ["x"])
    np.testing.assert_array_equal(found["x"], [[[0, 0]]])


@pytest.mark.parametrize(("storage_order", "pools"), [(0, 1), (1, 2)])
def test_indices_of_the_model_are_used_if_they_count_rows(storage_order: int, pools: int) -> None:
    x = {"x": distinct(1, 1, 4, 4)}
    form = {"kernel_shape": [2, 2], "storage_order": storage_order}
    model = load(single_node("MaxPool", x, outputs=2, **form))
    made = differentiate(model, "y0", ["x"], ["y0"]).proto
    assert [node.op_type for node in made.graph.node].count("MaxPool") == pools


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(("op", "form"), [("LpPool", {"kernel_shape": [2]}), ("GlobalLpPool", {})])
def test_the_norm_of_zeros_has_a_finite_gradient(op: str, form: dict[str, Any], p: int) -> None:
    x = {"x": np.zeros((1, 1, 3), np.float32)}
    model = single_node(op, x, p=p, **form)
    (y,) = onnxruntime_function(model)(x)
    found = gradients(model, x, {"y0": np.ones_like(y)}, ["x"])
    np.testing.assert_array_equal(found["x"], [[[0, 0, 0]]])


@pytest.mark.parametrize("shape", [[], [1, 2, 5, 6]])
def test_max_unpool(shape: list[int]) -> None:
    form = {"kernel_shape": [2, 2], "strides": [2, 2]}
    pooled = {"x": distinct(1, 2, 4, 6)}
    model = single_node("MaxPool", pooled, outputs=2, **form)
    inputs = dict(zip("xi", onnxruntime_function(model)(pooled), strict=True))
    if shape:
        inputs["shape"] = np.array(shape)
    check_node("MaxUnpool", inputs, constants=["shape"], **form)


@pytest.mark.parametrize("op", ["AveragePool", "LpPool"])
def test_auto_pad_with_dilations_is_refused(op: str) -> None:
    x = {"x": distinct(1, 1, 9)}
    model = single_node(op, x, kernel_shape=[3], dilations=[2], auto_pad="SAME_LOWER")
    with pytest.raises(GradientError, match=rf"the_{op}.*auto_pad and dilations"):
        differentiate(load(model), "y0", ["x"])

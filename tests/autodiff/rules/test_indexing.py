"""Rules of gathering and scattering."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import check_node, distinct, gradients, ints, normal, single_node, uniform

GATHERS: dict[str, tuple[Array, int]] = {
    "one": (np.array(2), 1),
    "the last": (np.array(-1), -1),
    "one, kept": (ints(0), 1),
    "one of a grid": (ints(2).reshape(1, 1), 1),
    "a run": (ints(1, 2, 3), 1),
    "a run from the end": (ints(-3, -2), 0),
    "a run around the end": (ints(-1, 0, 1), 1),
    "a permutation": (ints(3, 1, 0, 2), 0),
    "a permutation with negatives": (ints(-1, 1, 0, -2), 0),
    "a permutation as a grid": (ints(3, 1, 0, 2).reshape(2, 2), 0),
    "a run as a grid": (ints(1, 2, 3, 4).reshape(2, 2), 1),
    "repeats": (ints(1, 1, 0), 0),
    "repeats of the last axis": (ints(2, 0, -1, 2), 2),
    "repeats of a middle axis": (ints(0, 0, 4), -2),
    "a table": (ints(1, 4, 0, 1).reshape(2, 2), 1),
    "many repeats": (np.zeros(9, int), 1),
    "none": (ints(), 1),
}
fed = pytest.mark.parametrize("constants", [["indices"], []], ids=["constant", "fed"])


@pytest.mark.parametrize("name", GATHERS)
@fed
def test_gather(name: str, constants: list[str]) -> None:
    indices, axis = GATHERS[name]
    inputs = {"x": normal(4, 5, 3), "indices": indices}
    check_node("Gather", inputs, constants=constants, batched=["x"] if axis else (), axis=axis)


def test_gather_with_indices_of_32_bits() -> None:
    for indices in ([1], [2, 0, 2]):
        inputs = {"x": normal(3, 2), "indices": np.array(indices, np.int32)}
        check_node("Gather", inputs, constants=["indices"])


@pytest.mark.parametrize("axis", [0, 1, -1])
@fed
def test_gather_elements(axis: int, constants: list[str]) -> None:
    indices = np.random.default_rng(0).integers(-3, 3, (2, 3, 3))
    inputs = {"x": normal(3, 4, 3), "indices": indices}
    check_node("GatherElements", inputs, constants=constants, batched=["x"], axis=axis)


@pytest.mark.parametrize(
    ("shape", "indices", "batch_dims"),
    [
        ((3, 4), [[0, 1], [2, 3], [0, 1], [-1, 0]], 0),
        ((3, 4), [[1], [1]], 0),
        ((3, 4, 2), [[[0, 1]], [[2, -1]]], 0),
        ((2, 4, 3), [[1], [3]], 1),
        ((2, 4, 3), [[[1, 0], [1, 0]], [[3, 2], [0, 0]]], 1),
        ((2, 2, 5, 3), [[[4], [1]], [[0], [-1]]], 2),
        ((2, 2, 5), np.zeros((2, 2, 3, 2, 1), int).tolist(), 2),
    ],
    ids=str,
)
@fed
def test_gather_nd(
    shape: tuple[int, ...], indices: list[Any], batch_dims: int, constants: list[str]
) -> None:
    inputs = {"x": normal(*shape), "indices": np.array(indices)}
    batched = ["x", "indices"][: 2 - len(constants)]
    check_node("GatherND", inputs, constants=constants, batched=batched, batch_dims=batch_dims)


PLACES, TIMES = 3, 400_000
REPEATED: dict[str, tuple[int, ...]] = {
    "Gather": (TIMES,),
    "GatherElements": (TIMES,),
    "GatherND": (TIMES, 1),
}


@pytest.mark.parametrize("op", REPEATED)
def test_no_sum_is_lost_where_threads_meet_at_one_place(op: str) -> None:
    """With a seed of ones, the gradient at a position is how often it was read: an exact float."""
    indices = np.random.default_rng(0).integers(0, PLACES, REPEATED[op])
    inputs = {"x": normal(PLACES), "indices": indices}
    gradient = differentiate(load(single_node(op, inputs)), "y0", ["x"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(gradient.proto.SerializeToString(), options)
    feeds = {"x": inputs["x"], "indices": indices, SEED: np.ones(TIMES, np.float32)}
    feeds = {value.name: feeds[value.name] for value in session.get_inputs()}
    for _ in range(20):
        np.testing.assert_array_equal(session.run(None, feeds)[0], np.bincount(indices.ravel()))


# Every element of `updates` is away from 0, and no two of `data` and `updates` are equal.
REDUCTIONS = ["none", "add", "mul", "max", "min"]


def scattered(data: tuple[int, ...], updates: tuple[int, ...], indices: Array) -> dict[str, Array]:
    size = int(np.prod(data))
    values = distinct(size + int(np.prod(updates)))
    return {
        "data": values[:size].reshape(data),
        "indices": indices,
        "updates": values[size:].reshape(updates),
    }


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_elements(axis: int, reduction: str) -> None:
    """Without a reduction, no element may be written twice; with one, some are."""
    indices = np.argsort(normal(3, 3, 3), axis=axis)[:2, :2, :2]
    if reduction != "none":
        indices = indices // 2
    inputs = scattered((3, 4, 3), (2, 2, 2), indices)
    batched = ["data"]
    check_node("ScatterElements", inputs, batched=batched, axis=axis, reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("updates", "indices"),
    [((2, 4), [[2], [0]]), ((3,), [[2, 1], [0, -1], [1, 1]]), ((1, 2, 4), [[[1], [-1]]])],
    ids=str,
)
def test_scatter_nd(updates: tuple[int, ...], indices: list[Any], reduction: str) -> None:
    inputs = scattered((3, 4), updates, np.array(indices))
    check_node("ScatterND", inputs, constants=["indices"], batched=["data"], reduction=reduction)


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_scatter_nd_to_one_place(reduction: str) -> None:
    inputs = scattered((3, 2), (3, 2), ints(1, 1, 0).reshape(3, 1))
    check_node("ScatterND", inputs, batched=["data"], reduction=reduction)


def test_product_with_factors_of_zero() -> None:
    """For y = (2·3·0, 5·0·0, 7): the product of the other factors."""
    feeds = {
        "data": np.array([2, 5, 7], np.float32),
        "indices": ints(0, 0, 1, 1),
        "updates": np.array([3, 0, 0, 0], np.float32),
    }
    model = single_node("ScatterElements", feeds, reduction="mul")
    found = gradients(model, feeds, {"y0": np.ones(3, np.float32)}, ["data", "updates"])
    np.testing.assert_allclose(found["data"], [0, 0, 1])
    np.testing.assert_allclose(found["updates"], [0, 6, 0, 0])


def test_equal_maxima_share_the_gradient() -> None:
    feeds = {
        "data": np.array([4, 1], np.float32),
        "indices": ints(0, 0, 1),
        "updates": np.array([4, 3, 2], np.float32),
    }
    model = single_node("ScatterElements", feeds, reduction="max")
    found = gradients(model, feeds, {"y0": np.array([6, 5], np.float32)}, ["data", "updates"])
    np.testing.assert_allclose(found["data"], [3, 0])
    np.testing.assert_allclose(found["updates"], [3, 0, 5])


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [1, -2])
@pytest.mark.parametrize("given", [True, False])
def test_tensor_scatter(mode: str, axis: int, given: bool) -> None:
    first = [0, 3 if mode == "circular" else 1]
    inputs = {
        "past": normal(2, 4, 4, 3),
        "update": normal(2, 2 if axis == 1 else 4, 4 if axis == 1 else 2, 3, seed=1),
        "indices": ints(*first) if given else None,
    }
    if not given:
        del inputs["indices"]
    check_node("TensorScatter", inputs, opset=24, mode=mode, axis=axis, batched=inputs)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_compress(axis: int | None) -> None:
    """A condition may be shorter than the axis."""
    inputs = {"x": normal(3, 4, 3), "condition": np.array([True, False, True])}
    attributes = {} if axis is None else {"axis": axis}
    for constants in ([], ["condition"]):
        check_node("Compress", inputs, constants=constants, batched=["x"], **attributes)


@pytest.mark.parametrize("attributes", [{}, {"axis": 0}, {"axis": 1, "largest": 0, "sorted": 0}])
def test_top_k(attributes: dict[str, int]) -> None:
    inputs = {"x": distinct(3, 4, 5), "k": ints(2)}
    check_node("TopK", inputs, constants=["k"], batched=["x"], outputs=2, **attributes)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    inputs = {
        "indices": np.array([[0, 2], [1, -1]]),
        "depth": ints(3),
        "values": uniform(2),
    }
    check_node("OneHot", inputs, constants=["depth"], batched=["indices"], axis=axis)


def test_range() -> None:
    scalars = zip(("start", "limit", "delta"), (1.2, 8.3, 1.5), strict=True)
    inputs = {name: np.array(value, np.float32) for name, value in scalars}
    check_node("Range", inputs, constants=["limit"])

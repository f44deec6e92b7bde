"""Resize over its modes, coordinates, roundings and forms of the new size."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from autodiff.rules.grids import thinned

from onnxplain.autodiff.differentiate import differentiate
from onnxplain.model.load import load
from tools.gradcheck import check_gradient, check_node, gradients, ints, normal, single_node

COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
LATER = ["half_pixel_symmetric"]
CROPPING = "tf_crop_and_resize"
REGION = np.array([0, 0, 0.1, 0.2, 1, 1, 0.8, 1.1], np.float32)

ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
MODES: list[dict[str, Any]] = [
    *({"mode": "nearest", "nearest_mode": rounding} for rounding in ROUNDINGS),
    {"mode": "linear"},
    {"mode": "linear", "antialias": 1},
    {"mode": "cubic"},
    {"mode": "cubic", "antialias": 1, "cubic_coeff_a": -0.5},
    {"mode": "cubic", "exclude_outside": 1},
]
SCALES = {
    "larger": ((2, 3, 4, 5), [2, 2]),
    "by three and two": ((1, 2, 3, 4), [3, 2]),
    "between": ((2, 3, 7, 5), [0.6, 1.7]),
    "smaller": ((2, 1, 5, 6), [1, 0.5]),
}


def grid() -> list[tuple[Any, ...]]:
    """(shape, scales, says, dynamic, opset, attributes)."""
    cases: list[tuple[Any, ...]] = []
    ways = ["scales", "sizes", "axes", "swapped axes", "not_larger", "not_smaller"]
    for opset, mode, scale, dynamic, says in product((18, 19), MODES, SCALES, (False, True), ways):
        later = LATER if opset > 18 else []
        crop = [CROPPING] if says in ("scales", "sizes") else []
        for coordinates in [*COORDINATES, *later, *crop]:
            form = {**mode, "coordinate_transformation_mode": coordinates}
            if coordinates == CROPPING:
                form["extrapolation_value"] = 1.5
            cases.append((*SCALES[scale], says, dynamic, opset, form))
    return cases


def asked(shape: tuple[int, ...], scales: list[float], says: str) -> tuple[dict[str, Any], Any]:
    """Inputs and attributes that request `scales` of the last two axes."""
    every = np.array([1, 1, *scales], np.float32)
    sizes = np.floor(np.array(shape) * every).astype(np.int64)
    if says == "scales":
        return {"scales": every}, {}
    if says == "sizes":
        return {"scales": None, "sizes": sizes}, {}
    if says == "swapped axes":
        return {"scales": None, "sizes": sizes[[3, 2]]}, {"axes": [-1, -2]}
    policy = {} if says == "axes" else {"keep_aspect_ratio_policy": says}
    return {"scales": None, "sizes": sizes[2:]}, {"axes": [2, 3], **policy}


@pytest.mark.parametrize(
    ("shape", "scales", "says", "dynamic", "opset", "form"), thinned(grid(), 29)
)
def test_resize(
    shape: tuple[int, ...],
    scales: list[float],
    says: str,
    dynamic: bool,
    opset: int,
    form: dict[str, Any],
) -> None:
    inputs, more = asked(shape, scales, says)
    crops = form["coordinate_transformation_mode"] == CROPPING
    given = {"x": normal(*shape), "roi": REGION if crops else None, **inputs}
    constants = [name for name in ("roi", "sizes") if given.get(name) is not None]
    constants += [] if dynamic else ["scales"]
    model = single_node(
        "Resize", given, constants=constants, dynamic=dynamic, opset=opset, **form, **more
    )
    feeds = {k: v for k, v in given.items() if v is not None and k not in constants}
    check_gradient(model, feeds, ["x"], rtol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("shape", "scales"),
    [
        ((3, 5), [2, 3]),
        ((1, 2, 5), [1, 1, 1.5]),
        ((1, 2, 5), [1, 1, 3]),
        ((1, 2, 3, 4, 5), [1, 1, 2, 2, 2]),
        ((1, 2, 3, 4, 5), [1, 1, 1.5, 2, 0.7]),
        ((1, 4, 5, 2), [1, 1.5, 2, 1]),
    ],
)
def test_any_axes(shape: tuple[int, ...], scales: list[float], mode: str) -> None:
    inputs = {"x": normal(*shape), "roi": None, "scales": np.array(scales, np.float32)}
    check_node("Resize", inputs, constants=["scales"], mode=mode)


def test_a_common_scale_changes_an_axis_that_keeps_its_size() -> None:
    inputs = {"x": normal(1, 1, 2, 5), "roi": None, "scales": None, "sizes": ints(9, 6)}
    form = {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}
    check_node("Resize", inputs, constants=["sizes"], **form)  # 1.2 times 2 is 2, rounded


def test_an_empty_tensor_stands_for_no_sizes_and_no_scales() -> None:
    x, none = normal(1, 2, 3, 4), np.zeros(0, np.float32)
    by_sizes = {"x": x, "roi": none, "scales": none, "sizes": ints(1, 2, 5, 6)}
    check_node("Resize", by_sizes, constants=["roi", "scales", "sizes"], mode="linear")


@pytest.mark.parametrize(
    ("form", "fast"),
    [
        ({"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}, True),
        ({}, True),
        ({"nearest_mode": "floor"}, False),
        ({"mode": "linear"}, False),
    ],
)
def test_repetition_is_undone_by_one_pool(form: dict[str, str], fast: bool) -> None:
    x = {"x": normal(1, 1, 2, 2)}
    scales = np.array([1, 1, 2, 3], np.float32)
    model = single_node(
        "Resize", {**x, "roi": None, "scales": scales}, constants=["scales"], **form
    )
    ops = {node.op_type for node in differentiate(load(model), "y0", ["x"]).proto.graph.node}
    assert ops == ({"AveragePool", "Mul", "Identity"} if fast else ops | {"MatMul"})
    if fast:
        seed = np.arange(24, dtype=np.float32).reshape(1, 1, 4, 6)
        expected = seed.reshape(2, 2, 2, 3).sum((1, 3))
        found = gradients(model, x, {"y0": seed}, ["x"])["x"]
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)

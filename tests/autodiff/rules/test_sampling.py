"""GridSample with respect to both of its inputs, and AffineGrid."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from autodiff.rules.grids import thinned

from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, check_node, gradients, ints, normal, single_node

NAMES = {16: {"linear": "bilinear", "cubic": "bicubic"}}


def grid_between_elements(*sizes: int, align: int, shape: tuple[int, ...]) -> Array:
    """A grid of places in and around the picture, none near an element or the middle of two.

    At an element or a middle, the gradient of the grid or the sample itself jumps.
    """
    rng = np.random.default_rng(len(sizes))
    columns = []
    for size in reversed(sizes):
        place = rng.integers(-2, size + 1, shape) + rng.uniform(0.15, 0.4, shape)
        columns.append(place * 2 / (size - 1) - 1 if align else (place + 0.5) * 2 / size - 1)
    return np.stack(columns, axis=-1).astype(np.float32)


def cases() -> list[tuple[Any, ...]]:
    """(picture, opset, mode, padding, align_corners, dynamic)."""
    found = []
    pictures = [(4, 5), (4, 5, 3)]
    modes, paddings = ("nearest", "linear", "cubic"), ("zeros", "border", "reflection")
    for case in product(pictures, (16, 20, 22), modes, paddings, (0, 1), (False, True)):
        picture, opset, mode, *_ = case
        if len(picture) == 2 or (opset > 16 and mode != "cubic"):  # what ONNX Runtime runs
            found.append(case)
    return found


@pytest.mark.parametrize(
    ("picture", "opset", "mode", "padding", "align", "dynamic"), thinned(cases(), 5)
)
def test_grid_sample(
    picture: tuple[int, ...], opset: int, mode: str, padding: str, align: int, dynamic: bool
) -> None:
    places = (2, 3, 4, 2)[: 1 + len(picture)]
    grid = grid_between_elements(*picture, align=align, shape=places)
    feeds = {"x": normal(2, 3, *picture), "grid": grid}
    form = {"mode": NAMES.get(opset, {}).get(mode, mode), "padding_mode": padding}
    model = single_node(
        "GridSample", feeds, opset=opset, dynamic=dynamic, align_corners=align, **form
    )
    check_gradient(model, feeds)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_a_picture_of_one_element(padding: str, align: int) -> None:
    x, place = np.full((1, 1, 1, 1), 3, np.float32), np.full((1, 1, 1, 2), 0.5, np.float32)
    model = single_node(
        "GridSample", {"x": x, "grid": place}, padding_mode=padding, align_corners=align
    )
    seed = np.full((1, 1, 1, 1), 2, np.float32)
    found = gradients(model, {"x": x, "grid": place}, {"y0": seed}, ["x", "grid"])
    # Half an element off per unit of the grid: half a picture, or nothing between its two corners.
    off = 0 if align or padding != "zeros" else 0.25
    np.testing.assert_allclose(found["x"].ravel(), 2 * (1 - off) ** 2)
    moved = 0 if align or padding != "zeros" else -0.5 * (1 - off) * 3 * 2
    np.testing.assert_allclose(found["grid"].ravel(), [moved, moved])


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 4, 5, 2)])
def test_affine_grid(size: tuple[int, ...], align: int) -> None:
    rank = len(size) - 2
    inputs = {"theta": normal(2, rank, rank + 1), "size": ints(*size)}
    check_node("AffineGrid", inputs, constants=["size"], align_corners=align)
    model = single_node("AffineGrid", inputs, align_corners=align)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for dim in (2, *size[2:], rank):
        model.graph.output[0].type.tensor_type.shape.dim.add(dim_value=dim)
    check_gradient(model, inputs, ["theta"])

"""RoiAlign and MaxRoiPool, also with regions outside the picture, and without regions."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tools.gradcheck import check_gradient, distinct, gradients, normal, single_node

# x1, y1, x2, y2: inside, partly outside, small, up to the edge, upside down.
REGIONS = np.array(
    [
        [0.3, 0.2, 4.1, 3.9],
        [-2.1, 1.2, 9.7, 3.3],
        [2, 2, 2.4, 2.7],
        [1.1, 0.4, 6.3, 6.2],
        [4.2, 3.1, 2.3, 1.2],
    ],
    np.float32,
)
BATCH = np.array([0, 1, 1, 0, 1])


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    ("mode", "coordinates", "ratio"),
    list(product(("avg", "max"), ("half_pixel", "output_half_pixel"), (0, 2))),
)
def test_roi_align(mode: str, coordinates: str, ratio: int, dynamic: bool) -> None:
    feeds = {"x": normal(2, 3, 6, 7), "regions": REGIONS, "batch": BATCH}
    form: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "sampling_ratio": ratio,
        "output_height": 2,
        "output_width": 3,
        "spatial_scale": 0.9,
    }
    model = single_node("RoiAlign", feeds, opset=16, dynamic=dynamic, **form)
    check_gradient(model, feeds, ["x"])


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("bins", "scale"), [([2, 3], 0.9), ([5, 1], 1.0)])
def test_max_roi_pool(bins: list[int], scale: float, dynamic: bool) -> None:
    regions = np.concatenate([BATCH[:, None], REGIONS], axis=1).astype(np.float32)
    feeds = {"x": distinct(2, 3, 6, 7), "regions": regions}
    model = single_node(
        "MaxRoiPool", feeds, dynamic=dynamic, pooled_shape=bins, spatial_scale=scale
    )
    check_gradient(model, feeds, ["x"])


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_without_regions_there_is_no_gradient(mode: str) -> None:
    x, regions = normal(1, 2, 4, 4), np.zeros((0, 4), np.float32)
    feeds = {"x": x, "regions": regions, "batch": np.zeros(0, np.int64)}
    model = single_node("RoiAlign", feeds, opset=16, dynamic=True, mode=mode)
    found = gradients(model, feeds, {"y0": np.zeros((0, 2, 1, 1), np.float32)}, ["x"])
    np.testing.assert_array_equal(found["x"], np.zeros_like(x))

"""DeformConv with respect to all of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autodiff.rules.grids import thinned

from tools.gradcheck import check_gradient, normal, single_node, uniform

FORMS: list[dict[str, Any]] = [
    {},
    {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 2, 1]},
    {"group": 2, "strides": [1, 2], "pads": [1, 1, 1, 1]},
    {"offset_group": 4, "pads": [0, 1, 0, 1]},
    {"group": 2, "offset_group": 2, "dilations": [2, 1]},
]


@pytest.mark.parametrize(
    ("form", "more", "opset", "dynamic"),
    thinned([(f, m, o, d) for f in FORMS for m in ("", "bm") for o in (19, 22) for d in (0, 1)], 3),
)
def test_deform_conv(form: dict[str, Any], more: str, opset: int, dynamic: bool) -> None:
    # The reference samples with float32 coordinates: its differences are accurate to 1/300.
    x, w = normal(1, 4, 5, 6), normal(2, 4 // form.get("group", 1), 3, 2, seed=1)
    pads, (dy, dx) = form.get("pads", [0] * 4), form.get("dilations", [1, 1])
    down, across = form.get("strides", [1, 1])
    places = (
        (4 + pads[0] + pads[2] - 2 * dy) // down + 1,
        (5 + pads[1] + pads[3] - dx) // across + 1,
    )
    rng = np.random.default_rng(2)
    count = 6 * form.get("offset_group", 1)
    # No offset moves an element of the kernel to an element of the input: gradients jump there.
    shape = (1, 2 * count, *places)
    offset = rng.integers(-2, 3, shape) + rng.uniform(0.2, 0.8, shape)
    inputs = {"x": x, "w": w, "offset": offset.astype(np.float32), "b": None, "mask": None}
    if more:
        inputs |= {"b": normal(2, seed=3), "mask": uniform(1, count, *places)}
    inputs = {k: v for k, v in inputs.items() if v is not None}
    model = single_node(
        "DeformConv", inputs, opset=opset, dynamic=bool(dynamic), kernel_shape=[3, 2], **form
    )
    check_gradient(model, inputs, rtol=4e-3)

"""Rules of normalizations, also with respect to scales, biases and statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, gradients, normal, single_node, uniform

SHAPES = [(3, 4), (2, 4, 3), (2, 4, 3, 5), (2, 4, 3, 2, 2)]


def affine(*shape: int) -> dict[str, Array]:
    return {"scale": uniform(*shape, seed=1), "bias": normal(*shape, seed=2)}


def picture_model(op: str, feeds: dict[str, Array], **attributes: Any) -> ModelProto:
    """Batch and spatial sizes are dynamic."""
    model = single_node(op, feeds, **attributes)
    shape = model.graph.input[0].type.tensor_type.shape
    for axis, dim in enumerate(shape.dim):
        if axis != 1:
            dim.dim_param = f"d{axis}"
    return model


@pytest.mark.parametrize("training_mode", [0, 1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_normalization(shape: tuple[int, ...], training_mode: int) -> None:
    statistics = {"mean": normal(4, seed=3), "variance": uniform(4, seed=4)}
    feeds = {"x": normal(*shape), **affine(4), **statistics}
    model = picture_model(
        "BatchNormalization",
        feeds,
        outputs=1 + 2 * training_mode,
        training_mode=training_mode,
        epsilon=0.1,
    )
    check_gradient(model, feeds)


@pytest.mark.parametrize("opset", [18, 22])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_instance_normalization(shape: tuple[int, ...], opset: int) -> None:
    feeds = {"x": normal(*shape), **affine(4)}
    check_gradient(picture_model("InstanceNormalization", feeds, opset=opset, epsilon=0.1), feeds)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_group_normalization(shape: tuple[int, ...], opset: int, groups: int) -> None:
    feeds = {"x": normal(*shape), **affine(groups if opset == 18 else 4)}
    model = picture_model("GroupNormalization", feeds, opset=opset, num_groups=groups, epsilon=0.1)
    check_gradient(model, feeds)


def test_ranks_are_known_behind_operators_without_a_shape_function() -> None:
    feeds = {"x": normal(2, 4, 3, 5), **affine(4)}
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 21]>
        g (float[N,4,H,W] x, float[4] scale, float[4] bias) => (float[N,4,H,W] y) {
            a = GroupNormalization<num_groups=2, epsilon=0.1>(x, scale, bias)
            b = MeanVarianceNormalization(a)  c = Sin(b)
            y = InstanceNormalization<epsilon=0.1>(c, scale, bias)
        }""")
    check_gradient(model, feeds)


@pytest.mark.parametrize("axis", [-1, -2, 0, 1])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_layer_normalization(axis: int, dynamic: bool, bias: bool) -> None:
    x = normal(2, 3, 4)
    inputs = {"x": x, **affine(*x.shape[axis:])}
    feeds = inputs if bias else {k: v for k, v in inputs.items() if k != "bias"}
    attributes: dict[str, Any] = {"axis": axis, "epsilon": 0.1, "dynamic": dynamic}
    check_gradient(single_node("LayerNormalization", feeds, **attributes), feeds)
    with_statistics = single_node("LayerNormalization", feeds, outputs=3, **attributes)
    check_gradient(with_statistics, feeds)


@pytest.mark.parametrize("axis", [-1, -2, 0, 1])
@pytest.mark.parametrize("dynamic", [False, True])
def test_rms_normalization(axis: int, dynamic: bool) -> None:
    x = normal(2, 3, 4)
    feeds = {"x": x, "scale": uniform(*x.shape[axis:])}
    model = single_node(
        "RMSNormalization", feeds, opset=23, axis=axis, epsilon=0.1, dynamic=dynamic
    )
    check_gradient(model, feeds)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("opset", [18, 22])
def test_lp_normalization(axis: int, p: int, opset: int) -> None:
    x = normal(2, 3, 4)
    model = single_node("LpNormalization", {"x": x}, opset=opset, axis=axis, p=p, dynamic=True)
    check_gradient(model, {"x": x})


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization_of_zeros(p: int) -> None:
    feeds = {"x": np.zeros((2, 3), np.float32)}
    model = single_node("LpNormalization", feeds, p=p)
    found = gradients(model, feeds, {"y0": normal(2, 3)}, ["x"])
    np.testing.assert_array_equal(found["x"], feeds["x"])


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels", [3, 6])
def test_lrn(channels: int, size: int) -> None:
    x = normal(2, channels, 3, 2)
    strong: dict[str, Any] = {"alpha": 0.9, "beta": 0.6, "bias": 1.2}
    check_gradient(picture_model("LRN", {"x": x}, size=size, **strong), {"x": x})


@pytest.mark.parametrize("axes", [None, [1, 2, 3], [-1]])
def test_mean_variance_normalization(axes: list[int] | None) -> None:
    x = normal(2, 3, 4, 5)
    attributes: dict[str, Any] = {} if axes is None else {"axes": axes}
    model = single_node("MeanVarianceNormalization", {"x": x}, **attributes)
    check_gradient(model, {"x": x})

"""Conv and ConvTranspose over the grid of their attributes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from autodiff.rules.grids import thinned
from onnx import parser

from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.autodiff.rules import LOW_MEMORY, STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.errors import GradientError
from onnxplain.model.graph_index import attributes
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, gradients, normal, single_node
from tools.gradcheck.reference import onnxruntime_function

SIZES, KERNEL, PADS = [9, 8, 7], [3, 2, 1], [1, 0, 0, 2, 1, 0]
CHANNELS = {
    "one group": (1, 2, 3),
    "groups": (2, 4, 6),
    "depthwise": (3, 3, 3),
    "times 2": (2, 2, 4),
}


def pads_of(rank: int) -> list[int]:
    return PADS[:rank] + PADS[3 : 3 + rank]


def grid() -> list[tuple[Any, ...]]:
    """(rank, channels, dynamic, attributes)."""
    padding: list[dict[str, Any]] = [{"pads": None}, {"pads": "asymmetric"}]
    padding += [{"auto_pad": name} for name in ("SAME_UPPER", "SAME_LOWER", "VALID")]
    cases = []
    axes = product((1, 2, 3), CHANNELS, (False, True), (1, 2, 3), (1, 2), padding)
    for rank, channels, dynamic, stride, dilation, pad in axes:
        if dilation > 1 and pad.get("auto_pad", "").startswith("SAME"):
            continue
        form = {"auto_pad": pad["auto_pad"]} if "auto_pad" in pad else {}
        if pad.get("pads"):
            form["pads"] = pads_of(rank)
        # The first axis differs from the others.
        form["strides"] = [stride, *[max(stride - 1, 1)] * (rank - 1)]
        form["dilations"] = [1] * (rank - 1) + [dilation]
        cases.append((rank, channels, dynamic, form))
    return cases


def feeds_of(op: str, rank: int, channels: str) -> dict[str, Array]:
    group, c, m = CHANNELS[channels]
    narrow, wide = (m, c) if op == "Conv" else (c, m)
    sizes = SIZES[:rank] if op == "Conv" else [4, 3, 3][:rank]
    return {
        "x": normal(2, c, *sizes),
        "w": normal(narrow, wide // group, *KERNEL[:rank], seed=1),
        "b": normal(m, seed=2),
    }


@pytest.mark.parametrize(("rank", "channels", "dynamic", "form"), thinned(grid(), 11))
def test_conv(rank: int, channels: str, dynamic: bool, form: dict[str, Any]) -> None:
    feeds = feeds_of("Conv", rank, channels)
    form = {"kernel_shape": KERNEL[:rank], "group": CHANNELS[channels][0], **form}
    check_gradient(single_node("Conv", feeds, dynamic=dynamic, **form), feeds, rtol=1e-4)


@pytest.mark.parametrize(("rank", "channels", "dynamic", "form"), thinned(grid(), 11))
@pytest.mark.parametrize("more", ["", "output_padding", "output_shape"])
def test_conv_transpose(
    rank: int, channels: str, dynamic: bool, form: dict[str, Any], more: str
) -> None:
    feeds = feeds_of("ConvTranspose", rank, channels)
    form = {"kernel_shape": KERNEL[:rank], "group": CHANNELS[channels][0], **form}
    if more == "output_padding":
        form[more] = [stride - 1 for stride in form["strides"]]
    if more == "output_shape":  # one less than all, so that there is padding to distribute
        spans = [(k - 1) * d for k, d in zip(form["kernel_shape"], form["dilations"], strict=True)]
        rows = zip(feeds["x"].shape[2:], form["strides"], spans, strict=True)
        form[more] = [max((n - 1) * stride + span, n) for n, stride, span in rows]
        form.pop("pads", None)
    check_gradient(single_node("ConvTranspose", feeds, dynamic=dynamic, **form), feeds, rtol=1e-4)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("strides", [[1, 1], [2, 3]])
def test_conv_with_padding_wider_than_its_kernel(strides: list[int], dynamic: bool) -> None:
    feeds = {"x": normal(1, 2, 5, 6), "w": normal(3, 2, 1, 2)}
    form = {"pads": [1, 0, 2, 3], "strides": strides, "kernel_shape": [1, 2]}
    check_gradient(single_node("Conv", feeds, dynamic=dynamic, **form), feeds, rtol=1e-4)


@pytest.mark.parametrize("channels", CHANNELS)
def test_own_weights_give_the_same_gradient_without_a_turned_copy(channels: str) -> None:
    feeds = feeds_of("Conv", 2, channels)
    form = {"pads": [1, 0, 1, 0], "group": CHANNELS[channels][0]}
    model = load(single_node("Conv", feeds, constants=["w", "b"], **form))
    spared = differentiate(model, "y0", ["x"], rules=LOW_MEMORY).proto
    assert [node.op_type for node in spared.graph.node] == ["ConvTranspose", "Identity"]
    seed = normal(2, CHANNELS[channels][2], 9, 7, seed=3)
    (found,) = onnxruntime_function(spared)({SEED: seed})
    expected = gradients(model, {"x": feeds["x"]}, {"y0": seed}, ["x"])["x"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", [7, 8])
def test_same_padding_with_strides_and_sizes_of_which_only_one_is_known(size: int) -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[N,2,H,8] x, float[3,2,3,4] w) => (float[N,3,P,Q] y) {
            y = Conv <auto_pad = "SAME_UPPER", strides = [2, 3]> (x, w)
        }""")
    check_gradient(model, {"x": normal(2, 2, size, 8), "w": normal(3, 2, 3, 4)}, rtol=1e-4)


@pytest.mark.parametrize("rules", [STANDARD, LOW_MEMORY], ids=["fast", "low memory"])
@pytest.mark.parametrize("form", [{"auto_pad": "SAME_UPPER"}, {"pads": [0, 1, 2, 1]}], ids=str)
@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
def test_transposed_convolutions_are_padded_as_cuda_takes_them(
    strides: list[int], form: dict[str, Any], rules: Rules
) -> None:
    """It has no kernel if the padding before an axis differs from the padding after it."""
    feeds = {"x": normal(1, 2, 8, 8), "w": normal(3, 2, 3, 3)}
    model = load(single_node("Conv", feeds, strides=strides, **form))
    made = differentiate(model, "y0", ["x"], rules=rules).proto.graph.node
    for node in made:
        if node.op_type == "ConvTranspose":
            pads = attributes(node).get("pads", [])
            assert pads[: len(pads) // 2] == pads[len(pads) // 2 :]


def test_weights_computed_in_the_graph_take_gradients_too() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[N,2,H,W] x, float[3,2,3,3] w) => (float[N,3,P,Q] y) {
            normed = Tanh(w)  y = Conv <strides = [2, 1], pads = [0, 1, 1, 0]> (x, normed)
        }""")
    check_gradient(model, {"x": normal(2, 2, 6, 5), "w": normal(3, 2, 3, 3)})


def test_auto_pad_with_dilations_is_refused() -> None:
    feeds = {"x": normal(1, 1, 7), "w": normal(1, 1, 3)}
    model = load(single_node("Conv", feeds, auto_pad="SAME_UPPER", dilations=[2]))
    with pytest.raises(GradientError, match=r"the_Conv.*auto_pad and dilations.*`pads`"):
        differentiate(model, "y0", ["x"])


def test_weights_of_unknown_shape_are_refused() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[N,2,W] x, float[3,2,K] w) => (float[N,3,P] y) { y = Conv(x, w) }""")
    model.graph.node[0].name = "the_Conv"
    with pytest.raises(GradientError, match=r"the_Conv.*kernel_shape"):
        differentiate(load(model), "y", ["x"])

"""Small networks at every opset that ONNX Runtime loads: the maps that the formulas give."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose
from references import gradcam, layer, perturbation
from tiny import Array, noise, tiny

from onnxplain import Explainer
from onnxplain.errors import ModelError
from tools.cases import nets
from tools.cases.models import Case
from tools.cases.onnx_calls import load
from tools.gradcheck.reference import float64_function, slope

X = noise(1, 3, 20, 26)
TARGET = 2
METHODS: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 7, "stride": 5, "fill": "zeros"},
    "rise": {"samples": 20, "baseline": "zeros"},
    "scorecam": {"baseline": "zeros"},
    "ablationcam": {},
    "reciprocam": {},
    "cam": {},
    "eigencam": {},
    "gradcam": {"relu": False},
    "hirescam": {},
    "layercam": {},
}
NEWEST = {"1.31": 26}
"""The newest opset of a version of ONNX Runtime, where that is known."""


@pytest.fixture(scope="module")
def expected() -> dict[str, Array]:
    """From the formulas, and from the outputs of plain ONNX Runtime for net R."""
    model = load(nets.net_r())
    case = Case(model, Explainer(model), X, TARGET, "x", "y")
    a, weights = case.run("relu2")[0], case.weights("rows")[TARGET]
    # The mean over the grid, and then a row of weights: the same gradient in every cell.
    g = np.broadcast_to((weights / a[0].size)[:, None, None], a.shape)
    zeros, probability = np.zeros_like(X), case.score("probability")
    masks = perturbation.seeded_rise_masks(20, grid=7, keep=0.5, seed=0, size=(20, 26))
    eigencam = layer.eigencam(a)
    return {
        "occlusion": perturbation.occlusion(X, case.score(), (3, 7, 7), (3, 5, 5), zeros)[0],
        "rise": np.broadcast_to(perturbation.rise(X, zeros, probability, masks, 0.5), X.shape[1:]),
        "scorecam": perturbation.scorecam(a, X, zeros, probability),
        "ablationcam": layer.ablationcam(a, case.score(at="relu2")),
        "reciprocam": layer.reciprocam(a, case.score(at="relu2")),
        "cam": layer.cam(a, weights),
        "eigencam": np.sign(eigencam.sum()) * eigencam,
        "gradcam": gradcam.gradcam(a, g),
        "hirescam": gradcam.hirescam(a, g),
        "layercam": gradcam.layercam(a, g),
    }


def net_r_of_changing_operators(opset: int) -> onnx.ModelProto:
    """Net R, which ends in operators that have different forms in different opsets.

    ReduceMean takes its axes as an attribute, from opset 18 on as an input; Squeeze from 13 on.
    Softmax runs over all axes from `axis` on, from opset 13 on over that axis alone.
    """
    mean = "(relu2, grid)" if opset >= 18 else "<axes=[2,3]>(relu2)"
    squeeze = "(mean, grid)" if opset >= 13 else "<axes=[2,3]>(mean)"
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in nets.net_r().graph.initializer}
    if opset >= 13:
        weights["grid"] = np.array([2, 3], np.int64)
    body = f"""
        conv1 = Conv<strides=[2,2], pads=[1,1,1,1]>(x, kernel1, bias1)  relu1 = Relu(conv1)
        conv2 = Conv<strides=[2,2], pads=[1,1,1,1]>(relu1, kernel2, bias2)  relu2 = Relu(conv2)
        mean = ReduceMean{mean}  flat = Squeeze{squeeze}
        logits = Gemm<transB=1>(flat, rows, bias3)  y = Softmax<axis=1>(logits)"""
    return tiny(body, "float[N,3,20,26] x", "float[N,5] y", opset=opset, **weights)


@pytest.mark.parametrize("opset", range(7, 27))
@pytest.mark.parametrize("net", [nets.net_r, net_r_of_changing_operators])
def test_maps_are_what_the_formulas_give_at_every_opset(
    net: Any, opset: int, expected: dict[str, Array]
) -> None:
    explainer = Explainer(net(opset), provider="cpu")
    try:
        explainer.attribute(X, "cam", TARGET)
    except ModelError as error:
        version = ".".join(onnxruntime.__version__.split(".")[:2])
        assert opset > NEWEST.get(version, 20), error
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} loads no opset {opset}")
    for method, options in METHODS.items():
        found = explainer.attribute(X, method, TARGET, **options).values[0]
        largest = np.abs(expected[method]).max()
        assert np.ptp(expected[method]) > 1e-3 * largest
        assert_allclose(found, expected[method], rtol=0, atol=2e-5 * largest, err_msg=method)
    gradient = explainer.attribute(X, "gradient", TARGET).values
    direction = np.random.default_rng(1).normal(size=X.shape)
    seed = np.eye(5)[TARGET][None]
    change = slope(float64_function(nets.net_r()), {"x": X}, "x", direction, [seed], 1e-6)
    assert_allclose((gradient * direction).sum(), change, rtol=1e-4)


@pytest.mark.parametrize("opset", [1, 6, 99])
def test_an_opset_that_onnx_runtime_lacks(opset: int) -> None:
    model = nets.net_r(13)
    model.opset_import[0].version = opset
    with pytest.raises(ModelError, match=r"refuses the model: .*"):
        Explainer(model, provider="cpu").attribute(X, "occlusion", window=7, fill="zeros")

"""Guided backpropagation and the deconvnet, with every rectifier computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny

from onnxplain import Explainer
from onnxplain.errors import GradientError
from tools.cases import nets

GUIDED, DECONVNET = "guided_backprop", "deconvnet"

# y = Σ w · rectified(x), where w has both signs on both sides of the threshold; 7 is above the 6
# of ReLU6. Positive w pass: in guided if the unit is active, in deconvnet everywhere.
X = np.array([[-2, -1, 0, 0.5, 3, 7]], np.float32)
W = np.array([[5], [-5], [2], [-3], [4], [6]], np.float32)
EVERYWHERE = [5, 0, 2, 0, 4, 6]
ACTIVE = [0, 0, 0, 0, 4, 6]
RECTIFIERS = {
    "r = Relu(x)": ACTIVE,
    "r = Clip(x, ZERO, SIX)": [0, 0, 0, 0, 4, 0],
    "r = Clip(x, ZERO)": ACTIVE,
    "r = Max(ZERO, x)": ACTIVE,
    "m = Max(x, ZERO)  r = Min(m, SIX)": [0, 0, 0, 0, 4, 0],
    "r = LeakyRelu<alpha=0.5>(x)": ACTIVE,
    "r = PRelu(x, SLOPE)": ACTIVE,
    "r = ThresholdedRelu<alpha=1.0>(x)": ACTIVE,
}
CONSTANTS = {
    "ZERO": np.float32(0),
    "SIX": np.float32(6),
    "BELOW": np.float32(-1.5),
    "SLOPE": np.full(6, 0.5, np.float32),
    "WEIGHTS": W,
}


def explained(nodes: str, method: str) -> list[float]:
    used = {name: value for name, value in CONSTANTS.items() if name in nodes}
    proto = tiny(nodes, "float[N,6] x", "float[N,1] y", **used)
    return Explainer(proto).attribute(X, method, 0).values.ravel().tolist()


@pytest.mark.parametrize("rectifier", RECTIFIERS)
def test_guided_backprop_passes_what_is_positive_where_the_unit_is_active(rectifier: str) -> None:
    assert explained(f"{rectifier}  y = MatMul(r, WEIGHTS)", GUIDED) == RECTIFIERS[rectifier]


@pytest.mark.parametrize("rectifier", RECTIFIERS)
def test_deconvnet_passes_what_is_positive(rectifier: str) -> None:
    expected = list(EVERYWHERE)
    if "SIX" in rectifier:  # the upper limit is no rectifier: it keeps its derivative
        expected[-1] = 0
    assert explained(f"{rectifier}  y = MatMul(r, WEIGHTS)", DECONVNET) == expected


@pytest.mark.parametrize(
    ("method", "expected"), [(GUIDED, [0, 0, 2, 0, 4, 0]), (DECONVNET, [5, 0, 2, 0, 4, 0])]
)
@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_a_relu_that_was_merged_into_a_quantizer(
    kind: str, method: str, expected: list[float]
) -> None:
    """Its range begins at 0, which counts as inside, and ends at 255/64: 7 is outside."""
    nodes = "a = Add(x, ZERO)  q = QuantizeLinear(a, SCALE, LEAST)  "
    nodes += "r = DequantizeLinear(q, SCALE, LEAST)  y = MatMul(r, WEIGHTS)"
    scales = {"SCALE": np.float32(1 / 64), "LEAST": np.array(np.iinfo(kind).min, kind)}
    used = {"ZERO": CONSTANTS["ZERO"], "WEIGHTS": W, **scales}
    proto = tiny(nodes, "float[N,6] x", "float[N,1] y", **used)
    assert Explainer(proto).attribute(X, method, 0).values.ravel().tolist() == expected


def test_a_quantizer_that_represents_both_signs_is_no_rectifier() -> None:
    nodes = "a = Add(x, ZERO)  q = QuantizeLinear(a, SCALE, MIDDLE)  "
    nodes += "r = DequantizeLinear(q, SCALE, MIDDLE)  y = MatMul(r, WEIGHTS)"
    scales = {"SCALE": np.float32(1 / 8), "MIDDLE": np.array(128, np.uint8)}
    used = {"ZERO": CONSTANTS["ZERO"], "WEIGHTS": W, **scales}
    proto = tiny(nodes, "float[N,6] x", "float[N,1] y", **used)
    with pytest.raises(GradientError, match=r"no rectifier"):
        Explainer(proto).attribute(X, GUIDED, 0)


def test_a_clip_from_elsewhere_keeps_its_derivative() -> None:
    nodes = "c = Clip(x, BELOW, SIX)  r = Relu(c)  y = MatMul(r, WEIGHTS)"
    assert explained(nodes, DECONVNET) == [0, 0, 2, 0, 4, 0]


# Net T: from each output 1 for the five first cells of the layer, -1 for the others, in order
# relu1 (0, 4, 31, 40), relu2 (0, 0, 6, 15). -1 does not pass, so the second channel gives only
# its first cell, which is not active: guided gets the windows of cells 2 to 4 of the first
# channel, deconvnet those of all four and of the first cell again.
def windows(weights: list[list[float]]) -> np.ndarray:
    found = np.zeros((4, 4))
    for (row, column), weight in np.ndenumerate(np.array(weights)):
        found[row : row + 3, column : column + 3] += weight
    return found


@pytest.mark.parametrize(
    ("method", "weights"), [(GUIDED, [[0, 1], [1, 1]]), (DECONVNET, [[2, 1], [1, 1]])]
)
def test_on_net_t(method: str, weights: list[list[float]]) -> None:
    found = Explainer(nets.net_t()).attribute(nets.NET_T_INPUT, method, 2)
    np.testing.assert_allclose(found.values[0, 0], windows(weights), rtol=1e-6)


@pytest.mark.parametrize("method", [GUIDED, DECONVNET])
def test_a_net_without_rectifiers_is_refused(method: str) -> None:
    with pytest.raises(GradientError, match=r"no rectifier.*smoothgrad"):
        explained("r = HardSwish(x)  y = MatMul(r, WEIGHTS)", method)

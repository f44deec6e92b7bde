"""Rules of activations and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxplain.errors import GradientError
from tools.gradcheck import check_gradient, distinct, gradients, normal, single_node

# Steps of 0.3 from -5.85 to 5.85, none of them at a kink.
BOTH_SIDES = distinct(4, 10, step=0.3) + np.float32(0.02)

CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("Celu", 18, {}),
    ("Celu", 18, {"alpha": 2.0}),
    ("Elu", 18, {}),
    ("Elu", 22, {"alpha": 2.0}),
    ("Gelu", 20, {}),
    ("Gelu", 20, {"approximate": "tanh"}),
    ("HardSigmoid", 18, {}),
    ("HardSigmoid", 22, {"alpha": 0.5, "beta": 0.6}),
    ("HardSwish", 18, {}),
    ("HardSwish", 22, {}),
    ("LeakyRelu", 18, {}),
    ("LeakyRelu", 18, {"alpha": 0.3}),
    ("LogSoftmax", 18, {}),
    ("LogSoftmax", 18, {"axis": 0}),
    ("Mish", 18, {}),
    ("Mish", 22, {}),
    ("Relu", 18, {}),
    ("Selu", 18, {}),
    ("Selu", 22, {"alpha": 2.0, "gamma": 3.0}),
    ("Shrink", 18, {}),
    ("Shrink", 18, {"lambd": 1.5, "bias": 1.5}),
    ("Sigmoid", 18, {}),
    ("Softmax", 18, {}),
    ("Softmax", 18, {"axis": 0}),
    ("Softplus", 18, {}),
    ("Softplus", 22, {}),
    ("Softsign", 18, {}),
    ("Swish", 24, {}),
    ("Swish", 24, {"alpha": 1.7}),
    ("ThresholdedRelu", 18, {}),
    ("ThresholdedRelu", 22, {"alpha": 2.0}),
]


@pytest.mark.parametrize(("op", "opset", "attributes"), CASES, ids=str)
def test_activation(op: str, opset: int, attributes: dict[str, Any]) -> None:
    model = single_node(op, {"x": BOTH_SIDES}, opset=opset, dynamic=True, **attributes)
    check_gradient(model, {"x": BOTH_SIDES})


@pytest.mark.parametrize("axis", [-2, 0, 1, 2])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_over_any_axis(op: str, axis: int) -> None:
    x = normal(2, 3, 4)
    check_gradient(single_node(op, {"x": x}, axis=axis), {"x": x})


@pytest.mark.parametrize("slope", [(4, 10), (10,), (1,), (4, 1), ()], ids=str)
@pytest.mark.parametrize("dynamic", [False, True])
def test_prelu(slope: tuple[int, ...], dynamic: bool) -> None:
    feeds = {"x": BOTH_SIDES, "slope": normal(*slope)}
    check_gradient(single_node("PRelu", feeds, dynamic=dynamic), feeds)


@pytest.mark.parametrize(
    ("op", "attributes", "at", "expected"),
    [
        ("Relu", {}, 0.0, 0.0),
        ("LeakyRelu", {"alpha": 0.25}, 0.0, 0.25),
        ("Elu", {"alpha": 2.0}, 0.0, 2.0),
        ("Celu", {"alpha": 2.0}, 0.0, 1.0),
        ("HardSwish", {}, 3.0, 1.0),
        ("HardSwish", {}, -3.0, 0.0),
        ("HardSigmoid", {"alpha": 0.25, "beta": 0.5}, -2.0, 0.0),
        ("HardSigmoid", {"alpha": 0.25, "beta": 0.5}, 2.0, 0.0),
        ("ThresholdedRelu", {}, 1.0, 0.0),
        ("Shrink", {}, 0.5, 0.0),
        ("Mish", {}, 0.0, 0.6),
        ("Swish", {"alpha": 3.0}, 0.0, 0.5),
        # Nothing overflows at large values.
        ("Gelu", {}, 1e20, 1.0),
        ("Gelu", {"approximate": "tanh"}, -1e5, 0.0),
        ("Mish", {}, 100.0, 1.0),
        ("Mish", {}, -100.0, 0.0),
        ("Swish", {}, -1e4, 0.0),
        ("Elu", {}, 1e4, 1.0),
    ],
    ids=str,
)
def test_slope_at_a_point(op: str, attributes: dict[str, Any], at: float, expected: float) -> None:
    """At kinks the same as in torch."""
    feeds = {"x": np.array([at], np.float32)}
    model = single_node(op, feeds, opset=24, **attributes)
    found = gradients(model, feeds, {"y0": np.ones(1, np.float32)}, ["x"])
    np.testing.assert_allclose(found["x"], [expected], rtol=1e-6)


def test_hardmax_cuts_the_score_off() -> None:
    feeds = {"x": BOTH_SIDES}
    with pytest.raises(GradientError, match=r"cut off .* Hardmax"):
        gradients(single_node("Hardmax", feeds), feeds, {"y0": BOTH_SIDES}, ["x"])

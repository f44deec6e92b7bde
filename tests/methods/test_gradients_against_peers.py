"""Our gradients, at and around a sample, equal those of captum, pytorch-grad-cam and saliency.

`python -m tools.parity` prints the deviations that are limited here.
"""

import functools
import importlib.util
from typing import Any

import numpy as np
import onnx
import pytest

from onnxplain import Explainer

torch = pytest.importorskip("torch")
from tools.parity.gradients import (  # noqa: E402
    CLASSES,
    GradientRow,
    both_sides,
    gradient_rows,
)
from tools.peers.exports import exported, with_batch_norms  # noqa: E402
from tools.peers.gradcam import fullgrad  # noqa: E402

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:Input Tensor"),  # captum enables gradients itself
]

EXACT = ("gradient", "input_x_gradient")
METHODS = {
    *EXACT,
    "fullgrad",
    *("smoothgrad", "smoothgrad_squared", "vargrad", "expected_gradients"),
    *(f"integrated_gradients, riemann-{name}" for name in ("left", "right", "middle", "trapezoid")),
    "integrated_gradients, gauss-legendre",
}
if importlib.util.find_spec("saliency") is not None:
    METHODS |= {"guided_ig", "blur_ig"}


def measured(model: str, index: int) -> dict[str, GradientRow]:
    torch.set_num_threads(1)
    found = {row.method: row for row in gradient_rows(model, index)}
    assert set(found) == METHODS
    for row in found.values():
        assert np.ptp(row.theirs) > 1e-2 * np.abs(row.theirs).max(), "the case shows nothing"
    return found


@pytest.mark.parametrize("index", CLASSES["net_r"])
@pytest.mark.parametrize("model", ["net_r", "vit"])
def test_same_values_where_no_kink_is_near(model: str, index: int) -> None:
    """A small net, and a transformer, which has no kinks at all."""
    for name, row in measured(model, index).items():
        # saliency's derivative of the blur is a difference; values at the blurred end are small.
        assert row.deviation < (1e-3 if name == "blur_ig" else 5e-6), name


@pytest.mark.parametrize(
    "model",
    [
        "resnet18",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("squeezenet", "efficientnet")),
    ],
)
def test_same_values_but_for_kinks(model: str) -> None:
    """A Relu that rounding switches changes a neighborhood; guided_ig then takes another path."""
    for name, row in measured(model, CLASSES[model][0]).items():
        if name in EXACT:
            assert row.deviation < 5e-6, name
        elif name != "guided_ig":
            assert row.deviation < 0.05, name
            assert row.mean_deviation < 2e-2, name


@pytest.mark.parametrize("index", [0, 3])
def test_fullgrad_where_batch_normalizations_are_kept(index: int) -> None:
    net = with_batch_norms()
    assert "BatchNormalization" in {node.op_type for node in net.model.graph.node}
    explainer = Explainer(net.model, preprocess={"layout": "NCHW"}, provider="cpu")
    found = explainer.attribute(net.x, "fullgrad", index).values[0]
    expected = fullgrad(net.module, net.x, index)
    assert np.ptp(expected) > 0.1 * expected.max(), "the case shows nothing"
    assert np.abs(found - expected).max() < 2e-6 * expected.max()


@pytest.mark.parametrize("name", ["resnet18", "vit"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("smoothgrad", {"samples": 3}),
        ("integrated_gradients", {"steps": 4}),
        ("blur_ig", {"steps": 4}),
    ],
)
def test_implementation_invariance_of_two_exporters(
    name: str, method: str, options: dict[str, Any]
) -> None:
    """The values depend on the function, not on the operators that torch writes it with."""
    case, _ = both_sides(name)
    other = Explainer(_by_the_other_exporter(name), preprocess=case.explainer.preprocess)
    operators = [
        {node.op_type for node in e.model.proto.graph.node} for e in (case.explainer, other)
    ]
    assert operators[0] != operators[1], "the case shows nothing"
    expected = case.attribute(method, **options)
    found = other.attribute(case.x, method, case.index, **options).values[0]
    tolerance = 1e-5 if name == "vit" else 2e-2  # for rectifiers that rounding switches
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


@functools.cache
def _by_the_other_exporter(name: str) -> onnx.ModelProto:
    net = exported(name)
    program = torch.onnx.export(net.module, (torch.from_numpy(net.x),), dynamo=True, verbose=False)
    return program.model_proto

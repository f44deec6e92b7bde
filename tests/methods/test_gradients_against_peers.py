"""Our gradients, at and around a sample, are those of captum and of PAIR's saliency.

`tools/parity.py` prints the deviations that are bounded here.
"""

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from methods.gradient_parity import CLASSES, GradientRow, gradient_rows  # noqa: E402

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:Input Tensor"),  # captum asks for gradients by itself
]

EXACT = ("gradient", "input_x_gradient")
METHODS = {
    *EXACT,
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
def test_same_values_where_no_kink_is_near(index: int) -> None:
    for name, row in measured("net_r", index).items():
        # saliency's derivative of the blur is a difference.
        assert row.deviation < (1e-3 if name == "blur_ig" else 5e-6), name


@pytest.mark.parametrize(
    "model", ["squeezenet", pytest.param("efficientnet", marks=pytest.mark.slow)]
)
def test_same_values_but_for_kinks(model: str) -> None:
    """A Relu that rounding turns changes a neighbourhood; guided_ig then takes another path."""
    for name, row in measured(model, CLASSES[model][0]).items():
        if name in EXACT:
            assert row.deviation < 5e-6, name
        elif name != "guided_ig":
            assert row.deviation < 0.05, name
            assert row.mean_deviation < 5e-3, name

"""Our methods with other rules equal captum's and zennit's, on the same weights, class by class.

`python -m tools.parity` prints the deviations that are limited here.
"""

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("zennit") is None:
    pytest.skip("zennit is not installed", allow_module_level=True)
from tools.parity.propagation import CLASSES, COMPOSITES, export_rows, rows  # noqa: E402

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # captum warns about the hooks that it sets
]

METHODS = {
    *("guided_backprop", "deconvnet", "deeplift", "lrp, epsilon by captum"),
    *(f"lrp, {name}" for name in COMPOSITES),
}
CASES = [
    *(pytest.param("net_r", index, 5e-6) for index in CLASSES["net_r"]),
    pytest.param("squeezenet", CLASSES["squeezenet"][0], 1e-4, marks=pytest.mark.slow),
    # Where the terms of a sum nearly cancel, relevance is divided by rounding errors.
    pytest.param("efficientnet", CLASSES["efficientnet"][0], 2e-3, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("model", "index", "tolerance"), CASES)
def test_same_values(model: str, index: int, tolerance: float) -> None:
    found = {row.method: row for row in rows(model, index)}
    assert set(found) == METHODS - (
        {"lrp, epsilon by captum"} if model == "efficientnet" else set()
    )
    for name, row in found.items():
        assert np.ptp(row.theirs) > 1e-2 * np.abs(row.theirs).max(), "the case shows nothing"
        assert row.deviation < tolerance, name


@pytest.mark.parametrize(
    ("index", "composites"),
    [(3, ["epsilon", "epsilon_plus_flat"]), pytest.param(0, COMPOSITES, marks=pytest.mark.slow)],
)
def test_same_values_on_an_export(index: int, composites: list[str]) -> None:
    """A ResNet: the exporter merged its normalizations, and zennit merges them in the module."""
    found = {row.method: row for row in export_rows(index, composites)}
    assert {name for name in found if "lrp" in name} == {f"lrp, {name}" for name in composites}
    assert {"guided_backprop", "deconvnet", "deeplift"} < set(found)
    for name, row in found.items():
        assert np.ptp(row.theirs) > 1e-2 * np.abs(row.theirs).max(), "the case shows nothing"
        assert row.deviation < (1e-3 if name == "lrp, epsilon" else 2e-5), name

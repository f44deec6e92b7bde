"""Ours and the torch libraries' maps are the same, on the same weights and pictures.

`tools/parity.py` prints the deviations that are bounded here.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from methods.parity import FEW_CHANNELS, Row, rows  # noqa: E402  (it imports torch)

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module", params=FEW_CHANNELS)
def measured(request: pytest.FixtureRequest) -> dict[tuple[str, str], Row]:
    torch.set_num_threads(1)
    found = rows(request.param, FEW_CHANNELS[request.param])
    return {(row.method, row.peer): row for row in found}


@pytest.mark.parametrize(
    ("method", "peer"),
    [
        ("scorecam", "pytorch-grad-cam"),
        ("scorecam", "torch-cam"),
        ("ablationcam", "pytorch-grad-cam"),
        ("eigencam", "pytorch-grad-cam"),
        ("occlusion", "captum"),
    ],
)
def test_same_map(measured: dict[tuple[str, str], Row], method: str, peer: str) -> None:
    row = measured[method, peer]
    assert np.ptp(row.theirs) > 1e-2 * np.abs(row.theirs).max(), "the case shows nothing"
    assert row.deviation < 1e-5

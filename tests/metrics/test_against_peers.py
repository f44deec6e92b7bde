"""Metrics equal those of other libraries on the same model, map and random copies.

`python -m tools.parity` prints the deviations that are limited here.
"""

import importlib.util

import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("quantus") is None:  # which must not be imported before the shim
    pytest.skip("needs quantus", allow_module_level=True)
from tools.parity.metrics import information_rows, rows  # noqa: E402  (it imports both)

pytestmark = pytest.mark.peers

LIMIT = 2e-5


def test_metrics_of_a_small_network() -> None:
    torch.set_num_threads(1)
    compared = set()
    for row in rows("net_r"):
        assert row.deviation < LIMIT, (row.method, row.peer, row.ours, row.theirs)
        compared.add((row.method.split(",")[0], row.peer))
    assert len(compared) == 17


@pytest.mark.slow
def test_information_curves() -> None:
    """The peer rounds interpolated pixels to whole numbers, and Pillow compresses otherwise."""
    pytest.importorskip("saliency")
    (row,) = information_rows("squeezenet")
    assert row.deviation < 0.02

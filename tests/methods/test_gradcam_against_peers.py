"""Grad-CAM and similar methods equal those of the torch libraries, on the same weights, by class.

`python -m tools.parity` prints the deviations that are limited here.
"""

from collections.abc import Iterable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from tools.cases.models import CASES  # noqa: E402  (what follows imports torch)
from tools.parity.gradcam import (  # noqa: E402
    SMOOTHED,
    export_rows,
    rows,
    smoothed_rows,
    smoothed_rows_of_shipped,
)
from tools.parity.maps import DEFAULT_LAYER, FEW_CHANNELS, Row, Sides  # noqa: E402
from tools.peers.exports import NETS  # noqa: E402

pytestmark = pytest.mark.peers

LIMIT = 4e-5
"""Rounding differs between processors: XGrad-CAM divides by sums, which nearly cancel in the small
transformer. On a processor with only AVX2 the difference is 2.8e-5."""

# If activations are negative, alpha of Grad-CAM++ has poles: rounding alone changes its map.
LAYERS = [
    ("efficientnet", DEFAULT_LAYER["efficientnet"]),
    ("squeezenet", FEW_CHANNELS["squeezenet"]),
]


def check(measured: Iterable[Row]) -> set[str]:
    compared = set()
    for row in measured:
        assert np.ptp(row.theirs) > 1e-2 * np.abs(row.theirs).max(), "the case shows nothing"
        assert row.deviation < LIMIT, (row.method, row.peer)
        compared.add(row.method)
    return compared


@pytest.mark.parametrize(("model", "layer"), LAYERS)
@pytest.mark.parametrize("index", [5, 967])
def test_shipped_models(model: str, layer: str, index: int) -> None:
    torch.set_num_threads(1)
    compared = check(rows(Sides.of(CASES[model](), layer), index))
    assert len(compared) == (7 if model == "squeezenet" else 6)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("index", [0, 7])
def test_exports(net: str, index: int) -> None:
    torch.set_num_threads(1)
    assert len(check(export_rows(net, index))) == 7


SMOOTH_ROWS = {f"{method}, {how}" for method in SMOOTHED for how in ("aug", "eigen")}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["efficientnet", "squeezenet"])
def test_smoothed_maps_of_shipped_models(model: str) -> None:
    torch.set_num_threads(1)
    sides = Sides.of(CASES[model](), DEFAULT_LAYER[model])
    assert check(smoothed_rows_of_shipped(sides, 5)) == SMOOTH_ROWS


@pytest.mark.parametrize(
    "net", ["vit", *(pytest.param(net, marks=pytest.mark.slow) for net in NETS if net != "vit")]
)
def test_smoothed_maps_of_exports(net: str) -> None:
    torch.set_num_threads(1)
    assert check(smoothed_rows(net, 7)) == SMOOTH_ROWS

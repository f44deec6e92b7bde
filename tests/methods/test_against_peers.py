"""Our maps and those of the torch libraries are the same, on the same weights and pictures.

`python -m tools.parity` prints the deviations that are limited here.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from tools.cases.models import CASES  # noqa: E402  (what follows imports torch)
from tools.parity import maps  # noqa: E402
from tools.parity.maps import FEW_CHANNELS, Row, Sides  # noqa: E402

pytestmark = pytest.mark.peers

EXPORTS = ("resnet18", "vit", "swin")
SLOW = {
    *(("efficientnet", one) for one in (maps.eigencam, maps.of_superpixels)),
    *(("resnet18", one) for one in (maps.scorecam, maps.ablationcam, maps.of_superpixels)),
    *(("swin", one) for one in maps.COMPARISONS),
}
"""Hundreds of forwards of a larger model, or the SVD of a large grid."""
REFUSED = {("efficientnet", maps.kpcacam)}
"""The layer has too many cells."""
COMPARED = [
    pytest.param(model, one, marks=[pytest.mark.slow] if (model, one) in SLOW else [])
    for model in (*FEW_CHANNELS, *EXPORTS)
    for one in maps.COMPARISONS
    if (model, one) not in REFUSED
]


def sides_of(model: str) -> list[Sides]:
    """The top class of a shipped model; two classes of an export, at the layer of `auto`."""
    if model in EXPORTS:
        return [Sides.of_export(model, index) for index in (3, 0)]
    return [Sides.of(CASES[model](), FEW_CHANNELS[model])]


@pytest.mark.parametrize(("model", "compare"), COMPARED)
def test_same_map(model: str, compare: Callable[[Sides], Iterator[Row]]) -> None:
    torch.set_num_threads(1)
    # The ResNet's scores are small differences of large sums. So are the losses of the ViT's score
    # without a channel that only its last block reads.
    loose = model == "resnet18" or (model, compare) == ("vit", maps.ablationcam)
    tolerance = 1e-4 if loose else 1e-5
    found = [row for sides in sides_of(model) for row in compare(sides)]
    assert found
    for row in found:
        assert np.ptp(row.theirs) > 1e-2 * np.abs(row.theirs).max(), "the case shows nothing"
        assert row.deviation < tolerance, (row.method, row.peer)

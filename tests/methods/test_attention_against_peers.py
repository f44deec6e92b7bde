"""Our LRP of a transformer equals LXT's, with both rules of attention."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lxt.explicit.functional")
from tools.parity.attention import CLASSES, rows

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("index", CLASSES)
def test_same_values(index: int) -> None:
    found = list(rows(index))
    assert [row.method for row in found] == ["lrp, attnlrp", "lrp, cp"]
    for row in found:
        assert np.ptp(row.theirs) > 1e-2 * np.abs(row.theirs).max(), "the case shows nothing"
        assert row.deviation < 1e-3, row.method

"""Maps as float16, with a scale for each."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from onnxplain.jobs.maps import scaled

HALF = 2.0**-11
"""Half of the distance between 1 and the next number of float16."""


@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e-3, 1.0, 65504.0, 1e9, 3e38])
def test_no_map_is_too_large_or_too_small(size: float) -> None:
    values = (np.random.default_rng(0).uniform(-1, 1, (7, 7)) * size).astype(np.float32)
    half, scale = scaled(values)
    assert half.dtype == np.float16
    assert np.isfinite(half).all()
    again = half.astype(np.float32) * scale
    assert_allclose(again, values, rtol=HALF, atol=2.0**-25 * float(np.abs(values).max()))


def test_values_that_float16_holds_stay_as_they_are() -> None:
    values = np.array([[0, 1], [-0.5, 2048]], np.float32)
    half, scale = scaled(values)
    assert_array_equal(half.astype(np.float32) * scale, values)
    assert scaled(np.zeros((2, 2), np.float32))[1] == 1

"""The reference in float64 that gradients are compared with."""

import math

import numpy as np
from tiny import noise, tiny

from tools.gradcheck.reference import float64_function


def test_erf_is_not_rounded() -> None:
    x = noise(2, 3).astype(np.float64)
    (found,) = float64_function(tiny("y = Erf(x)", "float[N,3] x"))({"x": x})
    np.testing.assert_allclose(found, np.vectorize(math.erf)(x), rtol=1e-15)


def test_lrn_sums_over_the_neighbors_of_each_channel() -> None:
    """By hand: x / (1 + 0.3 / 3 · (sum of the squares of the channel and its neighbors))^½."""
    x = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
    model = tiny("y = LRN<size=3, alpha=0.3, beta=0.5>(x)", "float[N,4,1,1] x", "float[N,4,1,1] y")
    (found,) = float64_function(model)({"x": x})
    sums = np.array([1 + 4, 1 + 4 + 9, 4 + 9 + 16, 9 + 16])
    np.testing.assert_allclose(found.ravel(), x.ravel() / np.sqrt(1 + 0.1 * sums), rtol=1e-7)

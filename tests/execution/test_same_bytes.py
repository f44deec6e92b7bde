"""A map does not depend on how many changed samples were run together."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.methods.base import SampledMethod
from onnxplain.methods.registry import METHODS

SAMPLED = [name for name, kind in METHODS.items() if issubclass(kind, SampledMethod)]
OPTIONS = {"rise": {"samples": 40}, "sobol": {"samples": 4, "grid": 3}, "hsic": {"samples": 40}}


@pytest.mark.parametrize(
    "method", [name for name in SAMPLED if name not in ("drise", "vit_reciprocam")]
)
def test_the_same_bytes_whatever_the_batch(method: str) -> None:
    """Each sample's score is computed in the same way in every batch: per channel."""
    made = tiny(
        """a = Mul(x, k) r = Sigmoid(a) c = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
        p = GlobalAveragePool(c) y = Flatten(p)""",
        "float[N,3,12,12] x",
        "float[N,3] y",
        k=noise(1, 3, 1, 1),
    )
    x = noise(1, 3, 12, 12)
    options = OPTIONS.get(method, {})
    if method == "expected_gradients":
        options = {"baselines": noise(4, 3, 12, 12, seed=2)}
    found = [
        Explainer(made, provider="cpu", batch_size=size).attribute(x, method, 1, **options).values
        for size in (1, 3, 8)
    ]
    assert np.ptp(found[0]) > 0
    for values in found[1:]:
        np.testing.assert_array_equal(values, found[0])

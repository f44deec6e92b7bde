"""FullGrad: in a net of rectifiers its terms add up to the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose
from onnx import ModelProto, numpy_helper
from references.resize import upsample_half_pixel
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.fullgrad import FullGrad

CLASSES = 5
X = noise(1, 3, 20, 26)
LAST = noise(CLASSES, seed=8)
"""The biases of the classes, whose gradients are 1 or 0."""


def rectifiers() -> ModelProto:
    """Biases of convolutions, of a batch normalization and of a sum, with branches and a pool."""
    return tiny(
        """
        c1 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, k1, b1)
        n1 = BatchNormalization (c1, gamma, beta, mean, variance)
        r1 = Relu (n1) p1 = MaxPool <kernel_shape = [2, 2]> (r1)
        c2 = Conv <pads = [1, 1, 1, 1]> (p1, k2, b2) a2 = Add (c2, shift) r2 = LeakyRelu (a2)
        c3 = Conv (p1, k3) s = Add (r2, c3) g = GlobalAveragePool (s) f = Flatten (g)
        y = Gemm <transB = 1> (f, rows, last)
        """,
        "float[N,3,20,26] x",
        "float[N,5] y",
        k1=noise(6, 3, 3, 3, seed=1),
        b1=noise(6, seed=2),
        gamma=noise(6, seed=3),
        beta=noise(6, seed=4),
        mean=noise(6, seed=5),
        variance=np.abs(noise(6, seed=6)) + 0.5,
        k2=noise(8, 6, 3, 3, seed=7),
        b2=noise(8, seed=9),
        shift=noise(1, 8, 1, 1, seed=10),
        k3=noise(8, 6, 1, 1, seed=11),
        rows=noise(CLASSES, 8, seed=12),
        last=LAST,
    )


@dataclass(frozen=True, kw_only=True)
class Total(FullGrad):
    """The terms of FullGrad, summed without scaling."""

    name: ClassVar[str] = "total"

    def map(self, xp: Namespace, x: Any, g: Any, biases: Sequence[Any]) -> Any:
        """Σ x ⊙ g + Σ b g, (N, 1, 1)."""
        sums = [xp.sum(term, axis=-3) for term in (x * g, *biases)]
        return sum(xp.sum(term, axis=(-2, -1), keepdims=True) for term in sums)


@pytest.mark.parametrize("index", range(CLASSES))
def test_input_and_biases_add_up_to_the_score(index: int) -> None:
    found = Explainer(rectifiers()).attribute(X, Total(), index)
    assert_allclose(found.values.item() + LAST[index], found.scores[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("missing", ["b1", "beta", "b2", "shift"])
def test_without_one_of_the_biases_they_do_not(missing: str) -> None:
    """Each bias contributes to the score here, so the sum above shows that it is found."""
    explainer = Explainer(rectifiers())
    before = explainer.attribute(X, Total(), 0).values.item()
    model = rectifiers()
    (weight,) = (w for w in model.graph.initializer if w.name == missing)
    zeros = np.zeros_like(numpy_helper.to_array(weight))
    weight.CopyFrom(numpy_helper.from_array(zeros, missing))
    after = Explainer(model).attribute(X, Total(), 0)
    assert abs(after.values.item() - before) > 1e-2
    assert_allclose(after.values.item() + LAST[0], after.scores[0], rtol=1e-5, atol=1e-5)


def test_each_term_is_scaled_and_enlarged() -> None:
    x, g, own, small = (
        noise(2, 3, *size, seed=s) for s, size in enumerate([(8, 6)] * 3 + [(4, 3)])
    )
    found = FullGrad().map(NUMPY, *(a.astype(np.float64) for a in (x, g)), [own, small])
    expected = np.zeros((2, 8, 6))
    for term in (x * g, own, small):
        for sample, channels in enumerate(np.abs(term.astype(np.float64))):
            for channel in channels:
                scaled = (channel - channel.min()) / np.ptp(channel)
                expected[sample] += upsample_half_pixel(scaled, (8, 6))
    assert_allclose(found, expected, rtol=1e-5)


def test_what_is_no_picture_is_refused() -> None:
    proto = tiny("y = MatMul(x, w)", "float[N,4] x", "float[N,2] y", w=noise(4, 2))
    with pytest.raises(OptionError, match="fullgrad needs an input with rows and columns"):
        Explainer(proto).attribute(noise(1, 4), "fullgrad", 0)

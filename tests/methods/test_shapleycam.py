"""ShapleyCAM: second derivatives against closed forms in float64."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.testing import assert_allclose
from onnx import ModelProto
from scipy.special import expit, softmax
from tiny import noise, tiny

from onnxplain import Explainer
from tools.cases.models import CASES, Array

X = noise(2, 3, 5, 6, seed=5)
KERNEL, HEAD, OTHER = noise(4, 3, 1, 1), noise(4, 3, seed=1), noise(4, 4, seed=2)
POOLED = "p = GlobalAveragePool({})  f = Flatten(p)"
WIDE = {"K": KERNEL, "W": HEAD, "M": OTHER}


def net(head: str) -> ModelProto:
    """A pointwise convolution, whose output `a` is the layer, and a head that ends in y."""
    return tiny(f"a = Conv(x, K)  {head}", "float[N,3,5,6] x", "float[N,3] y", **WIDE)


def activation(x: Array) -> Array:
    return np.tensordot(KERNEL[..., 0, 0].astype(np.float64), x.astype(np.float64), 1)


def shapleycam(a: Array, gradient: Array, product: Array) -> Array:
    """ReLU(sum_k w_k A_k), with w the mean of the gradient less half of H A over the cells."""
    weights = (gradient - product / 2).mean(axis=(1, 2))
    return np.maximum(np.tensordot(weights, a, 1), 0)


def quartic(a: Array, target: int) -> tuple[Array, Array]:
    """S = sum_k W_k mean(A_k^4): the second derivatives are diagonal."""
    slope = HEAD[:, target, None, None].astype(np.float64) / a[0].size
    return slope * 4 * a**3, slope * 12 * a**2 * a


def bilinear(a: Array, target: int) -> tuple[Array, Array]:
    """S = sum_k W_k f_k (M f)_k, f = mean(A): with the means of all channels and cells."""
    matrix = (OTHER * HEAD[:, target]).astype(np.float64)
    f = a.mean(axis=(1, 2))
    slope = (matrix + matrix.T) @ f / a[0].size
    gradient = np.broadcast_to(slope[:, None, None], a.shape)
    return gradient, gradient  # quadratic in A


def of_probability(a: Array, target: int) -> tuple[Array, Array]:
    """S = softmax(Wᵀ f)_c: gradient p_c (e_c - p), second derivatives by the product rule."""
    rows = HEAD.T.astype(np.float64)
    f, cells = a.mean(axis=(1, 2)), a[0].size
    p = softmax(rows @ f)
    centered = rows - p @ rows
    first = p[target] * centered[target]
    spread = np.einsum("j,jk,jl->kl", p, centered, centered)
    second = p[target] * (np.outer(centered[target], centered[target]) - spread)
    return (np.broadcast_to((v / cells)[:, None, None], a.shape) for v in (first, second @ f))


def gated(a: Array, target: int) -> tuple[Array, Array]:
    """S = sum_k W_k mean(A_k sigmoid(A_k))."""
    slope = HEAD[:, target, None, None].astype(np.float64) / a[0].size
    s = expit(a)
    first = s + a * s * (1 - s)
    second = 2 * s * (1 - s) + a * s * (1 - s) * (1 - 2 * s)
    return slope * first, slope * second * a


CLOSED: Mapping[str, tuple[str, Callable[[Array, int], tuple[Array, Array]], str]] = {
    "quartic": (
        f"b = Mul(a, a)  c = Mul(b, b)  {POOLED.format('c')}  y = MatMul(f, W)",
        quartic,
        "logit",
    ),
    "bilinear": (
        f"{POOLED.format('a')}  m = MatMul(f, M)  q = Mul(f, m)  y = MatMul(q, W)",
        bilinear,
        "logit",
    ),
    "probability": (f"{POOLED.format('a')}  y = MatMul(f, W)", of_probability, "probability"),
    "gated": (
        f"b = Sigmoid(a)  c = Mul(b, a)  {POOLED.format('c')}  y = MatMul(f, W)",
        gated,
        "logit",
    ),
}


@pytest.mark.parametrize("target", [0, 2])
@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name: str, target: int) -> None:
    head, derivatives, score = CLOSED[name]
    explainer = Explainer(net(head))
    found = explainer.attribute(X, "shapleycam", target, layer="a", score=score).values
    for own, x in zip(found, X, strict=True):
        a = activation(x)
        expected = shapleycam(a, *derivatives(a, target))
        assert np.ptp(expected) > 0
        assert_allclose(own, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_a_piecewise_linear_network_gives_gradcam() -> None:
    case = CASES["net_r"]()
    found = case.explainer.attribute(case.x, "shapleycam", 1, layer="conv2")
    plain = case.explainer.attribute(case.x, "gradcam", 1, layer="conv2")
    assert_allclose(found.values, plain.values, rtol=1e-6)
    (sentence,) = found.diagnostics["samples"][0]["warnings"]
    assert "the map is that of gradcam" in sentence
    likely = case.explainer.attribute(case.x, "shapleycam", 1, layer="conv2", score="probability")
    assert not likely.diagnostics["samples"][0].get("warnings")

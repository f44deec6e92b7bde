"""Statistics of the gradient over noisy copies, on scores whose gradients are formulas."""

import tracemalloc

import numpy as np
import pytest
from methods.formulas import CUBIC, LINEAR, QUADRATIC, Array, explainer
from numpy.testing import assert_allclose, assert_array_equal
from tiny import noise

from onnxplain.errors import OptionError
from onnxplain.formulas.noise import normal
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.gradient import Gradient, InputXGradient
from onnxplain.methods.smoothgrad import SmoothGrad, VarGrad
from tools.cases.models import CASES

X, W = noise(1, 3, 6, 5), noise(3, 6, 5, seed=1)
FORMS = ["smoothgrad", "smoothgrad_squared", "vargrad"]


def copies(x: Array, share: float, samples: int, seed: int) -> Array:
    """The noisy copies that the docstring describes."""
    sigma = share * (x.max() - x.min())
    return x + sigma * normal(NUMPY, seed, x.shape[1:])(np.arange(samples))


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_mean_mean_of_squares_and_variance_of_the_gradient(batch_size: int | None) -> None:
    subject = explainer(CUBIC, W, batch_size)
    gradients = 3 * W.astype(np.float64) * copies(X, 0.3, 10, 7).astype(np.float64) ** 2
    expected = [gradients.mean(0), (gradients**2).mean(0), gradients.var(0)]
    options = {"noise": 0.3, "samples": 10, "seed": 7}
    for form, values in zip(FORMS, expected, strict=True):
        found = subject.attribute(X, form, 0, **options).values[0]
        assert_allclose(found, values, atol=1e-5 * np.abs(values).max())


def test_sigma_is_a_share_of_the_range_and_moments_are_those_of_a_gaussian() -> None:
    """S = Σ x²: the gradient is 2 (x + noise), of variance (2 · 0.15 · range)²."""
    ones = np.ones((1, 40, 50), np.float32)
    x = np.linspace(-1, 3, ones.size, dtype=np.float32).reshape(1, *ones.shape)
    subject = explainer(QUADRATIC, ones)
    sigma = 2 * 0.15 * 4
    variance = subject.attribute(x, "vargrad", 0).values
    assert_allclose(variance.mean(), sigma**2 * 49 / 50, rtol=0.02)  # 100,000 draws
    mean = subject.attribute(x, "smoothgrad", 0).values
    assert abs((mean - 2 * x).mean()) < 4 * sigma / np.sqrt(50 * x.size)
    assert_allclose((mean - 2 * x).std(), sigma / np.sqrt(50), rtol=0.1)


def test_a_linear_score_leaves_nothing_to_smooth() -> None:
    subject = explainer(LINEAR, W)
    assert_array_equal(subject.attribute(X, "smoothgrad", 0).values[0], W)
    assert_array_equal(subject.attribute(X, "smoothgrad_squared", 0).values[0], W * W)
    assert_array_equal(subject.attribute(X, "vargrad", 0).values[0], np.zeros_like(W))


def test_variance_survives_a_large_mean() -> None:
    """A float32 difference of squares near 4e6 would lose a variance of 4 · (0.15 · range)²."""
    subject, far = explainer(QUADRATIC, np.ones_like(W)), X + 1000
    expected = (2 * copies(far, 0.15, 20, 0).astype(np.float64)).var(0)
    assert expected.max() < 20
    found = subject.attribute(far, "vargrad", 0, samples=20).values[0]
    assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_no_noise_is_the_plain_gradient(form: str) -> None:
    case = CASES["net_r"]()
    plain = case.attribute("gradient")
    expected = {"smoothgrad": plain, "smoothgrad_squared": plain**2, "vargrad": 0 * plain}[form]
    assert_allclose(case.attribute(form, noise=0.0, samples=3), expected, atol=1e-7)


def test_every_target_sees_the_same_noise() -> None:
    case = CASES["net_r"]()
    together = case.explainer.attribute(
        np.repeat(case.x, 2, axis=0), "smoothgrad", [1, 4], samples=4
    )
    for values, index in zip(together.values, [1, 4], strict=True):
        alone = case.explainer.attribute(case.x, "smoothgrad", index, samples=4).values[0]
        assert_array_equal(values, alone)
    assert together.diagnostics["samples"][0] == {"forward_passes": 5, "backward_passes": 4}


def test_memory_does_not_grow_with_the_samples() -> None:
    weights = np.ones((1, 256, 256), np.float32)
    subject = explainer(QUADRATIC, weights, batch_size=2)
    x = noise(1, *weights.shape)

    def peak(samples: int) -> int:
        tracemalloc.start()
        subject.attribute(x, "smoothgrad", 0, samples=samples)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(64) < 1.2 * peak(4)


def test_heat_of_a_mean_is_that_of_a_gradient_and_that_of_squares_is_a_sum() -> None:
    values = noise(3, 4, 4)
    assert_array_equal(SmoothGrad().heat(values, (2, 3)), Gradient().heat(values, (2, 3)))
    assert_array_equal(VarGrad().heat(values, (2, 3)), InputXGradient().heat(values, (2, 3)))


@pytest.mark.parametrize("options", [{"noise": -0.1}, {"samples": 0}, {"seed": -1}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="noise >= 0, samples >= 1 and seed >= 0"):
        explainer(LINEAR, W).attribute(X, "vargrad", 0, **options)

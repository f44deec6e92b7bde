"""Paths that are not straight: blur_ig and guided_ig."""

from typing import Any

import numpy as np
import pytest
from methods.formulas import LINEAR, QUADRATIC, Array, explainer, of_two
from numpy.testing import assert_allclose
from references.paths import along, guided_ig
from scipy.ndimage import gaussian_filter
from tiny import noise

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.methods.blur import Scales, cosines
from tools.cases.models import CASES, Case

X, W = noise(1, 3, 20, 26), noise(3, 20, 26, seed=1)


def blurred(x: Array, sigma: float) -> Array:
    """Gaussian of scipy, cut off at a large distance, mirrored at the borders."""
    wide = x.astype(np.float64)
    return gaussian_filter(wide, (0, 0, sigma, sigma), mode="reflect", truncate=8)


def gradient_of(case: Case) -> Any:
    def gradient(point: Array) -> Array:
        at = point.astype(np.float32)
        return case.explainer.attribute(at, "gradient", case.index).values.astype(np.float64)

    return gradient


def column(*shares: float) -> Array:
    return np.array(shares).reshape(-1, 1, 1, 1)


# --- blur_ig ------------------------------------------------------------------------------------


def test_cosines_are_orthonormal() -> None:
    assert_allclose(cosines(7) @ cosines(7).T, np.eye(7), atol=1e-12)


@pytest.mark.parametrize("sigma", [1.5, 3.0, 8.0])
def test_the_blur_is_gaussian(sigma: float) -> None:
    path = Scales(Scene(X, 1, (2, 3), None), widest=10.0)
    (found,) = path.points(column(1 - sigma / 10)).make(slice(0, 1))
    assert_allclose(found, blurred(X, sigma)[0], atol=2e-5)


def test_the_path_ends_at_the_sample_and_starts_at_its_blur() -> None:
    path = Scales(Scene(X, 1, (2, 3), None), widest=4.0)
    assert_allclose(path.points(column(1.0)).make(slice(0, 1)), X, atol=1e-5)
    assert_allclose(path.start, blurred(X, 4.0), atol=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_speed_is_the_derivative_of_the_path(share: float) -> None:
    path, step = Scales(Scene(X, 1, (2, 3), None), widest=10.0), 1e-3
    ends = column(share - step, share + step)
    before, after = path.points(ends).make(slice(0, 2)).astype(np.float64)
    speed = path.speed(column(share))
    assert_allclose(speed[0], (after - before) / (2 * step), atol=1e-3 * np.abs(speed).max())


@pytest.mark.parametrize("shape", [(3, 20, 26), (20, 26, 3)])
def test_a_linear_score_counts_what_the_blur_takes(shape: tuple[int, ...]) -> None:
    """∫ w γ' = w (x − blurred x), for channels first or last."""
    w, x = noise(*shape, seed=1), noise(1, *shape)
    last = shape[-1] == 3
    smooth = np.moveaxis(blurred(np.moveaxis(x, -1, 1), 5.0), 1, -1) if last else blurred(x, 5.0)
    found = explainer(LINEAR, w).attribute(x, "blur_ig", 0, max_sigma=5.0)
    assert_allclose(found.values[0], w * (x - smooth)[0], atol=1e-4)
    assert abs(found.diagnostics["samples"][0]["completeness_gap"]) < 1e-2


def test_blur_ig_is_the_literal_path_on_a_network() -> None:
    case = CASES["net_r"]()
    sigmas = np.linspace(3.0, 1.5, 301)
    expected = along([blurred(case.x, sigma) for sigma in sigmas], gradient_of(case))
    # All of the path, without the part from 1.5 to 0, which a sampled Gaussian cannot represent.
    near = case.explainer.attribute(case.x, "blur_ig", 3, max_sigma=3.0, steps=400).values
    rest = case.explainer.attribute(case.x, "blur_ig", 3, max_sigma=1.5, steps=400).values
    assert_allclose(near - rest, expected, atol=3e-2 * np.abs(expected).max())


def test_blur_ig_doubles_its_steps_as_well() -> None:
    case = CASES["net_r"]()
    found = case.explainer.attribute(case.x, "blur_ig", 3, max_sigma=3.0, steps=2, tolerance=1e-2)
    diagnostics = found.diagnostics["samples"][0]
    change = case.score()(case.x) - case.score()(blurred(case.x, 3.0).astype(np.float32))
    assert diagnostics["steps"] > 2
    assert abs(found.values.sum() - change) <= 1.1e-2 * abs(change)


def test_blur_ig_refuses_what_has_no_neighbors() -> None:
    plain = of_two("y = MatMul(x, W)", W=np.ones((2, 1), np.float32))
    with pytest.raises(OptionError, match=r"pictures and signals.*use integrated_gradients"):
        plain.attribute(np.ones((1, 2), np.float32), "blur_ig", 0)
    with pytest.raises(OptionError, match="max_sigma > 0"):
        explainer(LINEAR, W).attribute(X, "blur_ig", 0, max_sigma=0)


# --- guided_ig ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.25, 1.0])
@pytest.mark.parametrize("max_distance", [0.0, 0.05, 1.0])
def test_guided_ig_is_the_papers_algorithm(fraction: float, max_distance: float) -> None:
    """S = Σ w x²/2 on 30 features: distinct gradients, whose order rounding does not change."""
    w, x, start = noise(1, 5, 6, seed=3), noise(1, 1, 5, 6, seed=4), noise(1, 1, 5, 6, seed=5)
    subject = explainer(QUADRATIC, w / 2)
    expected = guided_ig(
        x.astype(np.float64),
        start.astype(np.float64),
        lambda point: w.astype(np.float64) * point,
        steps=12,
        fraction=fraction,
        max_distance=max_distance,
    )
    found = subject.attribute(
        x,
        "guided_ig",
        0,
        baseline=start,
        steps=12,
        fraction=fraction,
        max_distance=max_distance,
    )
    assert_allclose(found.values, expected, atol=2e-5 * np.abs(expected).max())


def test_guided_ig_takes_the_flat_feature_first() -> None:
    """S = (1 + x₁) x₂ from (0, 0) to (1, 1), free of the corridor, one of two features at a time.

    The gradient (x₂, 1 + x₁) is (0, 1) at first: x₁ moves all its way with gradient 0 and gets 0,
    then x₂ gets 2. The straight line would give ½ and 1½, the other order 1 and 1.
    """
    subject = of_two(
        "a = MatMul(x, A)  b = MatMul(x, B)  c = Add(a, ONE)  y = Mul(c, b)",
        A=np.array([[1], [0]], np.float32),
        B=np.array([[0], [1]], np.float32),
        ONE=np.float32(1),
    )
    found = subject.attribute(
        np.ones((1, 2), np.float32),
        "guided_ig",
        0,
        baseline="zeros",
        steps=20,
        fraction=0.5,
        max_distance=1.0,
    )
    assert_allclose(found.values[0], [0, 2], atol=1e-6)
    assert found.diagnostics["samples"][0] == {
        "forward_passes": 22,
        "backward_passes": 20,
        "completeness_gap": pytest.approx(0, abs=1e-6),
    }


def test_guided_ig_within_no_corridor_is_the_straight_path() -> None:
    case = CASES["net_r"]()
    options = {"baseline": "gray", "steps": 15}
    guided = case.attribute("guided_ig", max_distance=0.0, **options)
    straight = case.attribute("integrated_gradients", rule="riemann-left", **options)
    assert_allclose(guided, straight, atol=1e-4 * np.abs(straight).max())


def test_guided_ig_of_the_baseline_itself_is_nothing() -> None:
    found = explainer(QUADRATIC, W).attribute(X, "guided_ig", 0, baseline=X, steps=3)
    assert not found.values.any()


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"fraction": 0}, {"fraction": 1.1}, {"max_distance": -0.1}]
)
def test_guided_ig_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="steps >= 1, 0 < fraction <= 1"):
        explainer(LINEAR, W).attribute(X, "guided_ig", 0, baseline="zeros", **options)

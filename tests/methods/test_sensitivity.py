"""Sobol indices and HSIC: closed forms, the papers' formulas, and what is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from references.sensitivity import drawn, hsic, sobol
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError
from onnxplain.methods.sensitivity import latin_hypercube
from tools.cases.models import CASES, Array

WEIGHTS = noise(12, 2, seed=3)
WEIGHTS[4] = 0
X = noise(1, 12)
PULL = X[0] * WEIGHTS[:, 1]
"""What each feature adds to the score."""


def features(body: str = "y = MatMul(x, w)", **constants: Any) -> Explainer:
    """Twelve numbers, two scores."""
    model = tiny(body, "float[N,12] x", "float[N,2] y", w=WEIGHTS, **constants)
    return Explainer(model, provider="cpu")


def attributed(method: str, explainer: Explainer | None = None, **options: Any) -> Array:
    options = {"score": "logit", "baseline": "zeros", **options}
    return (explainer or features()).attribute(X, method, 1, **options).values[0]


def test_sobol_of_a_sum_is_the_share_of_the_variance() -> None:
    """S = Σ p z + c with independent z of one variance: p² / Σ p² for each."""
    found = np.mean([attributed("sobol", samples=256, seed=seed) for seed in range(4)], axis=0)
    expected = PULL**2 / (PULL**2).sum()
    assert_allclose(found, expected, atol=0.03)
    assert_allclose(found.sum(), 1, atol=0.03)


def test_sobol_of_a_product_of_two_is_four_sevenths_of_the_variance() -> None:
    """S = z_0 z_1 with uniform z: Var S = 7/144, and E[Var(S | z_1)] = E[z_1²] / 12 = 1/36."""
    body = "g = Gather<axis=1>(x, i) y = ReduceProd<axes=[1], keepdims=1>(g)"
    model = tiny(body, "float[N,4] x", "float[N,1] y", i=np.array([0, 2]))
    options = {"baseline": "zeros", "score": "logit", "samples": 2048}
    x, explainer = np.ones((1, 4), np.float32), Explainer(model, provider="cpu")
    found = explainer.attribute(x, "sobol", 0, **options).values[0]
    assert_allclose(found, [4 / 7, 0, 4 / 7, 0], atol=0.04)


def test_hsic_of_a_score_of_two_values() -> None:
    """S is one number where feature 2 is kept, and another where not, half of the samples each.

    σ is half of their distance, so L is 1 for equal scores and e = exp(−2) for others. With the
    centered z of feature i, HSIC is (1 − e) (Σ_j s_j z_j)² / n², and s = ±1 says whether 2 is kept.
    """
    body = "g = Gather<axis=1>(x, i) y = Concat<axis=1>(g, g)"
    found = attributed("hsic", features(body, i=np.array([2])), samples=40)
    kept = np.round(drawn(40, 12, 0)) - 0.5
    expected = (1 - np.exp(-2)) * (2 * kept[:, 2] @ kept / 40) ** 2
    assert_allclose(expected[2], (1 - np.exp(-2)) / 4)
    assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("method", ["sobol", "hsic"])
def test_values_do_not_change_with_the_unit_or_the_zero_of_the_score(method: str) -> None:
    body = "a = MatMul(x, w) b = Mul(a, c) y = Sub(b, d)"
    moved = features(body, c=np.float32(-8), d=np.float32(3))
    plain = attributed(method, samples=20)
    assert_allclose(attributed(method, moved, samples=20), plain, atol=1e-5 * plain.max())


def test_a_feature_that_changes_nothing_has_the_sobol_index_0() -> None:
    assert attributed("sobol")[4] == 0


def test_hsic_of_an_independent_feature_falls_with_the_samples() -> None:
    few, many = (attributed("hsic", samples=n) for n in (50, 2000))
    assert many[4] < 0.1 * few[4]
    assert many[np.argmax(np.abs(PULL))] > 100 * many[4]


@pytest.mark.parametrize("method", ["sobol", "hsic"])
@pytest.mark.parametrize("samples", [6, 7])
def test_a_score_that_nothing_changes_gives_zeros(method: str, samples: int) -> None:
    body = "a = Sub(x, x) b = MatMul(a, w) y = Add(b, c)"
    explainer = features(body, c=np.float32(0.3))
    assert_array_equal(attributed(method, explainer, samples=samples), 0)


@pytest.mark.parametrize(
    ("name", "grid", "score"),
    [("net_r", 3, "logit"), ("net_r", 3, "probability"), ("squeezenet", 2, "probability")],
)
@pytest.mark.parametrize(
    ("method", "reference", "samples", "draws"), [("sobol", sobol, 4, 2), ("hsic", hsic, 12, 1)]
)
def test_against_the_papers(
    method: str, reference: Any, samples: int, draws: int, name: str, grid: int, score: str
) -> None:
    """Cells of pixels whose centers are inside, also where the sides are not divisible."""
    case = CASES[name]()
    rows, across = (((np.arange(n) + 0.5) * grid / n).astype(int) for n in case.x.shape[2:])
    labels = rows[:, None] * grid + across
    design = drawn(samples, draws * grid**2, seed=5)
    expected = reference(case.x, case.black, labels, case.score(score), design)
    found = case.attribute(method, samples=samples, grid=grid, seed=5, score=score)
    assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-4 * expected.max())


def test_more_cells_than_pixels_are_the_pixels() -> None:
    case = CASES["net_t"]()
    found = case.attribute("sobol", samples=3, grid=50, baseline="zeros")
    few = case.attribute("sobol", samples=3, grid=4, baseline="zeros")
    assert_array_equal(found, few)


def test_a_latin_hypercube_has_one_point_in_each_stratum() -> None:
    points = latin_hypercube(9, 50, 3)
    assert points.dtype == np.float32
    strata = np.sort((points * 9).astype(int), axis=0)
    assert_array_equal(strata, np.tile(np.arange(9)[:, None], 50))
    assert_allclose(points, drawn(9, 50, 3), rtol=1e-6)
    assert not np.array_equal(points, latin_hypercube(9, 50, 4))


@pytest.mark.parametrize(
    "options", [{"samples": 1}, {"grid": 0}, {"seed": -1}], ids=lambda one: next(iter(one))
)
@pytest.mark.parametrize("method", ["sobol", "hsic"])
def test_refused(method: str, options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="samples >= 2, grid >= 1 and seed >= 0"):
        CASES["net_r"]().attribute(method, **options)

"""Expected gradients, on scores whose gradients are formulas."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from methods.formulas import LINEAR, QUADRATIC, Array, explainer
from numpy.testing import assert_allclose
from tiny import noise

from onnxplain.errors import OptionError

X, W, SET = noise(1, 3, 6, 5), noise(3, 6, 5, seed=1), noise(4, 3, 6, 5, seed=2)


def draws(samples: int, seed: int) -> tuple[Array, Array]:
    """Baselines and shares, as the docstring describes them."""
    random = np.random.default_rng(seed)
    starts = SET[random.integers(len(SET), size=samples)]
    return starts, random.random((samples, 1, 1, 1), np.float32)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_is_the_mean_over_the_draws(batch_size: int) -> None:
    """S = Σ w x²: the gradient is 2 w (x' + α (x − x'))."""
    starts, shares = draws(10, 6)
    points = starts + shares * (X - starts)
    expected = ((X - starts) * 2 * W * points).mean(axis=0)
    subject = explainer(QUADRATIC, W, batch_size)
    found = subject.attribute(X, "expected_gradients", 0, baselines=SET, samples=10, seed=6)
    assert_allclose(found.values[0], expected, atol=1e-5 * np.abs(expected).max())
    diagnostics = found.diagnostics["samples"][0]
    assert diagnostics["forward_passes"] == 1 + 4 + 10
    assert diagnostics["backward_passes"] == 10
    change = (W * (X**2 - (SET**2).mean(axis=0))).sum()
    assert diagnostics["completeness_gap"] == pytest.approx(expected.sum() - change, abs=1e-3)


def test_it_tends_to_integrated_gradients_averaged_over_the_set() -> None:
    subject = explainer(QUADRATIC, W)
    runs = [
        subject.attribute(X, "integrated_gradients", 0, baseline=one, steps=2).values for one in SET
    ]
    expected = np.mean(runs, axis=0)
    found = [
        subject.attribute(X, "expected_gradients", 0, baselines=SET, samples=n).values
        for n in (20, 2000)
    ]
    errors = [np.sqrt(((one - expected) ** 2).mean()) for one in found]
    assert errors[1] < errors[0] / 4  # expected: a factor of 10
    assert errors[1] < 0.1 * expected.std()


def test_one_baseline_and_a_linear_score_leave_nothing_to_chance() -> None:
    found = explainer(LINEAR, W).attribute(X, "expected_gradients", 0, baselines=SET[:1], samples=3)
    assert_allclose(found.values[0], W * (X - SET[:1])[0], atol=1e-5)
    assert "warnings" not in found.diagnostics["samples"][0]


def test_memory_does_not_grow_with_the_samples() -> None:
    weights = np.ones((1, 256, 256), np.float32)
    subject = explainer(QUADRATIC, weights, batch_size=2)
    x, starts = noise(1, *weights.shape), noise(2, *weights.shape, seed=3)

    def peak(samples: int) -> int:
        tracemalloc.start()
        subject.attribute(x, "expected_gradients", 0, baselines=starts, samples=samples)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(64) < 1.2 * peak(4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "needs baselines: on the command line pictures"),
        ({"baselines": SET[:, :2]}, r"have the shape \(2, 6, 5\) each"),
        ({"baselines": SET[:0]}, "an array of several samples"),
        ({"baselines": 3.0}, "an array of several samples"),
        ({"baselines": SET, "samples": 0}, "samples >= 1"),
    ],
)
def test_baselines_that_do_not_fit(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        explainer(LINEAR, W).attribute(X, "expected_gradients", 0, **options)

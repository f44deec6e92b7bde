"""Concepts: factors that are known, and Sobol indices with a closed form."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.reports.concepts import explained_share, factor, total_indices


def test_total_indices_of_a_sum() -> None:
    """Var(Σ aᵢ mᵢ) = Σ aᵢ² / 12, without interactions."""
    weights = np.array([1.0, 2, 0, 4])
    found = total_indices(lambda m: m @ weights, 4, designs=1024)
    np.testing.assert_allclose(found, weights**2 / 21, atol=0.01)


def test_total_indices_of_a_product() -> None:
    """Of m₁ m₂: variance 1/9 − 1/16, and each total index is (1/12 · 1/3) / (7/144) = 4/7."""
    found = total_indices(lambda m: m[:, 0] * m[:, 1], 2, designs=4096)
    np.testing.assert_allclose(found, 4 / 7, atol=0.01)


def test_the_indices_of_ishigamis_function() -> None:
    """Ishigami and Homma 1990: total indices 0.558, 0.442, 0.244 for a = 7, b = 0.1."""

    def ishigami(m: np.ndarray) -> np.ndarray:
        x = np.pi * (2 * m - 1)
        return np.sin(x[:, 0]) * (1 + 0.1 * x[:, 2] ** 4) + 7 * np.sin(x[:, 1]) ** 2

    found = total_indices(ishigami, 3, designs=4096)
    np.testing.assert_allclose(found, [0.5576, 0.4424, 0.2437], atol=0.01)


def test_a_score_that_does_not_vary_has_no_important_concept() -> None:
    assert total_indices(lambda m: np.ones(len(m)), 3).tolist() == [0, 0, 0]


def test_the_factors_of_a_product_are_found() -> None:
    rng = np.random.default_rng(0)
    parts = np.zeros((2, 6), np.float32)
    parts[0, :3], parts[1, 3:] = [1, 2, 3], [3, 1, 1]
    usage = rng.random((5, 4, 4, 2)).astype(np.float32) * (rng.random((5, 4, 4, 2)) < 0.5)
    found_usage, found_parts = factor(usage @ parts, 2)
    assert explained_share(usage @ parts, found_usage @ found_parts) > 0.9999
    direction = found_parts / np.linalg.norm(found_parts, axis=1, keepdims=True)
    expected = parts / np.linalg.norm(parts, axis=1, keepdims=True)
    likeness = direction @ expected.T
    assert np.sort(likeness.max(0)) == pytest.approx([1, 1], abs=0.01)

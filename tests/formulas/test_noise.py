"""Noise by a formula: its statistics, and that nodes give the numbers of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from formulas.nodes import from_nodes
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from tiny import Array

from onnxplain.formulas.noise import normal, uniform
from onnxplain.formulas.numpy_namespace import NUMPY

SAMPLES, SHAPE = np.arange(12), (3, 64, 64)
SEEDS = [0, 1, 12345, 2**40 + 7]


def rows(values: Array) -> Array:
    return values.reshape(len(values), -1).astype(np.float64)


def largest_correlation(values: Array) -> float:
    """Of any two rows, in standard deviations of that of independent rows."""
    found = np.corrcoef(values) - np.eye(len(values))
    return float(np.abs(found).max() * np.sqrt(values.shape[1]))


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_numbers_fill_all_bins_alike_and_reach_no_end(seed: int) -> None:
    values = uniform(NUMPY, seed, SHAPE)(SAMPLES)
    assert values.dtype == np.float32
    assert values.shape == (12, *SHAPE)
    assert 0 < values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1
    for row in rows(values):
        counts, _ = np.histogram(row, bins=128, range=(0, 1))
        assert 1e-4 < stats.chisquare(counts).pvalue < 1 - 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbors_are_independent(seed: int) -> None:
    """Pairs of elements, and of samples, fill a 32 x 32 grid alike."""
    values = rows(uniform(NUMPY, seed, SHAPE)(SAMPLES))
    for first, second in ((values[:, :-1], values[:, 1:]), (values[:-1], values[1:])):
        counts, *_ = np.histogram2d(first.ravel(), second.ravel(), bins=32, range=[(0, 1)] * 2)
        assert 1e-4 < stats.chisquare(counts.ravel()).pvalue < 1 - 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_normal_numbers_have_the_moments_of_a_gaussian(seed: int) -> None:
    values = rows(normal(NUMPY, seed, SHAPE)(SAMPLES))
    count = values.size
    mean, variance = values.mean(), values.var()
    assert abs(mean) < 4 / np.sqrt(count)
    assert abs(variance - 1) < 4 * np.sqrt(2 / count)
    assert abs(stats.skew(values, axis=None)) < 4 * np.sqrt(6 / count)
    assert abs(stats.kurtosis(values, axis=None)) < 4 * np.sqrt(24 / count)
    assert min(stats.kstest(row, "norm").pvalue for row in values) > 1e-4
    halves = values.reshape(len(values), 2, -1)  # of one pair of uniform numbers
    for row in halves:
        assert largest_correlation(row) < 4
        assert largest_correlation(row**2) < 4
    assert largest_correlation(values) < 5
    assert largest_correlation(values[:, 1:] * values[:, :-1]) < 5


def test_samples_and_seeds_have_other_numbers() -> None:
    """No sample holds the numbers of another one, at no distance."""
    one = rows(normal(NUMPY, 5, (4000,))(np.array([3])))[0]
    for seed, index in ((5, 4), (6, 3), (4, 4)):
        other = rows(normal(NUMPY, seed, (4000,))(np.array([index])))[0]
        spectrum = np.fft.rfft(one) * np.conj(np.fft.rfft(other))
        assert np.abs(np.fft.irfft(spectrum)).max() < 6 * np.sqrt(len(one))
        assert len(np.intersect1d(one, other)) < 5


def test_no_sample_is_a_part_of_another() -> None:
    """Eight thousand pairs of neighbors are among four million with a probability of 0.01 %."""
    (one,) = neighbors(uniform(NUMPY, 0, (4_000_000,))(np.array([0])))
    others = neighbors(uniform(NUMPY, 0, (2,))(np.arange(1, 8001)))[:, 0]
    found = np.sort(one)
    assert not (found[np.searchsorted(found[:-1], others)] == others).any()


def neighbors(values: Array) -> Array:
    """Each number together with the next one, as an integer."""
    whole = np.rint(values * 2.0**24).astype(np.int64)
    return whole[:, :-1] * 2**25 + whole[:, 1:]


@pytest.mark.parametrize("shape", [(3, 5, 7), (4, 6), (1,)])
@pytest.mark.parametrize("make", [normal, uniform])
def test_a_sample_does_not_depend_on_the_others(make: Any, shape: tuple[int, ...]) -> None:
    together = make(NUMPY, 9, shape)(np.arange(6))
    for i in range(6):
        assert_array_equal(make(NUMPY, 9, shape)(np.array([i]))[0], together[i])


@pytest.mark.parametrize("shape", [(3, 5, 7), (4, 6), (1,), SHAPE])
@pytest.mark.parametrize("make", [normal, uniform])
@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_give_the_numbers_of_numpy(make: Any, shape: tuple[int, ...], seed: int) -> None:
    def formula(xp: Any, places: Any) -> dict[str, Any]:
        return {"noise": make(xp, seed, shape)(xp.rows(SAMPLES, places))}

    places = np.array([0, 7, 11])
    found = from_nodes(formula, places)["noise"]
    assert_allclose(found, make(NUMPY, seed, shape)(SAMPLES[places]), atol=1e-6)

"""Sobol indices and HSIC: how much the score depends on each cell of a grid of masks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Feeds
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.wants import SampleIndices, SampleScores, Want
from onnxplain.formulas.namespace import Namespace, quotient
from onnxplain.methods.base import InputMethod, SampledMethod, Sums
from onnxplain.methods.options import Baseline, Grid, Samples, Score, Seed
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import Segmented


@dataclass(frozen=True, kw_only=True)
class SensitivityMethod(InputMethod, SampledMethod):
    """A method with one value for each cell of a grid, computed from all scores at once.

    A picture has `grid` × `grid` cells, a signal `grid`, and a row of features one for each. A
    changed sample is z x + (1 − z) x' in a cell, with the baseline x' and a share z for each cell.
    """

    wants: ClassVar[Sequence[Want]] = (SampleScores(), SampleIndices())
    values_are_magnitudes = True

    score: Score = "probability"
    samples: Samples = 32
    grid: Grid = 8
    seed: Seed = 0
    baseline: Baseline = "black"

    @abstractmethod
    def count(self, cells: int) -> int:
        """The number of changed samples, for a number of cells."""

    @abstractmethod
    def design(self, xp: Namespace, cells: int) -> Callable[[Any], Any]:
        """A function of a part of the changed samples: their shares z, (b, cells)."""

    @abstractmethod
    def values(self, xp: Namespace, scores: Any, cells: int) -> Any:
        """The value of each cell, (N, cells), from the scores of all samples, (N, count)."""

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        fits = self.samples >= 2 and self.grid >= 1 and self.seed >= 0
        self.require(fits, "samples >= 2, grid >= 1 and seed >= 0")

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """The sample with a share of each cell kept."""
        scene, shape = original.scene, self._shape(original.scene)
        cells = prod(shape)
        mask = Segmented(scene.spatial, cells, _labels(scene.places, shape).tobytes())
        shares = self.design(scene.xp, cells)
        feeds = Feeds(self.count(cells), lambda part: {"segments": shares(part)})
        blend = Blend(mask, feeds, scene.baseline(self.baseline))
        return [Sampling(blend, facts=lambda: {"cells": list(shape)})]

    def terms(self, xp: Namespace, original: Original, score: Any, index: Any) -> Sums:
        """See `SampledMethod`: each score at its own index, so that the sum holds all scores."""
        count = self.count(prod(self._shape(original.scene)))
        return {"scores": xp.matmul(score, xp.one_hot(index, count))}

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """See the class: the value of a cell, at all of its places."""
        scene, shape = original.scene, self._shape(original.scene)
        found = xp.unflattened(self.values(xp, sums["scores"], prod(shape)), shape)
        for axis, (size, cells) in enumerate(zip(scene.places, shape, strict=True)):
            if cells < size:
                places = np.eye(cells, dtype=np.float32)[_cells(size, cells)]
                found = xp.along(places, found, axis - len(shape))
        return found

    def _shape(self, scene: Scene) -> tuple[int, ...]:
        """The number of cells along each axis."""
        if not scene.has_spatial_axes:
            return scene.places
        return tuple(min(self.grid, size) for size in scene.places)


@dataclass(frozen=True, kw_only=True)
class Sobol(SensitivityMethod):
    """The total Sobol index of each cell: E[Var(S | all other cells)] / Var(S).

    A changed sample shows z x + (1 − z) x' in each cell, with the baseline x', and with shares z
    that are independent and uniform between 0 and 1. A picture has `grid` × `grid` cells, a signal
    `grid`, and a row of features one for each. Jansen's estimator is the sum over n = `samples`
    pairs of designs a and b of (S(a_j) − S(a_j with one cell of b_j))², divided by 2 n Var(S(a)).
    Both designs are one Latin hypercube of `numpy.random.default_rng(seed)`: first the order of
    each column of a, then of b, then the places inside the strata. An index has no sign. If no
    sample changes the score, all are 0.

    Fel et al., "Look at the Variance! Efficient Black-box Explanations with Sobol-based Sensitivity
    Analysis", NeurIPS 2021; Jansen, "Analysis of Variance Designs for Model Output", Computer
    Physics Communications 1999.
    """

    name = "sobol"
    summary = "the share of the score's variance that a cell of the picture takes part in"
    paper = "Fel 2021"
    cost = "1 + samples (32) × (1 + cells)"

    def count(self, cells: int) -> int:
        """See `SensitivityMethod`: a, and a with each cell of b."""
        return self.samples * (1 + cells)

    def design(self, xp: Namespace, cells: int) -> Callable[[Any], Any]:
        """See `SensitivityMethod`."""
        first, second = np.split(latin_hypercube(self.samples, 2 * cells, self.seed), 2, axis=1)
        moved, rows = np.divmod(np.arange(self.count(cells)), self.samples)

        def shares(part: Any) -> Any:
            row, of_second = xp.rows(rows, part), xp.one_hot(xp.rows(moved - 1, part), cells)
            return xp.rows(first, row) * (1 - of_second) + xp.rows(second, row) * of_second

        return shares

    def values(self, xp: Namespace, scores: Any, cells: int) -> Any:
        """See the class."""
        table = xp.unflattened(scores, (1 + cells, self.samples))
        plain = xp.along(np.eye(1, 1 + cells, dtype=np.float32), table, -2)
        spread = plain - xp.mean(plain, axis=-1, keepdims=True)
        variance = xp.sum(spread * spread, axis=-1) / (self.samples - 1)
        changes = table - plain
        parts = xp.mean(changes * changes, axis=-1) / 2
        # The first row has no cell of b.
        own = np.eye(cells, 1 + cells, 1, dtype=np.float32)
        return quotient(xp, xp.along(own, parts, -1), variance)


@dataclass(frozen=True, kw_only=True)
class HSIC(SensitivityMethod):
    """The Hilbert-Schmidt independence criterion of each cell and the score: tr(K H L H) / n².

    The n = `samples` changed samples keep (z = 1) or remove (z = 0) whole cells, which are those of
    `sobol`, each cell in half of the samples: z is a Latin hypercube, drawn as for `sobol`, and
    rounded. K_ij = ½ − (z_i − z_j)² for the cell, L_ij = exp(−(S_i − S_j)² / 2σ²) for the scores,
    and H = I − 1/n. σ is the median of |S_i − S_j| over all i and j, or their mean if the median is
    0. A value has no sign. If no sample changes the score, all are 0. The scores are compared in
    pairs: after all passes, n² numbers for each target.

    Novello, Fel and Vigouroux, "Making Sense of Dependence: Efficient Black-box Explanations Using
    Dependence Measure", NeurIPS 2022.
    """

    name = "hsic"
    summary = "how much the score depends on whether a cell of the picture is kept"
    paper = "Novello 2022"
    cost = "1 + samples (500)"

    samples: Samples = 500

    def count(self, cells: int) -> int:
        """See `SensitivityMethod`."""
        return self.samples

    def design(self, xp: Namespace, cells: int) -> Callable[[Any], Any]:
        """See `SensitivityMethod`."""
        kept = self._kept(cells)
        return lambda part: xp.rows(kept, part)

    def values(self, xp: Namespace, scores: Any, cells: int) -> Any:
        """See the class."""
        kept, n = self._kept(cells), self.samples
        distance = xp.abs(xp.unflattened(scores, (n, 1)) - xp.unflattened(scores, (1, n)))
        median = xp.percentile(distance, 50)
        mean = xp.mean(distance, axis=(-2, -1), keepdims=True)
        share = quotient(xp, distance, xp.where(median > 0, median, mean))
        # Equal scores would leave rounding errors.
        kernel = xp.where(mean > 0, xp.exp(share * share / -2), 0.0)
        # H K H = 2 z zᵀ with the centered z, because z is 0 or 1.
        centered = xp.constant(kept - kept.mean(axis=0))
        return xp.sum(xp.matmul(kernel, centered) * centered, axis=-2) * (2 / n**2)

    def _kept(self, cells: int) -> FloatArray:
        """Whether each sample keeps each cell, 1 or 0, (samples, cells)."""
        return np.round(latin_hypercube(self.samples, cells, self.seed))


def latin_hypercube(samples: int, columns: int, seed: int) -> FloatArray:
    """Points between 0 and 1, (samples, columns), with one in each of `samples` strata per column.

    McKay, Beckman and Conover, "A Comparison of Three Methods for Selecting Values of Input
    Variables in the Analysis of Output from a Computer Code", Technometrics 1979.
    """
    random = np.random.default_rng(seed)
    orders = random.permuted(np.tile(np.arange(samples), (columns, 1)), axis=1)
    points = (orders + random.random((columns, samples))) / samples
    return np.ascontiguousarray(points.T, np.float32)


def _cells(size: int, cells: int) -> Array:
    """The cell of each place along an axis."""
    return ((2 * np.arange(size) + 1) * cells) // (2 * size)


def _labels(places: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The cell of each place, int64, in row-major order."""
    along = [_cells(size, cells) for size, cells in zip(places, shape, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), shape).astype(np.int64)

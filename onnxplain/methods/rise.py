"""RISE."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.subject import Subject
from onnxplain.methods.base import InputMethod, Maps, SampledMethod
from onnxplain.methods.options import Baseline, Number, Option, Samples, Score, Seed, Whole
from onnxplain.model.shapes import Shape
from onnxplain.tensors import FloatArray
from onnxplain.transforms.masks import Mask, Segmented, Shifted

_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class RISE(InputMethod, SampledMethod):
    """Σ_i S(x' + M_i ⊙ (x − x')) M_i / (n p), over n random masks M_i.

    A mask is a `grid` × `grid` picture of ones (with probability p = `keep`) and zeros, enlarged
    bilinearly to one cell more than the input, and cut out at a random offset. x' is the baseline.
    `numpy.random.default_rng(seed)` draws all grids, then all offsets of rows, then of columns.
    A signal has masks of `grid` cells in a row; where the input has no axes along which neighbours
    belong together, such as a row of features, each element is kept or not by itself.
    A score that no mask changes is its own expectation: the map is that score everywhere.

    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018.
    """

    name: ClassVar[str] = "rise"
    summary: ClassVar[str] = "random masks averaged, weighted by the score each leaves"
    paper: ClassVar[str] = "Petsiuk 2018"
    cost: ClassVar[str] = "1 + samples (4000)"

    score: Score = "probability"
    samples: Samples = 4000
    grid: Annotated[Whole, Option("CELLS", "Cells on each side of a random mask.")] = 7
    keep: Annotated[Number, Option("SHARE", "Share of the cells that a random mask keeps.")] = 0.5
    seed: Seed = 0
    baseline: Baseline = "black"

    def maps(self, subject: Subject) -> Maps:
        """See `Method`.

        Raises:
            OptionError: an option is out of its range.
        """
        if min(self.samples, self.grid) < 1 or not 0 < self.keep <= 1 or self.seed < 0:
            raise OptionError("rise takes samples >= 1, grid >= 1, 0 < keep <= 1 and seed >= 0.")
        shape = tuple(subject.x.shape[axis] for axis in subject.spatial)
        mask, feeds = (self._patches if subject.smooth else self._elements)(subject.spatial, shape)
        total = np.zeros((len(subject.scores), *shape), np.float64)
        least, most = np.full((2, len(subject.scores)), subject.scores)
        baseline = subject.baseline(self.baseline)
        for batch in subject.perturbed(mask, feeds, baseline, with_masks=True):
            assert batch.masks is not None
            planes = batch.masks.reshape(len(batch.masks), -1)
            total += (batch.scores.T @ planes).reshape(total.shape)
            least = np.minimum(least, batch.scores.min(axis=0))
            most = np.maximum(most, batch.scores.max(axis=0))
        values = total / (self.samples * self.keep)
        # What is left of a score that no mask changes is how often chance kept each pixel.
        unchanged = most - least <= _ROUNDING * np.abs(most)
        values[unchanged] = subject.scores[unchanged].reshape(-1, *[1] * len(shape))
        return Maps(subject.spread(values), {"forward_passes": 1 + self.samples})

    def _patches(self, axes: Shape, shape: Shape) -> tuple[Mask, dict[str, FloatArray]]:
        """Grids enlarged smoothly, and shifted."""
        random, cells = np.random.default_rng(self.seed), [-(-size // self.grid) for size in shape]
        grids = random.random((self.samples, *[self.grid] * len(shape))) < self.keep
        feeds = {"grid": grids.astype(np.float32)}
        for axis, cell in zip(axes, cells, strict=True):
            shifts = random.integers(0, cell, (self.samples, 1, 1))
            feeds[f"shift_{axis}"] = shifts.astype(np.float32)
        sizes = tuple((self.grid + 1) * cell for cell in cells)
        return Shifted(axes, (self.grid,) * len(shape), sizes), feeds

    def _elements(self, axes: Shape, shape: Shape) -> tuple[Mask, dict[str, FloatArray]]:
        """Each element by itself."""
        count = prod(shape)
        kept = np.random.default_rng(self.seed).random((self.samples, count)) < self.keep
        labels = np.arange(count, dtype=np.int64)
        return Segmented(axes, count, labels.tobytes()), {"segments": kept.astype(np.float32)}

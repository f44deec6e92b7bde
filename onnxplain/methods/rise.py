"""RISE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Feeds
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.subject import Structure
from onnxplain.formulas.namespace import Namespace
from onnxplain.methods.base import InputMethod, ScoredMethod, Sums
from onnxplain.methods.options import Baseline, Grid, Number, Option, Samples, Score, Seed
from onnxplain.model.shapes import Shape
from onnxplain.tensors import FloatArray
from onnxplain.transforms.masks import Mask, Segmented, Shifted

_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class RISE(InputMethod, ScoredMethod):
    """Σ_i S(x' + M_i ⊙ (x − x')) M_i / (n p), over n random masks M_i.

    A mask is a `grid` × `grid` picture of ones (with probability p = `keep`) and zeros, enlarged
    bilinearly to one cell more than the input, and cropped at a random offset. x' is the baseline.
    `numpy.random.default_rng(seed)` draws all grids, then all offsets of rows, then of columns.
    For a signal, a mask has `grid` cells in a row. If neighbors of the input are not related, as in
    a row of features, each element is kept or removed independently. If no mask changes the score,
    the map is the score everywhere, its expected value.

    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018.
    """

    name = "rise"
    summary = "random masks averaged, weighted by the score each leaves"
    paper = "Petsiuk 2018"
    cost = "1 + samples (4000)"
    values_are_scores = True

    score: Score = "probability"
    samples: Samples = 4000
    grid: Grid = 7
    keep: Annotated[Number, Option("SHARE", "Share of the cells that a random mask keeps.")] = 0.5
    seed: Seed = 0
    baseline: Baseline = "black"

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        fits = min(self.samples, self.grid) >= 1 and 0 < self.keep <= 1 and self.seed >= 0
        self.require(fits, "samples >= 1, grid >= 1, 0 < keep <= 1 and seed >= 0")

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """The sample blended with the baseline by random masks."""
        scene = original.scene
        masks = self._patches if scene.has_spatial_axes else self._elements
        baseline = scene.baseline(self.baseline)
        mask, feeds = masks(scene.spatial, scene.places)
        return [Sampling(Blend(mask, Feeds.of(feeds, scene.xp), baseline))]

    def terms(self, xp: Namespace, original: Original, score: Any, mask: Any) -> Sums:
        """See `SampledMethod`."""
        changed = xp.abs(score - original.score) > _ROUNDING * xp.abs(original.score)
        return {
            "kept": xp.matmul(score, mask),
            "changed": xp.sum(xp.where(changed, 1.0, 0.0), axis=-1, keepdims=True),
        }

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """See the class."""
        # If no mask changes the score, the sum would only show how often each pixel was kept.
        values = sums["kept"] / (self.samples * self.keep)
        return xp.where(sums["changed"] > 0, values, original.score)

    def _patches(self, axes: Shape, shape: Shape) -> tuple[Mask, dict[str, FloatArray]]:
        """Masks that are enlarged and shifted grids: the kind of mask, and its feeds."""
        random, cells = np.random.default_rng(self.seed), [-(-size // self.grid) for size in shape]
        grids = random.random((self.samples, *[self.grid] * len(shape))) < self.keep
        feeds = {"grid": grids.astype(np.float32)}
        for axis, cell in zip(axes, cells, strict=True):
            shifts = random.integers(0, cell, (self.samples, 1, 1))
            feeds[f"shift_{axis}"] = shifts.astype(np.float32)
        sizes = tuple((self.grid + 1) * cell for cell in cells)
        return Shifted(axes, (self.grid,) * len(shape), sizes), feeds

    def _elements(self, axes: Shape, shape: Shape) -> tuple[Mask, dict[str, FloatArray]]:
        """Masks that keep each element independently: the kind of mask, and its feeds."""
        count = prod(shape)
        kept = np.random.default_rng(self.seed).random((self.samples, count)) < self.keep
        labels = np.arange(count, dtype=np.int64)
        return Segmented(axes, count, labels.tobytes()), {"segments": kept.astype(np.float32)}


@dataclass(frozen=True, kw_only=True)
class DRISE(RISE):
    """RISE for a detected box: the score of a changed picture is its largest IoU · score.

    IoU is that of each box found in the changed picture with the explained box, and score is the
    score of the box's class, times the objectness. The paper multiplies IoU and objectness with the
    cosine of all class scores; the score of the one class takes their place here.

    Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps", CVPR 2021.
    """

    name = "drise"
    summary = "rise for a box that a detector finds"
    paper = "Petsiuk 2021"
    cost = "1 + samples (5000)"

    samples: Samples = 5000
    grid: Grid = 16

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """None.

        Raises:
            OptionError: the model is no detector.
        """
        if not structure.finds_boxes:
            raise OptionError(
                "drise explains boxes that a detector finds, and this model is no detector whose "
                "layout is known: use rise."
            )
        return ()

"""How changed samples are made of the one that is explained, and what is known of that one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Given, LayerMasks
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True, eq=False)
class Sampling:
    """Changed samples, and what else a formula needs of them.

    `weights(part)` gives what some of the samples count with, (b, ...), where the formula wants
    that. `references` are samples in which nothing is to be seen, (1, ...) each, and `facts`
    diagnostics.
    """

    made: Given | Blend | LayerMasks
    weights: Callable[[slice], Array] | None = None
    references: Sequence[FloatArray] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Original:
    """The sample that is explained, for some targets: what is known before it is changed.

    `score` is (targets, 1), and so is `absent`, the mean score of the references. `at` is the layer
    whose map is made, with its activation, (channels, cells). All are float64, so that a difference
    of scores is, too: its sums do not depend on how samples fell into batches.
    """

    scene: Scene
    score: Array
    absent: Array
    at: tuple[Layer, Array] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a map: that of the layer's grid, or of the input."""
        return self.scene.x.shape[1:] if self.at is None else self.at[0].grid

    @property
    def at_layer(self) -> tuple[Layer, Array]:
        """The layer whose map is made, and its activation."""
        assert self.at is not None, "the method looks at no layer"
        return self.at

    def of(self, targets: Sequence[int]) -> Original:
        """The same, for some of the targets."""
        some = list(targets)
        return replace(self, score=self.score[some], absent=self.absent[some])

    def laid_out(self, values: Array) -> Array:
        """A map of `shape`: `values` may have one for each cell, or each place along `spatial`."""
        if self.at is None and values.shape != self.shape:
            (values,) = self.scene.broadcast_to_input(values[None])
        return np.reshape(values, self.shape)

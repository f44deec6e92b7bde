"""How changed samples are made from the explained one, and what is known about the latter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Given, LayerMasks
from onnxplain.tensors import Array


@dataclass(frozen=True, eq=False)
class Sampling:
    """Changed samples, and what else a formula needs.

    `weights(part)` returns the weights of some of the samples, (b, ...), if the formula wants
    them. `references` are samples without content, such as a baseline. `facts()` returns
    diagnostics for the report.
    """

    made: Given | Blend | LayerMasks
    weights: Callable[[Any], Any] | None = None
    references: Given | None = None
    facts: Callable[[], Mapping[str, Any]] = dict


@dataclass(frozen=True, eq=False)
class Original:
    """The explained sample before it is changed, for some targets.

    `score` is (targets, 1), and so is `absent`, the mean score of the references. `at` is the layer
    whose map is made, with its activation, (channels, cells). All are float64. So differences of
    scores are float64 too, and their sums do not depend on the batch size. In a graph of many
    pictures each array has one more axis, the first.
    """

    scene: Scene
    score: Any
    absent: Any
    at: tuple[Layer, Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a map: the layer's grid, or the input's shape without the batch axis."""
        return self.scene.shape[1:] if self.at is None else self.at[0].grid

    @property
    def at_layer(self) -> tuple[Layer, Any]:
        """The layer whose map is made, and its activation."""
        assert self.at is not None, "the method reads no layer"
        return self.at

    def of(self, targets: Sequence[int]) -> Original:
        """The same, for some of the targets."""
        some = list(targets)
        return replace(self, score=self.score[some], absent=self.absent[some])

    def laid_out(self, values: Array) -> Array:
        """`values` as a map of `shape`; they have one value per cell, or per spatial position."""
        if self.at is None and values.shape != self.shape:
            (values,) = self.scene.broadcast_to_input(values[None])
        return np.reshape(values, self.shape)

"""What methods may ask about a model, and about one sample of it with its targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from onnxplain.analysis.classifier import Classifier
from onnxplain.analysis.layers import Layer
from onnxplain.execution.baselines import BaselineSpec
from onnxplain.execution.points import Points, passes
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import Mask


@dataclass(frozen=True, eq=False)
class Batch:
    """Scores of some perturbed samples.

    `part` says which samples; `scores` is (b, targets); `masks`, where asked for, is what each
    sample was multiplied with.
    """

    part: slice
    scores: FloatArray
    masks: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of targets' scores at some points.

    `part` says which points; `scores` is (targets, b); `values` is (targets, b, ...) of the shape
    of the input, or (targets, b, channels, rows, columns) at a layer, where `activation` is (b,
    channels, rows, columns).
    """

    part: slice
    scores: FloatArray
    values: FloatArray
    activation: FloatArray | None = None

    @property
    def passes(self) -> dict[str, int]:
        """What these gradients have cost."""
        targets, points = self.scores.shape
        return passes(points, targets)


class Anatomy(Protocol):
    """What a method may ask about a model before anything is explained."""

    def layer(self, name: str) -> Layer:
        """The layer of that name; "auto" is the last one whose grid matters to the score."""

    @property
    def main_layers(self) -> Sequence[Layer]:
        """The layers that matter and that all of the way to the score leads through, in order."""

    def blocks(self) -> int:
        """How many blocks a transformer has.

        Raises:
            LayerError: the model is none that attends to all tokens of one grid.
        """

    def classifier(self) -> Classifier:
        """The linear classifier behind a global pool."""


class Subject(Protocol):
    """One sample and its targets, as a method sees them.

    `x` is (1, ...) float32, as the model takes it; `spatial` are its axes of rows and columns of a
    picture, or of time of a signal. Where neighbours along an axis need not belong together, as in
    a row of features, it is not `smooth`, and `spatial` is every axis behind the batch; `scores` is
    (targets,).
    """

    x: FloatArray
    spatial: tuple[int, ...]
    smooth: bool
    scores: FloatArray

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers that the method asked to look at."""

    @property
    def layer(self) -> Layer:
        """The one that is looked at: the first, unless `at` chose another."""

    def at(self, layer: Layer) -> Subject:
        """The same sample, with another of the layers looked at."""

    def activation(self) -> FloatArray:
        """The activation at the layer, (channels, rows, columns)."""

    def baseline(self, spec: BaselineSpec, seed: int = 0) -> FloatArray:
        """What "absent" looks like, of the shape of `x`; `seed` is for a random one."""

    def scores_of(self, x: FloatArray) -> FloatArray:
        """Scores (targets,) of another sample of the shape of `x`."""

    def perturbed(
        self,
        mask: Mask,
        feeds: Mapping[str, Array],
        baseline: FloatArray,
        *,
        with_masks: bool = False,
    ) -> Iterator[Batch]:
        """Scores of `mask * x + (1 - mask) * baseline`, for each mask described by `feeds`."""

    def perturbed_layer(self, mask: Mask, feeds: Mapping[str, Array]) -> Iterator[Batch]:
        """Scores with the layer's activation multiplied by each mask described by `feeds`."""

    def gradients(self, points: Points, targets: Sequence[int]) -> Iterator[Gradients]:
        """Gradients by the input at points near the sample, for targets that share a graph."""

    def layer_gradients(
        self, points: Points, targets: Sequence[int]
    ) -> Iterator[Iterator[Gradients]]:
        """The same by the activation of every one of `layers`, one after the other."""

    def climb(self, channel: int, points: Points) -> Iterator[Gradients]:
        """Gradients by the input of the mean of one of the layer's channels, and that mean."""

    def spread(self, maps: Array) -> FloatArray:
        """Maps over the spatial axes, (targets, rows, columns), in the shape of the input."""

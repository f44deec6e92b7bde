"""What methods may ask about a model, and adaptive ones about a sample with its targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from onnxplain.analysis.classifier import Classifier
from onnxplain.analysis.layers import Layer
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Following
from onnxplain.tensors import FloatArray


class Structure(Protocol):
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
    """One sample and its targets, as a method sees them that chooses samples as it goes.

    `scores` is (targets,), and `spent` counts the passes so far.
    """

    scene: Scene
    scores: FloatArray
    spent: Counter[str]

    def scores_of(self, x: FloatArray) -> FloatArray:
        """Scores (targets,) of another sample of the shape of the explained one."""

    def perturbed(self, blend: Blend) -> FloatArray:
        """Scores (samples, targets) of the sample seen through masks."""

    def gradients(self, points: Following, target: int) -> Iterator[tuple[float, FloatArray]]:
        """A target's score at each point, and its gradient by the input, (1, ...)."""

    def channel_gradients(
        self, channel: int, points: Following
    ) -> Iterator[tuple[float, FloatArray]]:
        """The same for the mean of a channel of the layer that the method asked for."""

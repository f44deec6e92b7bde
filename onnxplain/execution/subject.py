"""What methods may ask about a model, and what adaptive methods and metrics ask of a sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from onnxplain.analysis.classifier import Classifier
from onnxplain.analysis.layers import Layer
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Following, Points
from onnxplain.tensors import FloatArray


class Structure(Protocol):
    """What a method may ask about a model before anything is explained."""

    def layer(self, name: str) -> Layer:
        """The layer of that name; "auto" is the last one whose grid matters to the score.

        Raises:
            LayerError: there is no such layer, it has no grid, or the score does not depend on it.
        """

    @property
    def auto_layers(self) -> Sequence[Layer]:
        """The layers that methods with maps at several layers explain by default.

        For a detector they are the outputs of its feature pyramid; else only `layer("auto")`.

        Raises:
            LayerError: there is no layer with a grid.
        """

    @property
    def finds_boxes(self) -> bool:
        """Whether the model is a detector, and boxes are explained."""

    @property
    def main_layers(self) -> Sequence[Layer]:
        """The layers that matter and that every path to the score passes through, in order."""

    def blocks(self) -> int:
        """The number of blocks of a transformer.

        Raises:
            LayerError: the model is no transformer that attends to all tokens of one grid.
        """

    def class_token(self) -> int:
        """The index of the token of a transformer that the score is read from.

        Raises:
            LayerError: the model is no such transformer; the score is read from other tokens; or
                the queries and keys of a block were not found.
        """

    def classifier(self) -> Classifier:
        """The linear classifier after a global pool.

        Raises:
            LayerError: there is none.
        """


class Subject(Protocol):
    """One sample and its targets, for adaptive methods and for metrics.

    `scores` is (targets,), and `spent` counts the passes so far.
    """

    scene: Scene
    scores: FloatArray
    spent: Counter[str]

    def scores_of(self, x: FloatArray) -> FloatArray:
        """Scores (targets,) of another sample with the shape of the explained one."""

    def perturbed(self, made: Points) -> FloatArray:
        """Scores (samples, targets) of changed samples: blended with a baseline, or other points.

        A blend has one sample for each of its masks.
        """

    def gradients(self, points: Following, target: int) -> Iterator[tuple[float, FloatArray]]:
        """Yield a target's score at each point, and its gradient at the input, (1, ...)."""

    def channel_gradients(
        self, channel: int, points: Following
    ) -> Iterator[tuple[float, FloatArray]]:
        """The same for the mean activation of a channel of the method's layer, not for a target."""

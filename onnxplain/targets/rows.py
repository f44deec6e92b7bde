"""Targets that a graph chooses by one number: a row of a detector, a predicted region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxplain.formulas.namespace import Namespace, quotient
from onnxplain.model.shapes import Shape
from onnxplain.targets.target import Target
from onnxplain.tensors import Array
from onnxplain.transforms.detections import BOXES, SCORES

CODE = "code"
"""The parameter of targets that are chosen by one number, int64."""


@dataclass(frozen=True)
class Row(Target):
    """The largest class score in one row of a detector's boxes.

    A number of −1 means the row with the largest score of all.
    """

    index: int = -1
    reads: tuple[str, ...] = (BOXES, SCORES)
    shares_graph: ClassVar[bool] = True
    at_one_place: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    own_kind: ClassVar[str | None] = "confidence"

    @property
    def name(self) -> str:
        """The row, as in `row 17`."""
        return f"row {self.index}"

    def parameters(self, *shapes: Shape) -> Mapping[str, Array]:
        """See `Target`."""
        return {CODE: np.array(self.index, np.int64)}

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See `Target`: the row, instead of −1."""
        _, scores = answer
        return {CODE: xp.ranked(xp.max(scores, axis=-2), parameters[CODE])}

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The largest score of the row."""
        _, scores = read
        return xp.take(xp.max(scores, axis=-2), self.settled(xp, read, parameters)[CODE])


@dataclass(frozen=True)
class PredictedRegion(Target):
    """The mean score of a class over the cells where it is predicted, in a map of scores.

    A class of −1 means the one that is predicted in most cells. The cells depend on the answer,
    but the gradient is that of the scores only. It is 0 for a class that is predicted nowhere. The
    number equals that of `Region` for the predicted cells, unless scores are equal.

    Attributes:
        axis: the axis of the classes in the answer (N, ...).
        threshold: a class is predicted where its score is above this; if it is None, where its
            score is the largest.
    """

    axis: int
    threshold: float | None = None
    index: int = -1
    shares_graph: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The class, as in `3@predicted`."""
        return f"{self.index}@predicted"

    def parameters(self, *shapes: Shape) -> Mapping[str, Array]:
        """See `Target`."""
        return {CODE: np.array(self.index, np.int64)}

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See `Target`: the class, instead of −1."""
        _, counts = self._sums(xp, answer)
        return {CODE: xp.ranked(counts, parameters[CODE])}

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The mean over the cells; 0 if there are none."""
        (answer,) = read
        sums, counts = self._sums(xp, answer)
        own = xp.ranked(counts, parameters[CODE])
        return quotient(xp, xp.take(sums, own), xp.take(counts, own))

    def _sums(self, xp: Namespace, answer: Any) -> tuple[Any, Any]:
        """For each class, the sum of its scores where it is predicted, and the number of cells."""
        rank = len(answer.shape)
        cells = tuple(axis - rank for axis in range(1, rank) if axis != self.axis % rank)
        least = self.threshold
        if least is None:
            where = answer == xp.max(answer, axis=self.axis % rank - rank, keepdims=True)
        else:
            where = answer > least
        here = xp.where(where, 1.0, 0.0)
        return xp.sum(answer * here, axis=cells), xp.sum(here, axis=cells)

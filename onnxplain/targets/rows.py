"""Targets that a graph chooses by one number: a row of a detector, a predicted region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from onnxplain.formulas.namespace import Namespace, quotient
from onnxplain.model.shapes import Shape
from onnxplain.targets.boxes import CORNERS, Box
from onnxplain.targets.described import ExplainedBox
from onnxplain.targets.elements import Mask
from onnxplain.targets.target import Target
from onnxplain.tensors import Array
from onnxplain.transforms.detections import BOXES, SCORES

CODE = "code"
"""The parameter of targets that are chosen by one number, int64."""

_ANY_BOX = Box(0, (0.0, 0.0, 0.0, 0.0), ExplainedBox(0, 0, 0, 0, 0))
"""A box for its formula: which box it is, is said by parameters."""


@dataclass(frozen=True)
class Row(Target):
    """The largest class score in one row of a detector's boxes.

    A number of −1 means the row with the largest score of all. `reads` are the tensors of boxes and
    of class scores, and that of classes if the model gives each box only one.
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
        _, scores, *_ = answer
        return {CODE: xp.ranked(xp.max(scores, axis=-2), parameters[CODE])}

    def exists(self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]) -> Any:
        """See `Target`: rows of zeros only fill up the tensors."""
        boxes, scores, *_ = answer
        row = self.settled(xp, answer, parameters)[CODE]
        largest = xp.maximum(xp.max(xp.abs(boxes), axis=-2), xp.max(xp.abs(scores), axis=-2))
        # Where scores are NaN, it is not known.
        return xp.take(largest, row) != 0

    def anchored(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> tuple[Target, Mapping[str, Any]]:
        """See `Target`: the box of the row, with its class, the first one of largest score."""
        boxes, scores, *labels = answer
        *_, classes, rows = scores.shape
        row = self.settled(xp, answer, parameters)[CODE]
        first = row * xp.whole(0) - xp.whole(1)
        sides = xp.parts(xp.flatten(boxes), [(rows,)] * len(CORNERS))
        corners = {
            name: xp.unflattened(xp.take(side, row), (row.shape[0], 1))
            for name, side in zip(CORNERS, sides, strict=True)
        }
        settled = {**corners, "best": first}
        if labels:
            (of_rows,) = labels
            own = xp.take(xp.flatten(of_rows), row)
            settled["index"] = xp.unflattened(own, (row.shape[0], 1))
        else:
            own = xp.matmul(scores, xp.unflattened(xp.one_hot(row, rows), (rows, 1)))
            which = xp.one_hot(xp.ranked(xp.flatten(own), first), classes)
            settled["which"] = xp.unflattened(which, (1, classes))
        return replace(_ANY_BOX, has_labels=bool(labels)), settled

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The largest score of the row."""
        _, scores, *_ = read
        return xp.take(xp.max(scores, axis=-2), self.settled(xp, read, parameters)[CODE])


@dataclass(frozen=True)
class PredictedRegion(Target):
    """The mean score of a class over the cells where it is predicted, in a map of scores.

    A class of −1 means the one that is predicted in most cells. The cells depend on the answer,
    but the gradient is that of the scores only. It is 0 for a class that is predicted nowhere. The
    number equals that of `Region` for the predicted cells.

    Attributes:
        axis: the axis of the classes in the answer (N, ...).
        threshold: a class is predicted where its score is above this; if it is None, where it is
            the first one of the largest score.
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

    def exists(self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]) -> Any:
        """See `Target`: the class must be predicted in a cell."""
        _, counts = self._sums(xp, answer)
        return xp.take(counts, xp.ranked(counts, parameters[CODE])) > 0

    def anchored(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> tuple[Target, Mapping[str, Any]]:
        """See `Target`: the mean over the cells where the class is predicted in this answer."""
        shape = answer.shape[1:]
        classes = [n if i == self.axis % (len(shape) + 1) else 1 for i, n in enumerate(shape, 1)]
        here = self._predicted(xp, answer)
        _, counts = self._sums(xp, answer)
        own = xp.ranked(counts, parameters[CODE])
        picked = xp.unflattened(xp.one_hot(own, max(classes)), tuple(classes))
        count = xp.unflattened(xp.take(counts, own), (own.shape[0], *[1] * len(shape)))
        return Mask(np.zeros(shape, np.float32)), {"weights": quotient(xp, here * picked, count)}

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The mean over the cells; 0 if there are none, and NaN if a score of the class is."""
        (answer,) = read
        sums, counts = self._sums(xp, answer)
        own = xp.ranked(counts, parameters[CODE])
        return xp.take(sums, own) / xp.maximum(xp.take(counts, own), 1.0)

    def _sums(self, xp: Namespace, answer: Any) -> tuple[Any, Any]:
        """For each class, the sum of its scores where it is predicted, and the number of cells."""
        rank = len(answer.shape)
        cells = tuple(axis - rank for axis in range(1, rank) if axis != self.axis % rank)
        here = self._predicted(xp, answer)
        return xp.sum(answer * here, axis=cells), xp.sum(here, axis=cells)

    def _predicted(self, xp: Namespace, answer: Any) -> Any:
        """1 where a class is predicted, else 0."""
        if self.threshold is None:
            return xp.first_largest(answer, axis=self.axis % len(answer.shape) - len(answer.shape))
        return xp.where(answer > self.threshold, 1.0, 0.0)

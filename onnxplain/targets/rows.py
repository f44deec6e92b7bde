"""Targets that a graph chooses by numbers: a row of a detector, a class and cells of a map."""

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

CELLS = "cells"
"""The parameter with 1 at the cells that are explained, float32 (rows, columns); 0 elsewhere."""

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
class ChosenRegion(Target):
    """The mean score of a class over some cells, in a map of scores.

    The cells are those of the parameter `CELLS`, or, if it has none, those where the class is
    predicted. A class of −1 means the one that is predicted in most of the cells, or in most of
    all. Predicted cells depend on the answer, but the gradient is that of the scores only. The
    number is 0 for a class that is predicted nowhere. It equals that of `Region` for the same
    cells.

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

    def parameters(self, shape: Shape) -> Mapping[str, Array]:
        """See `Target`."""
        grid = [n for axis, n in enumerate(shape, 1) if axis != self.axis % (len(shape) + 1)]
        return {CODE: np.array(self.index, np.int64), CELLS: np.zeros(grid, np.float32)}

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See `Target`: the class, instead of −1."""
        areas = self._areas(xp, answer, parameters[CELLS])
        return {**parameters, CODE: xp.ranked(areas, parameters[CODE])}

    def exists(self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]) -> Any:
        """See `Target`: the class must be predicted in a cell, unless it and cells are named."""
        code, cells = parameters[CODE], parameters[CELLS]
        areas = self._areas(xp, answer, cells)
        named = xp.where(xp.real(code) >= 0, 1.0, 0.0) * xp.max(xp.flatten(cells), axis=-1)
        return xp.take(areas, xp.ranked(areas, code)) + named > 0

    def anchored(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> tuple[Target, Mapping[str, Any]]:
        """See `Target`: the mean over the cells that are explained in this answer."""
        shape = answer.shape[1:]
        classes = [n if i == self.axis % (len(shape) + 1) else 1 for i, n in enumerate(shape, 1)]
        here = self._explained(xp, answer, parameters[CELLS])
        own = self.settled(xp, answer, parameters)[CODE]
        picked = xp.unflattened(xp.one_hot(own, max(classes)), tuple(classes))
        count = xp.take(self._over_cells(xp, here), own)
        counts = xp.unflattened(count, (own.shape[0], *[1] * len(shape)))
        return Mask(np.zeros(shape, np.float32)), {"weights": quotient(xp, here * picked, counts)}

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The mean over the cells; 0 if there are none, and NaN if a score of the class is."""
        (answer,) = read
        here = self._explained(xp, answer, parameters[CELLS])
        own = self.settled(xp, answer, parameters)[CODE]
        sums, counts = (self._over_cells(xp, a) for a in (answer * here, here))
        return xp.take(sums, own) / xp.maximum(xp.take(counts, own), 1.0)

    def _over_cells(self, xp: Namespace, a: Any) -> Any:
        """The sum for each class, (N, classes)."""
        rank = len(a.shape)
        return xp.sum(a, axis=tuple(i - rank for i in range(1, rank) if i != self.axis % rank))

    def _areas(self, xp: Namespace, answer: Any, cells: Any) -> Any:
        """In how many of the cells each class is predicted, or in how many of all."""
        own, given = self._aligned(xp, answer, cells)
        return self._over_cells(xp, self._predicted(xp, answer) * xp.where(given > 0, own, 1.0))

    def _explained(self, xp: Namespace, answer: Any, cells: Any) -> Any:
        """1 at the cells that are explained for each class, else 0, in the answer's shape."""
        own, given = self._aligned(xp, answer, cells)
        here = self._predicted(xp, answer)
        return xp.where(given > 0, own + here * 0.0, here)

    def _aligned(self, xp: Namespace, answer: Any, cells: Any) -> tuple[Any, Any]:
        """The cells beside the answer, and 1 if there are any, with axes like the answer's."""
        rank, places = len(answer.shape), xp.flatten(cells)
        sizes = [1 if i == self.axis % rank else n for i, n in enumerate(answer.shape)][1:]
        given = xp.max(places, axis=-1, keepdims=True)
        return xp.unflattened(places, tuple(sizes)), xp.unflattened(given, (1,) * (rank - 1))

    def _predicted(self, xp: Namespace, answer: Any) -> Any:
        """1 where a class is predicted, else 0."""
        if self.threshold is None:
            return xp.first_largest(answer, axis=self.axis % len(answer.shape) - len(answer.shape))
        return xp.where(answer > self.threshold, 1.0, 0.0)

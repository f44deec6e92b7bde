"""Targets for detectors: the score of one detected box, or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxplain.formulas.namespace import Namespace, quotient, relu
from onnxplain.model.shapes import Shape
from onnxplain.targets.class_names import check_class, class_name
from onnxplain.targets.combination import Combination
from onnxplain.targets.described import ExplainedBox, ExplainedTarget, box_name
from onnxplain.targets.target import Target
from onnxplain.tensors import Array
from onnxplain.transforms.detections import BOXES, LABELS, SCORES


@dataclass(frozen=True)
class Box(Target):
    """The score of a detected box: the class score of the row that fits the box best.

    A detector orders its boxes differently in each picture. So the box is found again in each
    sample: it is the row with the largest IoU · score, where IoU is the intersection of its box
    with `corners` over their union, and score is the class score, times the objectness if the model
    has one. Once the row is found, the number is linear in the tensor of scores. Methods that score
    changed samples explain the largest IoU · score itself, see `MatchedBox`.

    Attributes:
        index: the class.
        corners: x1, y1, x2, y2 in pixels of the model's input.
        place: the box on the picture, and its score there.
        label: the name of the class.
        has_labels: whether the model gives each box only one class.
    """

    index: int
    corners: tuple[float, float, float, float]
    place: ExplainedBox
    label: str | None = None
    has_labels: bool = False
    shares_graph: ClassVar[bool] = True
    at_one_place: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    own_kind: ClassVar[str | None] = "confidence"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """See `Target`: boxes, class scores, and classes if each box has only one."""
        return (BOXES, SCORES, LABELS) if self.has_labels else (BOXES, SCORES)

    @property
    def name(self) -> str:
        """Index, label and rank, as in `0 person#2`."""
        called = class_name(self.index, self.label)
        return called if self.place.rank == 1 else f"{called}#{self.place.rank}"

    @property
    def of_changed(self) -> Target:
        """See `Target`."""
        return MatchedBox(self.index, self.corners, self.place, self.label, self.has_labels)

    def parameters(self, boxes: Shape, scores: Shape, *_: Shape) -> Mapping[str, Array]:
        """See `Target`."""
        corners = {
            name: np.array([x], np.float32) for name, x in zip(CORNERS, self.corners, strict=True)
        }
        best = {"best": np.array(-1, np.int64)}
        if self.has_labels:
            return {**corners, **best, "index": np.array([self.index], np.float32)}
        which = np.zeros((1, scores[0]), np.float32)
        which[0, self.index] = 1
        return {**corners, **best, "which": which}

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The class score of the row with the largest IoU · score."""
        scores, match = self._matched(xp, *read, **parameters)
        return xp.take(scores, xp.ranked(match, parameters["best"]))

    def _matched(
        self, xp: Namespace, boxes: Any, scores: Any, *labels: Any, **parameters: Any
    ) -> tuple[Any, Any]:
        """The class score of each row, and IoU · score, (N, boxes)."""
        if self.has_labels:
            (of_rows,) = labels
            is_own = xp.flatten(of_rows) == parameters["index"]
            own = xp.where(is_own, xp.flatten(scores), 0.0)
        else:
            own = xp.flatten(xp.matmul(parameters["which"], scores))
        rows = xp.parts(xp.flatten(boxes), [(boxes.shape[-1],)] * len(CORNERS))
        return own, own * intersection_over_union(xp, rows, [parameters[name] for name in CORNERS])

    def check(self, boxes: Shape, scores: Shape, *_: Shape) -> None:
        """See `Target`: the model must have this class."""
        if not self.has_labels:
            check_class(self.index, scores[0])

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        name = box_name(self.index, self.label, self.place.rank)
        return ExplainedTarget(name, self.index, self.label, boxes=(self.place,))


CORNERS = ("x1", "y1", "x2", "y2")
"""The parameters with the corners of a box."""


class MatchedBox(Box):
    """The largest IoU · score of all rows: how well a box is still detected.

    Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps", CVPR 2021, with
    the score of the box's class in place of the cosine of all class scores.
    """

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """See the class."""
        _, match = self._matched(xp, *read, **parameters)
        return xp.max(match, axis=-1)


@dataclass(frozen=True)
class Boxes(Combination):
    """The sum of the scores of several detected boxes."""

    boxes: tuple[Box, ...]
    name: str = "any"
    at_one_place: ClassVar[bool] = False

    @property
    def parts(self) -> Sequence[Target]:
        """See `Combination`."""
        return self.boxes

    def of_parts(self, parts: Sequence[Target]) -> Boxes:
        """See `Combination`."""
        return Boxes(tuple(parts), self.name)  # type: ignore[arg-type]

    def kind(self, plain: str) -> str:
        """See `Target`."""
        return "sum of confidences"

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        return ExplainedTarget(self.name, boxes=tuple(box.place for box in self.boxes))


def intersection_over_union(xp: Namespace, a: Sequence[Any], b: Sequence[Any]) -> Any:
    """The area that two boxes share over the area that they cover; boxes are x1, y1, x2, y2.

    The four arrays of `a` and those of `b` must broadcast.
    """
    sides = [
        relu(xp, -xp.maximum(-end_a, -end_b) - xp.maximum(start_a, start_b))
        for start_a, end_a, start_b, end_b in ((*a[::2], *b[::2]), (*a[1::2], *b[1::2]))
    ]
    shared = sides[0] * sides[1]
    return quotient(xp, shared, _area(a) + _area(b) - shared)


def _area(box: Sequence[Any]) -> Any:
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1)

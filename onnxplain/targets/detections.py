"""The boxes that a detector finds in one picture, and how a user names them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from onnxplain.errors import NotInPictureError, TargetError
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.images.geometry import Placement
from onnxplain.images.opencv import cv2
from onnxplain.targets.boxes import Box, Boxes, intersection_over_union
from onnxplain.targets.class_names import (
    ClassNames,
    check_class,
    class_in_words,
    class_label,
    top_count,
)
from onnxplain.targets.contrast import compared
from onnxplain.targets.described import ExplainedBox
from onnxplain.targets.finite import check_finite
from onnxplain.targets.forms import class_index, listed
from onnxplain.targets.target import Target
from onnxplain.tensors import Array, FloatArray

CONFIDENT = 0.25
"""The least score of a box that counts as detected."""

_LEAST = 0.01
"""The least score of a box that can be named by its class."""

_OVERLAP = 0.5
"""Of two boxes of one class with a larger intersection over union, only the better one is kept."""

_MOST = 1000
"""Number of boxes that are considered, those with the largest scores."""

_KIND = "boxes"

_ANY = "any"
_NUMBER = r"\d+(?:\.\d+)?"
_PLACE = rf"box:-?{_NUMBER},-?{_NUMBER},{_NUMBER},{_NUMBER}|{_NUMBER},{_NUMBER}"
_PIECE = re.compile(rf"([^,@#]*)(?:#(\d+|{_ANY}))?(?:@({_PLACE}))?(\s+-\s+[^,@#]*)?(?:,+\s*|$)")


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes of one sample, those with the largest scores first.

    Attributes:
        boxes: of two boxes of one class that overlap much, only the one with the larger score.
        labels: the names of the classes, if known.
        classes: number of class scores of each box; None if each box has only one class.
    """

    boxes: Sequence[Box]
    labels: ClassNames | None = None
    classes: int | None = None

    @property
    def confident(self) -> list[Box]:
        """The boxes that count as detected."""
        return [box for box in self.boxes if box.place.confidence >= CONFIDENT]

    def resolve(self, text: str) -> list[Target]:
        """The targets that `text` means: one form of boxes, or several with commas between them.

        A number after "#" is the rank among the boxes of the class, by score. A point means the box
        with the largest score that contains it, and a box the detected one that overlaps it most.

        Raises:
            TargetError: the text cannot be read, or no such box was found.
        """
        found, end, text = list[Target](), 0, text.strip(" ,")
        while end < len(text) or not text:
            piece = _PIECE.match(text, end)
            if piece is None or not piece[0]:
                raise TargetError(
                    f"The target {text!r} cannot be read: name a box of this detector as "
                    f"{listed(_KIND)}."
                )
            end = piece.end()
            found += self._meant(piece[1].strip() + (piece[4] or ""), piece[2], piece[3])
        return found

    def _meant(self, what: str, rank: str | None, place: str | None) -> Sequence[Target]:
        top = top_count(what)
        if top is not None and rank is None and place is None:
            return self._top(top)

        def one(name: str) -> Target:
            return self._one(name, rank, place)

        return [compared(what, self.labels, one, self._of_class)]

    def _one(self, what: str, rank: str | None, place: str | None) -> Target:
        """A box, or all of a class, by class, rank and place."""
        if what in ("", _ANY):
            chosen, called = self.boxes, "box"
        else:
            index = class_index(what, self.labels, _KIND)
            chosen = [box for box in self.boxes if box.index == index]
            called = f"box of class {class_in_words(index, self.labels)}"
        if place is not None:
            chosen = _at(place, chosen)
            called = f"{called} at {place}"
        if _ANY in (rank, what):
            several = [box for box in chosen if box.place.confidence >= CONFIDENT]
            return Boxes(tuple(several), _name(what, rank)) if several else self._none(called)
        number = int(rank or 1)
        return chosen[number - 1] if 1 <= number <= len(chosen) else self._none(called, number)

    def _of_class(self, own: Target, name: str) -> Target:
        """The score of another class at the place of a box."""
        index = class_index(name, self.labels, _KIND)
        if not isinstance(own, Box):
            raise TargetError(
                f"Another class is compared at one box, and {own.name!r} means several: name one."
            )
        if self.classes is None:
            raise TargetError(
                "This detector gives each box only one class, so there is no score of class "
                f"{class_in_words(index, self.labels)} at the box of another class."
            )
        check_class(index, self.classes)
        place = replace(own.place, rank=1)
        return replace(own, index=index, label=class_label(index, self.labels), place=place)

    def _top(self, count: int) -> Sequence[Target]:
        confident = self.confident
        if not count:
            raise TargetError("There is no top0: count from top1.")
        if not confident:
            raise NotInPictureError(f"There is no top{count}: {self._found}.")
        return confident[:count]

    def _none(self, called: str, number: int = 1) -> NoReturn:
        which = "no" if number == 1 else f"no number {number}"
        raise NotInPictureError(f"There is {which} {called} in this picture: {self._found}.")

    @property
    def _found(self) -> str:
        shown = [f"{b.label or b.index} ({b.place.confidence:.2f})" for b in self.confident[:8]]
        return f"found were {', '.join(shown)}" if shown else f"no score is above {CONFIDENT}"


def _name(what: str, rank: str | None) -> str:
    return _ANY if what in ("", _ANY) else f"{what}-{rank}"


def _at(place: str, boxes: Sequence[Box]) -> list[Box]:
    """The boxes at a place in the picture, the best first."""
    numbers = [float(number) for number in place.removeprefix("box:").split(",")]
    if len(numbers) == 2:
        x, y = numbers
        return [
            box
            for box in boxes
            if 0 <= x - box.place.x < box.place.width and 0 <= y - box.place.y < box.place.height
        ]
    x, y, width, height = numbers
    given = [np.array(side) for side in (x, y, x + width, y + height)]
    overlaps = [_overlap(box.place, given) for box in boxes]
    order = np.argsort(overlaps)[::-1]
    return [boxes[i] for i in order if overlaps[i] > 0]


def _overlap(place: ExplainedBox, given: Sequence[Array]) -> float:
    sides = place.x, place.y, place.x + place.width, place.y + place.height
    return float(intersection_over_union(NUMPY, [np.array(side) for side in sides], given))


def detected(
    corners: FloatArray,
    scores: FloatArray,
    classes: FloatArray | None,
    placement: Placement,
    labels: ClassNames | None,
) -> Detections:
    """The boxes that a detector finds in a sample.

    Args:
        corners: (4, boxes): x1, y1, x2, y2 in pixels of the model's input.
        scores: (classes, boxes), or (1, boxes) with `classes`.
        classes: (1, boxes), the class of each box if it has only one.
        placement: how the picture became the sample.
        labels: the names of the classes, if known.

    Raises:
        MapError: a score is not finite.
    """
    check_finite(scores, of="detector")
    order = np.argsort(-scores, axis=None, kind="stable")[:_MOST]
    row, box = np.unravel_index(order[scores.ravel()[order] >= _LEAST], scores.shape)
    index = row if classes is None else np.rint(classes[0, box]).astype(int)
    x1, y1, x2, y2 = corners[:, box]
    found, ranks = list[Box](), Counter[int]()
    for i in _without_overlaps(np.stack([x1, y1, x2 - x1, y2 - y1], 1), scores[row, box], index):
        own = int(index[i])
        ranks[own] += 1
        sides = float(x1[i]), float(y1[i]), float(x2[i]), float(y2[i])
        place = _on_picture(sides, placement, float(scores[row[i], box[i]]), ranks[own])
        found.append(Box(own, sides, place, class_label(own, labels), classes is not None))
    return Detections(found, labels, len(scores) if classes is None else None)


def _without_overlaps(boxes: Array, scores: Array, classes: Array) -> list[int]:
    """Indices of the boxes (x, y, width, height) that no better one of their class overlaps much.

    The boxes must be sorted by score, and the indices are in that order.
    """
    kept = cv2.dnn.NMSBoxesBatched(
        boxes.tolist(), scores.tolist(), classes.tolist(), _LEAST, _OVERLAP
    )
    return sorted(np.ravel(np.asarray(kept)).astype(int).tolist())


def _on_picture(
    corners: Sequence[float], placement: Placement, confidence: float, rank: int
) -> ExplainedBox:
    """A box of the model's input on the picture, without its part outside of the picture."""
    (height, width), (down, across) = placement.picture, placement.scale
    top, left = placement.offset
    x1, x2 = (min(max((x - left) / across, 0), width) for x in corners[::2])
    y1, y2 = (min(max((y - top) / down, 0), height) for y in corners[1::2])
    x, y, across, down = (round(float(n), 2) for n in (x1, y1, x2 - x1, y2 - y1))
    return ExplainedBox(x, y, across, down, confidence, rank)

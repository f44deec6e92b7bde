"""A model's answer for one sample, and what is known about it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxplain.analysis.answer_maps import AnswerMap
from onnxplain.counts import counted
from onnxplain.errors import PreprocessError, TargetError
from onnxplain.images.geometry import Placement
from onnxplain.model.shapes import Shape
from onnxplain.targets.answer_shape import class_count, is_one_number_per_class
from onnxplain.targets.class_names import ClassNames, class_label
from onnxplain.targets.finite import check_finite
from onnxplain.targets.probabilities import Probabilities
from onnxplain.targets.target import Target
from onnxplain.tensors import Array, FloatArray


class Named(Protocol):
    """What was found in one sample of a model whose targets are not classes."""

    def resolve(self, text: str) -> list[Target]:
        """The targets that a user's text means; TargetError if it means none."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A model's answer for one sample, and what is known about it.

    Attributes:
        values: the scores, (1, ...).
        labels: the names of the classes, if known.
        classes: the axis of the classes if the answer is a map of scores, with one score for each
            class in each cell; else None.
        threshold: in a map, a class is predicted where its score is above this, or if it is None,
            where its score is the largest.
        placement: how the picture became the sample; None if there are no rows and columns.
        shapes: shapes of the tensors that targets read, for one sample, without the batch axis; by
            default only the shape of `values`.
        embedding: why the answer is an embedding and has no classes, in words; empty if it is none.
        named: says what the text of targets means, if they are not classes.
        answer_map: what the answer is if it has rows and columns; by default scores of `classes`.
        probabilities: how scores of classes become probabilities; None if they have none.

    Raises:
        PreprocessError: `labels` has more classes than the model, so all labels may be wrong.
    """

    values: Array
    labels: ClassNames | None = None
    classes: int | None = None
    threshold: float | None = None
    placement: Placement | None = None
    shapes: Sequence[Shape] = ()
    embedding: str = ""
    named: Named | None = None
    answer_map: AnswerMap | None = None
    probabilities: Probabilities | None = None

    def __post_init__(self) -> None:
        count = self._class_count
        if self.labels is not None and count > 1 and self.labels.last >= count:
            raise PreprocessError(
                f"The labels ({self.labels.origin}) go up to class {self.labels.last}, and the "
                f"model's last class is {count - 1}: give the labels that belong to it."
            )

    @property
    def _class_count(self) -> int:
        """Number of classes; 0 if it is unknown."""
        shape = self.values.shape[1:]
        if self.answer_map is not None and self.answer_map.kind != "classes":
            return 0
        if self.classes is not None:
            return int(self.values.shape[self.classes])
        return int(self.values[0].size) if is_one_number_per_class(shape) else 0

    @property
    def has_classes(self) -> bool:
        """Whether it is known which numbers belong to a class."""
        return self._class_count > 0 and not self.embedding

    @property
    def top_class(self) -> int | None:
        """The class with the largest score; None if the answer is not one score for each class.

        It is also None for one class alone, and for scores that are not finite.
        """
        flat = self.has_classes and self.classes is None and self._class_count > 1
        scores = self.values[0].ravel() if flat else self.values[:0]
        return int(scores.argmax()) if flat and np.isfinite(scores).all() else None

    @property
    def warning(self) -> str:
        """A warning about a list of labels that is shorter than that of classes; else empty."""
        count, labels = self._class_count, self.labels
        if labels is None or not labels.in_order or labels.last + 1 >= count:
            return ""
        return (
            f"The labels ({labels.origin}) are a list of {labels.last + 1}, and the model has "
            f"{count} classes, so names may belong to other classes: give a name for each class, "
            "or names by index."
        )

    def label(self, index: int) -> str | None:
        """The name of a class; None if it has none."""
        return class_label(index, self.labels)

    @property
    def maps(self) -> FloatArray:
        """The map of each class, (classes, rows, columns)."""
        assert self.classes is not None, "the answer is no map of scores"
        found: FloatArray = np.moveaxis(self.values, self.classes, 1)[0].astype(np.float32)
        check_finite(found)
        return found

    def top(self, count: int) -> Sequence[int]:
        """The classes with the largest scores, the largest first.

        Raises:
            MapError: the scores are not finite, so there is no largest one.
            TargetError: the answer is not one number per class, or holds fewer classes.
        """
        _check_count(count, self.values.shape[1:])
        if count == 1:
            return [int(self._finite.argmax())]
        return [int(i) for i in self._order[:count]]

    @functools.cached_property
    def _finite(self) -> FloatArray:
        """The score of each class."""
        scores: FloatArray = self.values[0].ravel().astype(np.float32)
        check_finite(scores)
        return scores

    @functools.cached_property
    def _order(self) -> Array:
        """All classes, sorted by score, the largest first; equal scores by index."""
        return np.argsort(-self._finite, kind="stable")

    def predicted(self) -> Array:
        """Where each class is predicted, bool (classes, rows, columns)."""
        maps = self.maps
        if self.threshold is not None:
            return np.asarray(maps > self.threshold)
        return np.asarray(maps.argmax(axis=0) == np.arange(len(maps))[:, None, None])

    @property
    def is_output(self) -> bool:
        """Whether the answer is one number that has no name of a class.

        If there are several names, it is not known which of them the number belongs to.
        """
        single = self.values[0].size == 1 and self.classes is None
        return single and (self.labels is None or self.labels.last > 0)


class Unanswered(Answered):
    """An answer of which only the shape is known; it has one number per class."""

    def top(self, count: int) -> Sequence[int]:
        """The codes −1, −2, ... for the classes with the largest scores, see `Class`."""
        _check_count(count, self.values.shape[1:])
        return [-1 - rank for rank in range(count)]


def _check_count(count: int, shape: tuple[int, ...]) -> None:
    classes = class_count(shape)
    if not count:
        raise TargetError("There is no top0: count from top1.")
    if count > classes:
        raise TargetError(
            f"There is no top{count}: the model has {counted(classes, 'class', 'classes')}."
        )

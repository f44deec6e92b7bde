"""What is being explained: one number per sample, read off the model's answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.tensors import Array, FloatArray


@runtime_checkable
class Target(Protocol):
    """A number to explain. `name` is what files and reports call it."""

    @property
    def name(self) -> str:
        """Short, for files and reports."""

    def score(self, answers: Array) -> FloatArray:
        """The number for each sample, (N,), from the model's answers, (N, ...)."""


@runtime_checkable
class SmoothTarget(Target, Protocol):
    """A target that methods with gradients can explain too."""

    def gradient(self, answers: Array) -> FloatArray:
        """The derivative of each sample's number by its answer, (N, ...) like `answers`."""


@dataclass(frozen=True)
class Class:
    """The score of one class of a classifier, whose answer is one number per class."""

    index: int
    label: str | None = None

    @property
    def name(self) -> str:
        """Index and label."""
        return str(self.index) if self.label is None else f"{self.index} {self.label}"

    def score(self, answers: Array) -> FloatArray:
        """Column `index` of the scores.

        Raises:
            TargetError: the answer is not one number per class, or has no such class.
        """
        rows = class_scores(answers)
        if not 0 <= self.index < rows.shape[1]:
            raise TargetError(
                f"There is no class {self.index}: the model has {rows.shape[1]} classes, "
                f"0 to {rows.shape[1] - 1}."
            )
        return rows[:, self.index]

    def gradient(self, answers: Array) -> FloatArray:
        """1 for the class, 0 for all others."""
        slopes = np.zeros(answers.shape, np.float32)
        slopes.reshape(len(answers), -1)[:, self.index] = 1
        return slopes


@dataclass(frozen=True)
class Element:
    """One element of the answer, by its index behind the batch axis."""

    index: tuple[int, ...]

    @property
    def name(self) -> str:
        """The index, as in `element 3,10,10`."""
        return "element " + ",".join(map(str, self.index))

    def score(self, answers: Array) -> FloatArray:
        """The element of each sample.

        Raises:
            TargetError: the answer has no such element.
        """
        shape = answers.shape[1:]
        inside = len(self.index) == len(shape) and all(
            -size <= i < size for i, size in zip(self.index, shape, strict=True)
        )
        if not inside:
            raise TargetError(f"The answer of shape {shape} has no element {self.index}.")
        return np.asarray(answers[self._place], np.float32)

    def gradient(self, answers: Array) -> FloatArray:
        """1 for the element, 0 for all others."""
        slopes = np.zeros(answers.shape, np.float32)
        slopes[self._place] = 1
        return slopes

    @property
    def _place(self) -> tuple[slice | int, ...]:
        return (slice(None), *self.index)


@dataclass(frozen=True, eq=False)
class Mask:
    """A weighted sum of the answer: a region of a segmentation map, a set of classes, ...

    `weights` has the shape of one sample's answer. For "class 3 inside this region, on average",
    put 1 / (number of pixels) at those pixels of channel 3 and 0 elsewhere.
    """

    weights: FloatArray
    name: str = "mask"

    def score(self, answers: Array) -> FloatArray:
        """The weighted sum for each sample.

        Raises:
            TargetError: the weights do not have the answer's shape.
        """
        if self.weights.shape != answers.shape[1:]:
            raise TargetError(
                f"The mask has shape {self.weights.shape}, the answer {answers.shape[1:]}: they "
                "must be the same."
            )
        axes = tuple(range(1, answers.ndim))
        product: FloatArray = (answers.astype(np.float32) * self.weights).sum(axis=axes)
        return product

    def gradient(self, answers: Array) -> FloatArray:
        """The weights."""
        slopes: FloatArray = np.broadcast_to(self.weights, answers.shape).astype(np.float32)
        return slopes


@dataclass(frozen=True, eq=False)
class Region:
    """The mean score of a class over some cells of a map of scores, as segmenters answer.

    `cells` is bool, of the shape of the map's rows and columns, and `axis` the axis of the classes
    in the answer (N, ...): 1, or -1 where they come last. `where` says in words which cells these
    are. They stay the same whatever the answer is, so that the gradient is constant.

    Vinogradova, Dibrov and Myers, "Towards Interpretable Semantic Segmentation via
    Gradient-weighted Class Activation Mapping", AAAI 2020, with the mean for their sum.

    Raises:
        TargetError: there is no cell.
    """

    index: int
    cells: Array
    axis: int = 1
    label: str | None = None
    where: str = "region"

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", np.asarray(self.cells, bool))
        if not self.cells.any():
            raise TargetError(f"The region {self.where!r} holds no cell of the answer's map.")

    @property
    def name(self) -> str:
        """Index, label, and which cells, as in `15 person@predicted`."""
        return f"{self.index if self.label is None else f'{self.index} {self.label}'}@{self.where}"

    @property
    def pixels(self) -> int:
        """Number of cells."""
        return int(self.cells.sum())

    def score(self, answers: Array) -> FloatArray:
        """The mean for each sample.

        Raises:
            TargetError: the answer has no such class, or its map has another shape.
        """
        shape = answers.shape[1:]
        maps = np.moveaxis(answers, self.axis, 1) if len(shape) > 1 else answers
        if maps.shape[2:] != self.cells.shape:
            raise TargetError(
                f"The region has the shape {self.cells.shape}, and the answer {shape} with its "
                f"classes on axis {self.axis}: make it of the shape of the answer's other axes."
            )
        if not 0 <= self.index < maps.shape[1]:
            raise TargetError(
                f"There is no class {self.index}: the model has {maps.shape[1]} classes, "
                f"0 to {maps.shape[1] - 1}."
            )
        mean: FloatArray = maps[:, self.index][:, self.cells].mean(axis=1, dtype=np.float64)
        return mean.astype(np.float32)

    def gradient(self, answers: Array) -> FloatArray:
        """1 / pixels at the cells of the class, 0 elsewhere."""
        slopes = np.zeros(answers.shape, np.float32)
        np.moveaxis(slopes, self.axis, 1)[:, self.index, self.cells] = 1 / self.pixels
        return slopes


@dataclass(frozen=True, eq=False)
class Similarity:
    """Cosine of the angle between the answer and a reference embedding."""

    reference: FloatArray
    name: str = "similarity"
    _unit: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        flat = np.asarray(self.reference, np.float32).ravel()
        length = float(np.linalg.norm(flat))
        if not np.isfinite(length) or length == 0:
            raise TargetError("The reference embedding is zero or not finite.")
        object.__setattr__(self, "_unit", flat / np.float32(length))

    def score(self, answers: Array) -> FloatArray:
        """The cosine for each sample.

        Raises:
            TargetError: the reference does not have the answer's size.
        """
        units, _ = self._directions(answers)
        cosine: FloatArray = units @ self._unit
        return cosine

    def gradient(self, answers: Array) -> FloatArray:
        """(u − cos · a/|a|) / |a|, with the reference's direction u."""
        units, lengths = self._directions(answers)
        slopes = (self._unit - (units @ self._unit)[:, None] * units) / lengths
        return slopes.reshape(answers.shape).astype(np.float32, copy=False)

    def _directions(self, answers: Array) -> tuple[FloatArray, FloatArray]:
        """Each answer as a unit vector, (N, size), and its length, (N, 1)."""
        rows = answers.reshape(len(answers), -1).astype(np.float32)
        if rows.shape[1] != self._unit.size:
            raise TargetError(
                f"The reference has {self._unit.size} elements, the answer {rows.shape[1]}."
            )
        norms = np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)
        lengths = np.maximum(norms, np.finfo(np.float32).tiny)
        return rows / lengths, lengths


@dataclass(frozen=True)
class NoClass:
    """Nothing in particular, for methods whose map is the same for all targets."""

    name: str = "no_class"

    def score(self, answers: Array) -> FloatArray:
        """NaN: there is no number."""
        return np.full(len(answers), np.nan, np.float32)


def class_scores(answers: Array) -> FloatArray:
    """The answers as (N, classes).

    Raises:
        TargetError: there is more than one number per class.
    """
    shape = answers.shape[1:]
    if not is_one_number_per_class(shape):
        maps = (
            "a class of a segmenter is a target such as '1@all', with --labels where its classes "
            "are not recognised; else "
            if len(shape) == 3
            else ""
        )
        raise TargetError(
            f"The model's answer has shape {shape} for each sample, not one number for each class: "
            f"{maps}explain one element by its index, as in --target {middle(shape)}, or a "
            "weighted sum with onnxplain.targets.Mask."
        )
    return answers.reshape(len(answers), -1).astype(np.float32)


def is_one_number_per_class(shape: tuple[int, ...]) -> bool:
    """Whether at most one axis of an answer, (...) without the batch, holds several numbers."""
    return bool(shape) and sum(size > 1 for size in shape) <= 1


def middle(shape: tuple[int, ...]) -> str:
    """The index of an element, for an example."""
    return ",".join(str(size // 2) for size in shape)

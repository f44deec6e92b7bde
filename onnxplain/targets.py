"""What is being explained: one number per sample, read off the model's answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from onnxplain.errors import MapError, TargetError
from onnxplain.tensors import Array, FloatArray


class LabelBook(Protocol):
    """Names of classes, and classes by name. `last` is the highest index that has a name."""

    @property
    def last(self) -> int:
        """The highest index that has a name."""

    def name(self, index: int) -> str | None:
        """The label of a class; None where it has none."""

    def find(self, text: str) -> int:
        """The class that a label means; TargetError if none or several."""


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


TargetSpec = int | np.integer[Any] | str | Target


def as_list(given: TargetSpec | Iterable[TargetSpec], count: int = 1) -> list[TargetSpec]:
    """One target `count` times, or several as they are.

    Raises:
        TargetError: it is neither.
    """
    if isinstance(given, int | np.integer | str | Target):
        return [given] * count
    if isinstance(given, Iterable):
        return list(given)
    raise TargetError(
        f"{given!r} is no target: give a class index, a label, 'top1', or an object of "
        "onnxplain.targets."
    )


def class_scores(answers: Array) -> FloatArray:
    """The answers as (N, classes).

    Raises:
        TargetError: there is more than one number per class.
    """
    shape = answers.shape[1:]
    if not _has_one_number_per_class(shape):
        raise TargetError(
            f"The model's answer has shape {shape} for each sample, not one number per class: "
            f"explain one element of it by its index, as in --target {_middle(shape)}, or a region "
            "with onnxplain.targets.Mask."
        )
    return answers.reshape(len(answers), -1).astype(np.float32)


def resolve(spec: TargetSpec, answer: Array, labels: LabelBook | None) -> list[Target]:
    """The targets that `spec` means for one sample's answer, (1, ...).

    `spec` is a target, a class index, a label, "top1", "top5", or several of these between commas.
    A label may hold commas itself: what is called so as a whole stays whole. Where the answer is
    not one number per class, indices between commas are those of one element.

    Raises:
        TargetError: no class, or more than one, is called that.
        MapError: the scores are not finite, so that there is no top class.
    """
    if isinstance(spec, Target):
        return [spec]
    text = str(spec).strip(" ,")
    top = re.fullmatch(r"top(\d+)", text)
    if top:
        return [_named(i, answer, labels) for i in _top(int(top[1]), answer)]
    if re.fullmatch(r"-?\d+", text):
        return [_named(int(text), answer, labels)]
    if "," in text and not _is_label(text, labels):
        if _ELEMENT.fullmatch(text) and not _has_one_number_per_class(answer.shape[1:]):
            return [Element(tuple(map(int, text.split(","))))]
        return [target for piece in text.split(",") for target in resolve(piece, answer, labels)]
    if labels is None:
        raise TargetError(
            f"The target {text!r} is no class index and this model has no labels: give the index, "
            "or the names with --labels FILE."
        )
    return [_named(labels.find(text), answer, labels)]


_ELEMENT = re.compile(r"-?\d+(\s*,\s*-?\d+)+")


def _is_label(text: str, labels: LabelBook | None) -> bool:
    """Whether a class is called `text`, commas and all."""
    if labels is None:
        return False
    try:
        labels.find(text)
    except TargetError:
        return False
    return True


def _has_one_number_per_class(shape: tuple[int, ...]) -> bool:
    return bool(shape) and sum(size > 1 for size in shape) <= 1


def _middle(shape: tuple[int, ...]) -> str:
    """The index of an element, for an example."""
    return ",".join(str(size // 2) for size in shape)


def _named(index: int, answer: Array, labels: LabelBook | None) -> Class:
    target = Class(index, labels.name(index) if labels is not None else None)
    target.score(answer)
    return target


def _top(count: int, answer: Array) -> Sequence[int]:
    scores = class_scores(answer)[0]
    if not np.isfinite(scores).all():
        raise MapError(
            "The model's scores for this picture are not finite (NaN or infinite): check the "
            "preprocessing, or the model's numeric type."
        )
    if not 1 <= count <= scores.size:
        raise TargetError(f"There is no top{count}: the model has {scores.size} classes.")
    return [int(i) for i in np.argsort(-scores, kind="stable")[:count]]

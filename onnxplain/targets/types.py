"""What is explained: one number per sample, read off the model's answer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.model.shapes import Shape
from onnxplain.targets.described import ExplainedRegion, ExplainedTarget, region_name
from onnxplain.tensors import Array, FloatArray


class Ranking(Protocol):
    """The classes of one sample's answer."""

    def top(self, count: int) -> Sequence[int]:
        """Those with the largest scores, the largest first."""

    def label(self, index: int) -> str | None:
        """The name of a class; None where it has none."""


class Target(ABC):
    """A number to explain.

    Write a frozen dataclass with a `name` and a `formula`, which may be explained by every method:
    numpy runs the formula, and methods with gradients write it as nodes and differentiate it.
    """

    reads: tuple[str, ...] = ()
    """The tensors of the model that the formula reads, outputs or inner ones, as they are.

    By default it reads one, that of the scores: logits or probabilities, as the method's `score`
    says.
    """

    linear: ClassVar[bool] = False
    """Whether the number is linear in what is read: methods that distribute it need that."""

    shares_graph: ClassVar[bool] = False
    """Whether targets of the class differ in their parameters alone: one graph serves them all."""

    own_kind: ClassVar[str | None] = None
    """What kind of number it is, for targets that read the tensor of scores as it is.

    None for targets that read logits or probabilities, as the method's `score` says.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Short, for files and reports."""

    @abstractmethod
    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The number of each sample, (N,), from each tensor that is read, and `parameters`.

        All of them are (N, ...).
        """

    def parameters(self, *shapes: Any, **_: Any) -> Mapping[str, Array]:
        """What differs between targets that share a formula, without the batch axis.

        `shapes` are those of the tensors that are read, for one sample and without the batch axis.
        """
        return {}

    def given(self, *shapes: Shape) -> Mapping[str, Array]:
        """The parameters as graphs take them: numbers float32, integers int64."""
        return {name: _typed(value) for name, value in self.parameters(*shapes).items()}

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The same parameters, which no longer depend on the answer: they hold for others too."""
        return parameters

    def resolved(self, answer: Ranking) -> Target:
        """The same target, which no longer depends on the answer."""
        return self

    def check(self, *shapes: Any, **_: Any) -> None:  # noqa: B027 - any may fit
        """Check that the target fits tensors of these shapes, the batch axis left out.

        Raises:
            TargetError: it does not.
        """

    def family(self, *shapes: Shape) -> Hashable:
        """Targets whose families are equal have one graph."""
        if not self.shares_graph:
            return self
        given = self.given(*shapes)
        return type(self), *((name, array.shape) for name, array in given.items())

    def score(self, *read: Array) -> FloatArray:
        """The number of each sample, float32 (N,), from each tensor that is read, (N, ...).

        Raises:
            TargetError: the target does not fit tensors of these shapes.
        """
        shapes = [values.shape[1:] for values in read]
        self.check(*shapes)
        given = {
            name: _for_each(value, len(read[0])) for name, value in self.given(*shapes).items()
        }
        found = np.asarray(self.formula(NUMPY, *read, **given))
        self.check_score(found.shape)
        return found.astype(np.float32, copy=False)

    def check_score(self, shape: tuple[int | None, ...]) -> None:
        """Check the shape of what the formula gives.

        Raises:
            TargetError: it is not one number for each sample.
        """
        if len(shape) != 1:
            sizes = ", ".join("N" if size is None else str(size) for size in shape)
            raise TargetError(
                f"The formula of {self.name!r} gives an array of shape ({sizes}): it must give one "
                "number for each sample, (N,), such as xp.sum(a, axis=-1)."
            )

    @property
    def described(self) -> ExplainedTarget:
        """How files, captions and reports call it."""
        return ExplainedTarget(self.name)


@dataclass(frozen=True)
class Class(Target):
    """The score of one class of a classifier, whose answer is one number per class.

    An index of −1 is the class with the largest score, −2 the one after it, and so on: only while
    it is not known yet which class that is.
    """

    index: int
    label: str | None = None
    linear: ClassVar[bool] = True
    shares_graph: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Index and label."""
        return str(self.index) if self.label is None else f"{self.index} {self.label}"

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {"code": np.array(self.index, np.int64)}

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See `Target`: the class itself, in place of its rank."""
        return {"code": xp.ranked(xp.flatten(answer), parameters["code"])}

    def resolved(self, answer: Ranking) -> Target:
        """See `Target`: the class itself, in place of its rank."""
        if self.index >= 0:
            return self
        index = answer.top(-self.index)[-1]
        return Class(index, answer.label(index))

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The element at the index."""
        return xp.take(xp.flatten(answer), self.settled(xp, answer, parameters)["code"])

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the answer is one number per class, and has such a class."""
        count = class_count(shape)
        if not 0 <= self.index < count:
            raise TargetError(
                f"There is no class {self.index}: the model has {count} classes, 0 to {count - 1}."
            )

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        return ExplainedTarget.of_class(self.index, self.label)


@dataclass(frozen=True)
class Element(Target):
    """One element of the answer, by its index after the batch axis."""

    index: tuple[int, ...]
    linear: ClassVar[bool] = True
    shares_graph: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The index, as in `element 3,10,10`."""
        return "element " + ",".join(map(str, self.index))

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        place = tuple(i % size for i, size in zip(self.index, shape, strict=True))
        return {"place": np.array(np.ravel_multi_index(place, shape), np.int64)}

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The element at the index."""
        return xp.take(xp.flatten(answer), parameters["place"])

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the answer has such an element."""
        inside = len(self.index) == len(shape) and all(
            -size <= i < size for i, size in zip(self.index, shape, strict=True)
        )
        if not inside:
            raise TargetError(f"The answer of shape {shape} has no element {self.index}.")


@dataclass(frozen=True, eq=False)
class Mask(Target):
    """A weighted sum of the answer: a region of a segmentation map, a set of classes, ...

    `weights` has the shape of one sample's answer. For "class 3 inside this region, on average",
    put 1 / (number of pixels) at those pixels of channel 3 and 0 elsewhere.
    """

    weights: FloatArray
    name: str = "mask"
    linear: ClassVar[bool] = True
    shares_graph: ClassVar[bool] = True

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {"weights": np.asarray(self.weights, np.float32)}

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The weighted sum."""
        return xp.sum(xp.flatten(parameters["weights"]) * xp.flatten(answer), axis=-1)

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the weights have the answer's shape."""
        if self.weights.shape != shape:
            raise TargetError(
                f"The mask has shape {self.weights.shape}, the answer {shape}: they must be the "
                "same."
            )


@dataclass(frozen=True, eq=False)
class Region(Target):
    """The mean score of a class over some cells of a map of scores, as segmenters answer.

    `cells` is bool, of the shape of the map's rows and columns, and `axis` the axis of the classes
    in the answer (N, ...): 1, or -1 where they come last. `where` says in words which cells these
    are. They stay the same whatever the answer is.

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
    linear: ClassVar[bool] = True
    shares_graph: ClassVar[bool] = True

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

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        weights = np.zeros((1, *shape), np.float32)
        np.moveaxis(weights, self.axis, 1)[:, self.index, self.cells] = 1 / self.pixels
        return {"weights": weights[0]}

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The mean over the cells."""
        return xp.sum(xp.flatten(parameters["weights"]) * xp.flatten(answer), axis=-1)

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the answer has such a class, and its map this shape."""
        classes, *grid = np.moveaxis(np.empty((0, *shape)), self.axis, 1).shape[1:]
        if tuple(grid) != self.cells.shape:
            raise TargetError(
                f"The region has the shape {self.cells.shape}, and the answer {shape} with its "
                f"classes on axis {self.axis}: make it of the shape of the answer's other axes."
            )
        if not 0 <= self.index < classes:
            raise TargetError(
                f"There is no class {self.index}: the model has {classes} classes, "
                f"0 to {classes - 1}."
            )

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        region = ExplainedRegion(self.where, self.pixels, self.cells.shape)
        name = region_name(self.index, self.label, self.where)
        return ExplainedTarget(name, self.index, self.label, region)


@dataclass(frozen=True, eq=False)
class Similarity(Target):
    """Cosine of the angle between the answer and a reference embedding.

    An embedding has no probabilities: the tensor is read as it is.
    """

    reference: FloatArray
    name: str = "similarity"
    shares_graph: ClassVar[bool] = True
    own_kind: ClassVar[str | None] = "similarity"
    _unit: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        flat = np.asarray(self.reference, np.float32).ravel()
        length = float(np.linalg.norm(flat))
        if not np.isfinite(length) or length == 0:
            raise TargetError("The reference embedding is zero or not finite.")
        object.__setattr__(self, "_unit", flat / np.float32(length))

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {"unit": self._unit}

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """A · u / |a|, with the reference's direction u."""
        rows = xp.flatten(answer)
        length = xp.sqrt(xp.sum(rows * rows, axis=-1))
        shortest = float(np.finfo(np.float32).tiny)
        return xp.sum(rows * parameters["unit"], axis=-1) / xp.maximum(length, shortest)

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the reference has the answer's size."""
        size = math.prod(shape)
        if size != self._unit.size:
            raise TargetError(f"The reference has {self._unit.size} elements, the answer {size}.")


@dataclass(frozen=True)
class NoClass(Target):
    """Nothing in particular, for methods whose map is the same for all targets."""

    name: str = "no_class"

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """NaN: there is no number."""
        return xp.sum(xp.flatten(answer) * 0, axis=-1) + float("nan")


def _typed(value: Array) -> Array:
    array = np.asarray(value)
    typed = {"i": np.int64, "u": np.int64, "f": np.float32}.get(array.dtype.kind)
    return array if typed is None else array.astype(typed, copy=False)


def _for_each(value: Array, samples: int) -> Array:
    """A parameter that samples share, (N, ...)."""
    return value[None] if samples == 1 else np.broadcast_to(value, (samples, *value.shape))


def class_count(shape: tuple[int, ...]) -> int:
    """How many classes an answer of that shape has, the batch axis left out.

    Raises:
        TargetError: there is more than one number per class.
    """
    if not is_one_number_per_class(shape):
        maps = (
            "a class of a segmenter is a target such as '1@all', with --labels where its classes "
            "are not recognized; else "
            if len(shape) == 3
            else ""
        )
        raise TargetError(
            f"The model's answer has shape {shape} for each sample, not one number for each class: "
            f"{maps}explain one element by its index, as in --target {middle(shape)}, or a "
            "weighted sum with onnxplain.targets.Mask."
        )
    return math.prod(shape)


def is_one_number_per_class(shape: tuple[int, ...]) -> bool:
    """Whether at most one axis of an answer, (...) without the batch, holds several numbers."""
    return bool(shape) and sum(size > 1 for size in shape) <= 1


def middle(shape: tuple[int, ...]) -> str:
    """The index of an element, for an example."""
    return ",".join(str(size // 2) for size in shape)

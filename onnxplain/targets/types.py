"""Types of targets: what is explained, one number per sample, computed from the answer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.model.shapes import Shape
from onnxplain.targets.described import ExplainedRegion, ExplainedTarget, region_name
from onnxplain.tensors import Array, FloatArray

OUTPUT = "output"
"""The name and kind of a number that belongs to no class."""


class Ranking(Protocol):
    """The classes of one sample's answer, sorted by score."""

    def top(self, count: int) -> Sequence[int]:
        """The `count` classes with the largest scores, the largest first."""

    def label(self, index: int) -> str | None:
        """The name of a class; None if it has none."""


class Target(ABC):
    """A number to explain.

    To define a new kind of target, write a frozen dataclass with a `name` and a `formula`. Every
    method can explain it: numpy computes the formula, and methods with gradients write it as nodes
    of a graph and differentiate it.
    """

    reads: tuple[str, ...] = ()
    """Names of the tensors that the formula reads, outputs or inner tensors, without an activation.

    By default it reads one tensor, the scores: logits or probabilities, as the method's `score`
    says.
    """

    linear: ClassVar[bool] = False
    """Whether the number is linear in the tensors; methods that distribute it need this."""

    shares_graph: ClassVar[bool] = False
    """Whether targets of the class differ only in their parameters, so that they share a graph."""

    at_one_place: ClassVar[bool] = False
    """Whether the number is that of one place of the picture, such as a detected box."""

    own_kind: ClassVar[str | None] = None
    """The kind of the number, for targets that read the tensor of scores without an activation.

    None for targets that read logits or probabilities, as the method's `score` says.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name, for files and reports."""

    @abstractmethod
    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The number of each sample, (N,), from the tensors that are read and `parameters`.

        Both are arrays (N, ...) of the namespace `xp`.
        """

    def parameters(self, *shapes: Any, **_: Any) -> Mapping[str, Array]:
        """Arrays that differ between targets with the same formula, by name, without a batch axis.

        `shapes` are the shapes of the tensors that are read, for one sample, without the batch
        axis.
        """
        return {}

    def given(self, *shapes: Shape) -> Mapping[str, Array]:
        """The parameters in the dtypes of graphs: real numbers as float32, integers as int64."""
        return {name: _typed(value) for name, value in self.parameters(*shapes).items()}

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The parameters, with ranks replaced by the classes that have these ranks in `answer`."""
        return parameters

    def resolved(self, answer: Ranking) -> Target:
        """The target, with a rank replaced by the class that has this rank in `answer`."""
        return self

    @property
    def of_changed(self) -> Target:
        """The target whose number is the score of a changed sample; by default this one.

        Methods without gradients use it, such as occlusion and scorecam. For the sample itself,
        both numbers must be the same.
        """
        return self

    def kind(self, plain: str) -> str:
        """The kind of the number, for reports; `plain` is that of the scores, such as "logit"."""
        return self.own_kind or plain

    def is_extreme(self, score: float) -> bool:
        """Whether a score is the largest or the smallest possible one, so its gradient is zero."""
        return False

    def check(self, *shapes: Any, **_: Any) -> None:  # noqa: B027 - any may fit
        """Check that the target fits tensors of these shapes, given without the batch axis.

        Raises:
            TargetError: it does not fit.
        """

    def family(self, *shapes: Shape) -> Hashable:
        """A key: targets with equal families share a graph. `shapes` are as for `parameters`."""
        if not self.shares_graph:
            return self
        given = self.given(*shapes)
        return type(self), *((name, array.shape) for name, array in given.items())

    def score(self, *read: Array) -> FloatArray:
        """The number of each sample, float32 (N,), from the tensors that are read, (N, ...).

        Raises:
            TargetError: the target does not fit tensors of these shapes, or its formula does not
                give one number for each sample.
        """
        shapes = [values.shape[1:] for values in read]
        self.check(*shapes)
        given = {
            name: _for_each(value, len(read[0])) for name, value in self.given(*shapes).items()
        }
        found = np.asarray(self.number(NUMPY, *read, **given))
        self.check_score(found.shape)
        return found.astype(np.float32, copy=False)

    def number(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """What the formula gives.

        Raises:
            TargetError: it fails, for example because it does what arrays of a graph cannot do.
        """
        try:
            return self.formula(xp, *read, **parameters)
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            raise TargetError(
                f"The formula of {self.name!r} fails ({error}): it may use operators and the "
                "functions of xp, which docs/python.md lists, but no indexing and no functions of "
                "numpy on what it is given."
            ) from error

    def check_score(self, shape: tuple[int | None, ...]) -> None:
        """Check the shape of the formula's result.

        Raises:
            TargetError: it is not (N,), one number for each sample.
        """
        if len(shape) != 1:
            sizes = ", ".join("N" if size is None else str(size) for size in shape)
            raise TargetError(
                f"The formula of {self.name!r} gives an array of shape ({sizes}): it must give one "
                "number for each sample, (N,), such as xp.sum(a, axis=-1)."
            )

    @property
    def described(self) -> ExplainedTarget:
        """The target's description for files, captions and reports."""
        return ExplainedTarget(self.name)


@dataclass(frozen=True)
class Class(Target):
    """The score of one class of a classifier, whose answer is one number per class.

    An index of −1 means the class with the largest score, −2 the class with the next largest, and
    so on. Such an index is used only until the answer is known.
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
        """See `Target`: the index of the class, instead of its rank."""
        return {"code": xp.ranked(xp.flatten(answer), parameters["code"])}

    def resolved(self, answer: Ranking) -> Target:
        """See `Target`: the class with its index, instead of its rank."""
        if self.index >= 0:
            return self
        index = answer.top(-self.index)[-1]
        return Class(index, answer.label(index))

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The element at the index."""
        return xp.take(xp.flatten(answer), self.settled(xp, answer, parameters)["code"])

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the answer must be one number per class, and have this class."""
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
class Output(Class):
    """The only number of an answer that belongs to no class, such as an age or a price."""

    index: int = 0

    @property
    def name(self) -> str:
        """The word `output`."""
        return OUTPUT

    def resolved(self, answer: Ranking) -> Target:
        """See `Target`."""
        return self

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        return ExplainedTarget(self.name)


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
        """See `Target`: the answer must have this element."""
        inside = len(self.index) == len(shape) and all(
            -size <= i < size for i, size in zip(self.index, shape, strict=True)
        )
        if not inside:
            raise TargetError(f"The answer of shape {shape} has no element {self.index}.")


@dataclass(frozen=True, eq=False)
class Mask(Target):
    """A weighted sum of the answer: a region of a segmentation map, a set of classes, ...

    `weights` has the shape of one sample's answer. For the mean score of class 3 in a region, use
    1 / (number of pixels) at the region's pixels of channel 3, and 0 elsewhere.
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
        """See `Target`: the weights must have the answer's shape."""
        if self.weights.shape != shape:
            raise TargetError(
                f"The mask has shape {self.weights.shape}, the answer {shape}: they must be the "
                "same."
            )


@dataclass(frozen=True, eq=False)
class Region(Target):
    """The mean score of a class over some cells of a map of scores, the answer of segmentation.

    `cells` is bool (rows, columns), and `axis` is the axis of the classes in the answer (N, ...):
    1, or -1 if classes are last. `where` describes the cells in words. The cells do not depend on
    the answer.

    Vinogradova, Dibrov and Myers, "Towards Interpretable Semantic Segmentation via
    Gradient-weighted Class Activation Mapping", AAAI 2020, with the mean instead of their sum.

    Raises:
        TargetError: `cells` selects no cell.
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
        return {"weights": mean_weights(shape, self.cells, self.axis, self.index)}

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The mean over the cells."""
        return xp.sum(xp.flatten(parameters["weights"]) * xp.flatten(answer), axis=-1)

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the answer must have this class, and a map of the shape of `cells`."""
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


@dataclass(frozen=True)
class NoClass(Target):
    """No target, for methods whose map is the same for all targets."""

    name: str = "no_class"
    reads: tuple[str, ...] = ()

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """NaN, because there is no number to explain."""
        return xp.sum(xp.flatten(read[0]) * 0, axis=-1) + float("nan")


def _typed(value: Array) -> Array:
    array = np.asarray(value)
    typed = {"i": np.int64, "u": np.int64, "f": np.float32}.get(array.dtype.kind)
    return array if typed is None else array.astype(typed, copy=False)


def _for_each(value: Array, samples: int) -> Array:
    """A parameter that all samples share, repeated for each, (N, ...)."""
    return value[None] if samples == 1 else np.broadcast_to(value, (samples, *value.shape))


def mean_weights(
    shape: tuple[int, ...], cells: Array, axis: int | None, channel: int | None
) -> FloatArray:
    """Weights of an answer's elements, of `shape`, for their mean over some cells.

    `axis` is the axis of the channels in (N, ...), None if there is none. The mean is over all
    channels if `channel` is None.
    """
    weights = np.zeros((1, *shape), np.float32)
    by_channel = weights[:, None] if axis is None else np.moveaxis(weights, axis, 1)
    chosen = slice(None) if channel is None else slice(channel, channel + 1)
    channels = len(range(by_channel.shape[1])[chosen])
    by_channel[:, chosen, cells] = 1 / (int(cells.sum()) * channels)
    one: FloatArray = weights[0]
    return one


def class_count(shape: tuple[int, ...]) -> int:
    """The number of classes of an answer of this shape, given without the batch axis.

    Raises:
        TargetError: there is more than one number per class.
    """
    if not is_one_number_per_class(shape):
        raise TargetError(
            f"The model's answer has shape {shape} for each sample, not one number for each class: "
            f"{_HINTS.get(len(shape), '')}explain one element by its index, as in --target "
            f"{middle(shape)}, or a weighted sum with onnxplain.targets.Mask."
        )
    return math.prod(shape)


_HINTS = {
    2: "if it holds the boxes of a detector, name their layout with --boxes; if it is a text "
    "recognizer trained with CTC, name its blank with --blank; else ",
    3: "a class of a segmentation model is a target such as '1@all', with --labels if its classes "
    "are not recognized; else ",
}
"""By the number of axes of an answer without the batch, what it may be."""


def is_one_number_per_class(shape: tuple[int, ...]) -> bool:
    """Whether at most one axis of a shape, without the batch axis, has a size above 1.

    An answer (N,) is one number for each sample, the only class.
    """
    return sum(size > 1 for size in shape) <= 1


def middle(shape: tuple[int, ...]) -> str:
    """The index of the middle element, as an example for a message."""
    return ",".join(str(size // 2) for size in shape)

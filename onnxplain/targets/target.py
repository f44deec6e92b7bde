"""The base class of targets: one number per sample, computed from the model's answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.model.shapes import Shape
from onnxplain.targets.described import ExplainedTarget
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

    def exists(self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]) -> Any:
        """Whether the answer has what is explained, bool (N); None if every answer has it.

        `answer` is as for `anchored`.
        """
        return None

    def anchored(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> tuple[Target, Mapping[str, Any]]:
        """The target of changed samples, and its parameters, from the sample's own answer.

        `answer` is what the formula reads, a sequence if that is several tensors. A target whose
        number depends on where something is in the answer is fixed to the place where it is now.
        """
        return self, self.settled(xp, answer, parameters)

    def terms(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Sequence[tuple[Any, float]]:
        """The elements of the answer that the number adds: their places, (N,), and their factors.

        A place counts the elements of one sample in row-major order. Empty if the number is not
        such a sum; methods that read a classifier's weights explain only such sums.
        """
        return ()

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


def _typed(value: Array) -> Array:
    array = np.asarray(value)
    typed = {"i": np.int64, "u": np.int64, "f": np.float32}.get(array.dtype.kind)
    return array if typed is None else array.astype(typed, copy=False)


def _for_each(value: Array, samples: int) -> Array:
    """A parameter that all samples share, repeated for each, (N, ...)."""
    return value[None] if samples == 1 else np.broadcast_to(value, (samples, *value.shape))

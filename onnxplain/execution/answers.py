"""Read a model's answer (its output) as logits or as probabilities."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from onnxplain.analysis.score import Activation, ScoreKind, ScoreTensor
from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.model.quantization import Quantization
from onnxplain.model.shapes import Shape
from onnxplain.targets import Target
from onnxplain.targets.probabilities import Probabilities
from onnxplain.tensors import Array, FloatArray

ClassAxis = Callable[[], int | None]
"""The axis of the answer that holds its classes; None if it is unknown."""


@dataclass(frozen=True)
class Reading:
    """The tensor that scores of a kind are read from, and how they are computed from it.

    Attributes:
        tensor: the name of the tensor.
        activation: the model's own last activation.
        adds: whether probabilities must be computed from the tensor, as the model has no last
            activation: the softmax along `axis`, or the sigmoid of each element if `axis` is None.
        problem: why probabilities cannot be computed; empty if they can.
        quantization: how integers of the tensor become real numbers.
        raw: whether the values already are probabilities, although no activation was found.
        single: whether there is only one value.
        plain: whether the values are not scores of classes, so that they have no probabilities.
        is_logit: whether scores of the kind "logit" are logits; see `ScoreTensor`.
        known: whether `raw` and `single` are decided; if not, the values of each sample decide.
        joined: names and shapes (for one sample, without the batch axis) of several tensors. If
            not empty, `tensor` holds all their elements, one tensor after the other.
    """

    tensor: str
    kind: ScoreKind
    activation: Activation
    adds: bool = False
    axis: int | None = None
    problem: str = ""
    quantization: Quantization | None = None
    raw: bool = False
    single: bool = False
    plain: bool = False
    is_logit: bool = True
    known: bool = True
    joined: tuple[tuple[str, Shape], ...] = ()

    @property
    def key(self) -> Hashable:
        """Readings with equal keys can share a graph."""
        return (
            self.tensor,
            self._is_logarithm,
            self.adds,
            self.axis,
            self.quantization,
            self.known,
            self.joined,
        )

    @property
    def called(self) -> str:
        """The names of the tensors that scores are read from, with commas between them."""
        return ",".join(name for name, _ in self.joined) or self.tensor

    def shapes(self, shape: Shape) -> list[Shape]:
        """The shapes of the arrays that targets read, without the batch axis.

        `shape` is the shape of the tensor, with the batch axis.
        """
        return [own for _, own in self.joined] or [shape[1:]]

    def read(self, xp: Namespace, values: Any) -> Sequence[Any]:
        """The arrays that targets read, from values of the tensor."""
        return xp.parts(values, self.shapes(())) if self.joined else [values]

    def numbers(self, xp: Namespace, values: Any) -> Any:
        """Scores (logits or probabilities, as `kind` says) from float values of the tensor.

        Raises:
            TargetError: probabilities are needed, and the axis of the classes is unknown.
        """
        if self._is_logarithm:
            return xp.exp(values)
        if not self.adds:
            return values
        if self.problem:
            raise TargetError(self.problem)
        made = xp.sigmoid(values) if self.axis is None else xp.softmax(values, axis=self.axis)
        if self.known:
            return made
        single = prod(values.shape[1:]) == 1
        return values if single else _if_probabilities(xp, values, values, made)

    def score(self, xp: Namespace, target: Target, values: Any, **parameters: Any) -> Any:
        """The score of a target for each sample, (N,), from values of the tensor as floats."""
        return target.number(xp, *self.of_target(xp, target, values), **parameters)

    def of_target(self, xp: Namespace, target: Target, values: Any) -> Sequence[Any]:
        """The arrays that the formula of a target reads, from values of the tensor as floats."""
        quantized = self.quantization
        real = values if quantized is None else (values - quantized.zero) * quantized.scale
        return self.read(xp, real if target.own_kind else self.numbers(xp, real))

    def real(self, values: Array) -> FloatArray:
        """Values of the tensor as float32, dequantized."""
        if self.quantization is not None:
            return self.quantization.real(values)
        return values.astype(np.float32, copy=False)

    def answers(self, values: Array) -> FloatArray:
        """The scores, float32, from values of the tensor in its own type."""
        real = self.real(values)
        wide = real.astype(np.float64) if self.adds else real
        found: FloatArray = self.numbers(NUMPY, wide).astype(np.float32, copy=False)
        return found

    def scores(self, values: Array, targets: Sequence[Target]) -> FloatArray:
        """The score of each target, float32 (samples, targets), from values of the tensor."""
        own_kind = [target.own_kind is not None for target in targets]
        real = self.real(values)
        answers = real if all(own_kind) else self.answers(values)
        columns = [
            target.score(*self.read(NUMPY, real if own else answers))
            for target, own in zip(targets, own_kind, strict=True)
        ]
        return np.array(columns).T.copy()

    def settled(self, values: Array) -> Reading:
        """This reading, decided by `values`, the tensor's values for one sample.

        If the model has no last activation, no softmax or sigmoid is added to a single number,
        which may be anything, such as a length or a price, or to numbers that already are
        probabilities.
        """
        if self.activation != "none":
            return self
        single = values.size == 1
        raw = values.size > 1 and bool(_if_probabilities(NUMPY, values, True, False).all())
        adds = self.adds and not (raw or single)
        if (adds, raw, single, True) == (self.adds, self.raw, self.single, self.known):
            return self
        return replace(self, adds=adds, raw=raw, single=single, known=True)

    def probabilities(self, values: Array) -> Probabilities | None:
        """How scores of classes become probabilities, if this reading is decided by `values`.

        None if they have no probabilities: a number without an activation may be anything.
        """
        if self.plain or self.joined or (self.activation == "none" and self.single):
            return None
        if self.raw:
            return Probabilities("none", independent=abs(self.real(values).sum() - 1) > _SUM)
        independent = self.activation == "sigmoid"
        if self.kind == "probability":
            return Probabilities("none", independent, guessed=self.adds)
        return Probabilities(
            "sigmoid" if independent else "softmax", independent, self.activation == "none"
        )

    @property
    def warning(self) -> str:
        """A warning about these scores for the user; empty if there is none."""
        return _RAW if self.raw and self.kind == "probability" else ""

    def threshold(self, scores: Array, classes: int) -> float | None:
        """The score above which a class is predicted; None if the largest score decides.

        `scores` are the scores of one sample, and `classes` is their axis of classes.
        """
        if scores.shape[classes] > 1 and self.activation != "sigmoid":
            return None
        return 0.5 if self.raw or self.kind == "probability" else 0.0

    def kind_of(self, target: Target) -> str:
        """The kind of a target's score, for reports.

        It is "logit", "probability" or "output", or what the target makes of it.
        """
        single = self.activation == "none" and self.single
        plain = self.plain or self.joined or single or not self.is_logit
        return target.kind("output" if plain else self.kind)

    @property
    def is_plain(self) -> bool:
        """Whether scores are linear in the tensor: no activation is computed from it."""
        return not (self.adds or self._is_logarithm)

    @property
    def _is_logarithm(self) -> bool:
        return self.kind == "probability" and self.activation == "logsoftmax"


def read(score: ScoreTensor, kind: ScoreKind, class_axis: ClassAxis, shape: Shape) -> Reading:
    """How to read scores of a kind; `shape` is the shape of the answer for one sample, (1, ...).

    The model's own last activation is used if it has one. If it ends in logits, probabilities are
    their softmax, or their sigmoid if there is one class. `class_axis` is called if several axes
    of the answer hold more than one number, such as classes, rows and columns.
    """
    if kind == "logit":
        return Reading(
            score.logit,
            kind,
            score.activation,
            quantization=score.quantization,
            is_logit=score.is_logit,
        )
    if score.activation != "none":
        return Reading(score.probability, kind, score.activation)
    axis, problem = _normal_axis(shape, class_axis)
    return Reading(score.probability, kind, score.activation, True, axis, problem, known=False)


def read_output(score: ScoreTensor) -> Reading:
    """How to read an output that may be no score of a class: as it is, after its activation."""
    if score.activation != "none":
        return Reading(score.probability, "probability", score.activation, plain=True)
    return read_plain(score)


def read_plain(score: ScoreTensor) -> Reading:
    """How to read an answer that holds no scores of classes: as it is."""
    return Reading(score.logit, "logit", "none", quantization=score.quantization, plain=True)


_ROUNDING = 1e-5
"""How far probabilities may be below 0 or above 1: sums of the shares of many trees are."""

_SUM = 1e-3
"""Largest difference from 1 of the sum of two probabilities, caused by rounding."""

_RAW = (
    "No softmax or sigmoid was found at the end of the model, and its answers are between 0 and 1: "
    "they are used as probabilities without a change."
)


def _if_probabilities(xp: Namespace, values: Any, yes: Any, no: Any) -> Any:
    """Per sample, `yes` if its numbers look like probabilities, else `no`.

    They do if all are between 0 and 1 and, if there are exactly two, their sum is 1.
    """
    sizes = values.shape[1:]
    every = tuple(range(-len(sizes), 0))
    least, most, total = (f(values, every, keepdims=True) for f in (xp.min, xp.max, xp.sum))
    found = xp.where(least >= -_ROUNDING, xp.where(most <= 1 + _ROUNDING, yes, no), no)
    return xp.where(xp.abs(total - 1) <= _SUM, found, no) if prod(sizes) == 2 else found


def _normal_axis(shape: Shape, class_axis: Callable[[], int | None]) -> tuple[int | None, str]:
    """The axis over which probabilities add up to 1, and a problem: empty if there is none.

    The axis is None if there is only one class. The problem is a sentence for the user: if several
    axes hold more than one number, the axis of the classes may be unknown, as in the answer of a
    detector, which has boxes and scores.
    """
    if prod(shape[1:]) == 1:
        return None, ""
    # The one axis that holds several numbers, as in (N, 1, 1, classes).
    several = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
    axis = several[0] if len(several) == 1 else class_axis()
    if axis is None:
        return None, (
            f"The model's answer of shape {shape[1:]} has no axis that is known to hold the "
            "classes, so there are no probabilities: explain it as it is, with --score logit."
        )
    return (None if shape[axis] == 1 else axis), ""  # None in a map of one class

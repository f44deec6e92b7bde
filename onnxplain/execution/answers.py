"""Reading a model's answer as logits or as probabilities."""

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
from onnxplain.tensors import Array, FloatArray

ClassAxis = Callable[[str], int | None]
"""The axis of the classes in a tensor; None where it is not known."""


@dataclass(frozen=True)
class Reading:
    """The tensor that holds a kind of score, and what remains to be done to it.

    `activation` is the model's own last one. Where it has none, `adds` says that probabilities are
    the softmax of the tensor along `axis`, or with None the sigmoid of each element; the model
    itself computes no such numbers, and `problem` says why that cannot be done. `quantization` is
    what integers of the tensor stand for. `raw` says that no activation was found, though the
    values are probabilities; `single` that there is only one value. Where it is not `known` yet
    whether that is so, the values of each sample decide. `joined` are the tensors of which `tensor`
    holds the elements in a row, with their shapes for one sample, without the batch axis.
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
    known: bool = True
    joined: tuple[tuple[str, Shape], ...] = ()

    @property
    def key(self) -> Hashable:
        """What graphs that read scores differ in."""
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
        """The tensors that scores are read from, with commas between them."""
        return ",".join(name for name, _ in self.joined) or self.tensor

    def shapes(self, shape: Shape) -> list[Shape]:
        """Those of what targets read, without the batch axis; `shape` is that of the tensor."""
        return [own for _, own in self.joined] or [shape[1:]]

    def read(self, xp: Namespace, values: Any) -> Sequence[Any]:
        """What targets read, from values of the tensor."""
        return xp.parts(values, self.shapes(())) if self.joined else [values]

    def numbers(self, xp: Namespace, values: Any) -> Any:
        """The scores, from float values of the tensor.

        Raises:
            TargetError: they are probabilities, and no axis is known to hold the classes.
        """
        if self._is_logarithm:
            return xp.exp(values)
        if not self.adds:
            return values
        if self.problem:
            raise TargetError(self.problem)
        made = xp.sigmoid(values) if self.axis is None else xp.softmax(values, axis=self.axis)
        return made if self.known else _unless_probabilities(xp, values, made)

    def score(self, xp: Namespace, target: Target, values: Any, **parameters: Any) -> Any:
        """The number of a target for each sample, (N,), from values of the tensor as floats."""
        quantized = self.quantization
        real = values if quantized is None else (values - quantized.zero) * quantized.scale
        numbers = real if target.own_kind else self.numbers(xp, real)
        return target.formula(xp, *self.read(xp, numbers), **parameters)

    def real(self, values: Array) -> FloatArray:
        """Values of the tensor as float32."""
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
        """The number of each target, float32 (samples, targets), from values of the tensor."""
        own_kind = [target.own_kind is not None for target in targets]
        real = self.real(values)
        answers = real if all(own_kind) else self.answers(values)
        columns = [
            target.score(*self.read(NUMPY, real if own else answers))
            for target, own in zip(targets, own_kind, strict=True)
        ]
        return np.array(columns).T.copy()

    def settled(self, values: Array) -> Reading:
        """How to read scores now that `values` of the tensor are known, those of one sample.

        Where no activation was found, one number may be anything, such as a length or a price, and
        stays as it is; so do numbers that are probabilities already.
        """
        if self.activation != "none":
            return self
        raw, single = _are_probabilities(values), values.size == 1
        adds = self.adds and not (raw or single)
        if (adds, raw, single, True) == (self.adds, self.raw, self.single, self.known):
            return self
        return replace(self, adds=adds, raw=raw, single=single, known=True)

    @property
    def warning(self) -> str:
        """What to mind about scores that are read so; empty where it is nothing."""
        return _RAW if self.raw and self.kind == "probability" else ""

    def threshold(self, scores: Array, classes: int) -> float | None:
        """Above which score a class counts as predicted; None where the one with the largest does.

        `scores` are those of one sample, and `classes` their axis.
        """
        if scores.shape[classes] > 1 and self.activation != "sigmoid":
            return None
        return 0.5 if self.raw or self.kind == "probability" else 0.0

    def kind_of(self, target: Target) -> str:
        """What kind of number the score of a target is."""
        plain = self.joined or (self.activation == "none" and self.single)
        return target.own_kind or ("output" if plain else self.kind)

    @property
    def is_plain(self) -> bool:
        """Whether scores are linear in the tensor."""
        return not (self.adds or self._is_logarithm)

    @property
    def _is_logarithm(self) -> bool:
        return self.kind == "probability" and self.activation == "logsoftmax"


def read(score: ScoreTensor, kind: ScoreKind, class_axis: ClassAxis, shape: Shape) -> Reading:
    """How to read scores of a kind; `shape` is that of the answer to one sample, (1, ...).

    A model's own last activation is used where it has one; where it ends in logits, probabilities
    are the softmax of them, or the sigmoid in a map of one class. `class_axis` is asked where an
    answer has rows and columns too.
    """
    if kind == "logit":
        return Reading(score.logit, kind, score.activation, quantization=score.quantization)
    if score.activation != "none":
        return Reading(score.probability, kind, score.activation)
    axis, problem = _normal_axis(shape, lambda: class_axis(score.probability))
    return Reading(score.probability, kind, score.activation, True, axis, problem, known=False)


_SUM = 1e-3
"""How far probabilities may be from adding up to 1, by rounding."""

_RAW = (
    "No softmax or sigmoid was found at the end of the model, and its answers lie between 0 and 1: "
    "they are taken for probabilities as they are."
)


def _are_probabilities(values: Array) -> bool:
    """Whether numbers look like it: between 0 and 1, and two of them adding up to 1."""
    if not (values.size > 1 and values.min() >= 0 and values.max() <= 1):
        return False
    return values.size > 2 or abs(float(values.sum()) - 1) <= _SUM


def _unless_probabilities(xp: Namespace, values: Any, made: Any) -> Any:
    """For each sample `made`, or its values as they are: see `Reading.settled`."""
    sizes = values.shape[1:]
    if prod(sizes) == 1:
        return values
    every = tuple(range(-len(sizes), 0))
    least, most, total = (f(values, every, keepdims=True) for f in (xp.min, xp.max, xp.sum))
    kept = xp.where(least < 0, made, xp.where(most > 1, made, values))
    return xp.where(xp.abs(total - 1) > _SUM, made, kept) if prod(sizes) == 2 else kept


def _normal_axis(shape: Shape, class_axis: Callable[[], int | None]) -> tuple[int | None, str]:
    """The axis over which probabilities add up to 1, and a sentence where it is not known.

    The axis is None where there is only one class. It is not known where several axes hold several
    numbers, as in the answer of a detector, which has boxes beside its scores.
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

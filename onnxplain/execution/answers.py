"""Reading a model's answer as logits or as probabilities."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxplain.analysis.score import Activation, ScoreTensor
from onnxplain.errors import TargetError
from onnxplain.methods.numbers import sigmoid, softmax
from onnxplain.methods.options import ScoreKind
from onnxplain.model.quantization import Quantization
from onnxplain.targets import Class, Element, Mask, Region, Similarity, SmoothTarget, Target
from onnxplain.tensors import Array, FloatArray

ClassAxis = Callable[[str], int | None]
"""The axis of the classes in a tensor; None where it is not known."""


@dataclass(frozen=True)
class Finish:
    """What remains to be done to a tensor's values, and the same backwards.

    `back(values, dy)` is the derivative of Σ dy · forth(values) by the values; None where `forth`
    only changes the type. `added` says that it is an activation that the model does not have.
    """

    forth: Callable[[Array], Array]
    back: Callable[[Array, FloatArray], FloatArray] | None = None
    added: bool = False


@dataclass(frozen=True)
class Answer:
    """The tensor that holds a kind of score, and what remains to be done to it.

    `activation` is the model's own last one. `raw` says that none was found, though the values
    are probabilities; `single` that there is only one value.
    """

    tensor: str
    finish: Finish
    kind: ScoreKind
    activation: Activation
    raw: bool = False
    single: bool = False

    def settled(self, values: Array) -> Answer:
        """How to read scores now that `values` of the tensor are known, those of one sample.

        Where no activation was found, one number may be anything, such as a length or a price, and
        stays as it is; so do numbers that are probabilities already.
        """
        if self.activation != "none":
            return self
        raw, single = _are_probabilities(values), values.size == 1
        finish = _AS_IT_IS if self.finish.added and (raw or single) else self.finish
        return replace(self, finish=finish, raw=raw, single=single)

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

    def called(self, target: Target) -> str:
        """What kind of number the score of a target is."""
        if isinstance(target, Similarity):
            return "similarity"
        return "output" if self.activation == "none" and self.single else self.kind

    def seed(self, values: Array, target: Target) -> FloatArray:
        """The derivative of each sample's score by its values of the tensor, (N, ...).

        Raises:
            TargetError: the target is one of the user's own that gives no gradient.
        """
        if not isinstance(target, SmoothTarget):
            raise TargetError(
                f"The target {target.name!r} has no method `gradient`, which methods with "
                "gradients need: use scorecam or occlusion, or give it one."
            )
        raw = _as_float(values)
        if self.finish.back is None or isinstance(target, Similarity):
            return target.gradient(raw)
        return self.finish.back(raw, target.gradient(self.finish.forth(values)))

    def seed_is_constant(self, target: Target) -> bool:
        """Whether the seed is the same for all values."""
        return self.finish.back is None and isinstance(target, Class | Element | Mask | Region)

    def scores(self, values: Array, targets: Sequence[Target]) -> FloatArray:
        """The number of each target, (samples, targets), from values of the tensor.

        An embedding has no probabilities: similarities are taken with the tensor as it is.
        """
        raw = _as_float(values)
        embedding = all(isinstance(t, Similarity) for t in targets)
        finished = raw if embedding else self.finish.forth(values)
        columns = [t.score(raw if isinstance(t, Similarity) else finished) for t in targets]
        return np.stack(columns, axis=1).astype(np.float32, copy=False)


def answer(score: ScoreTensor, kind: ScoreKind, class_axis: ClassAxis) -> Answer:
    """How to read scores of a kind.

    A model's own last activation is used where it has one; where it ends in logits, probabilities
    are the softmax of them, or the sigmoid in a map of one class. `class_axis` is asked where an
    answer has rows and columns too.
    """
    if kind == "logit":
        quantised = score.quantization
        finish = _AS_IT_IS if quantised is None else _real(quantised)
        return Answer(score.logit, finish, kind, score.activation)
    if score.activation == "none":
        finish = _normalised(functools.partial(class_axis, score.probability))
    else:
        finish = _PROBABILITY[score.activation]
    return Answer(score.probability, finish, kind, score.activation)


def _as_float(array: Array) -> Array:
    return array.astype(np.float32)


def _exp(array: Array) -> Array:
    return np.exp(array.astype(np.float32))


_AS_IT_IS = Finish(_as_float)


def _real(quantised: Quantization) -> Finish:
    return Finish(quantised.real, lambda _, dy: dy * np.float32(quantised.scale))


def _normalised(class_axis: Callable[[], int | None]) -> Finish:
    """Probabilities from logits."""

    def forth(array: Array) -> Array:
        axis = _normal_axis(array, class_axis)
        return sigmoid(array) if axis is None else softmax(array, axis=axis)

    def back(array: Array, dy: FloatArray) -> FloatArray:
        p, axis = forth(array), _normal_axis(array, class_axis)
        slope: FloatArray = (
            dy * p * (1 - p) if axis is None else p * (dy - (p * dy).sum(axis, keepdims=True))
        )
        return slope

    return Finish(forth, back, added=True)


_SUM = 1e-3
"""How far probabilities may be from adding up to 1, by rounding."""

_RAW = (
    "No softmax or sigmoid was found at the end of the model, and its answers lie between 0 and 1: "
    "they are taken for probabilities as they are."
)


def _are_probabilities(values: Array) -> bool:
    """Whether numbers look like it: between 0 and 1, and two of them adding up to 1."""
    if not values.size > 1 or not ((values >= 0) & (values <= 1)).all():
        return False
    return values.size > 2 or abs(float(values.sum()) - 1) <= _SUM


def _normal_axis(array: Array, class_axis: Callable[[], int | None]) -> int | None:
    """The axis over which probabilities add up to 1; None where there is only one class.

    Raises:
        TargetError: several axes hold several numbers, and none is known to be that of the classes,
            as in the answer of a detector, which has boxes beside its scores.
    """
    if array[0].size == 1:
        return None
    # The one axis that holds several numbers, as in (N, 1, 1, classes).
    several = [axis for axis in range(1, array.ndim) if array.shape[axis] > 1]
    axis = several[0] if len(several) == 1 else class_axis()
    if axis is not None and array.shape[axis] == 1:
        return None  # a map of one class
    if axis is None:
        raise TargetError(
            f"The model's answer of shape {array.shape[1:]} has no axis that is known to hold the "
            "classes, so there are no probabilities: explain it as it is, with --score logit."
        )
    return axis


_PROBABILITY: dict[Activation, Finish] = {
    "softmax": _AS_IT_IS,
    "sigmoid": _AS_IT_IS,
    "logsoftmax": Finish(_exp, lambda array, dy: dy * _exp(array)),
}

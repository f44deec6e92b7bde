"""Reading a model's answer as logits or as probabilities."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.graph.score import Activation, ScoreTensor
from onnxplain.methods.numbers import sigmoid, softmax
from onnxplain.methods.options import ScoreKind
from onnxplain.targets import Similarity, Target
from onnxplain.tensors import Array, FloatArray

ClassAxis = Callable[[str], int | None]
"""The axis of the classes in a tensor; None where it is not known."""


@dataclass(frozen=True)
class Answer:
    """The tensor that holds a kind of score, and what remains to be done to it."""

    tensor: str
    finish: Callable[[Array], Array]

    def scores(self, values: Array, targets: Sequence[Target]) -> FloatArray:
        """The number of each target, (samples, targets), from values of the tensor.

        An embedding has no probabilities: similarities are taken with the tensor as it is.
        """
        raw = _as_float(values)
        embedding = all(isinstance(t, Similarity) for t in targets)
        finished = raw if embedding else self.finish(values)
        columns = [t.score(raw if isinstance(t, Similarity) else finished) for t in targets]
        return np.stack(columns, axis=1).astype(np.float32, copy=False)


def answer(score: ScoreTensor, kind: ScoreKind, class_axis: ClassAxis) -> Answer:
    """How to read scores of a kind.

    A model's own last activation is used where it has one; where it ends in logits, probabilities
    are the softmax of them, or the sigmoid where there is only one. `class_axis` is asked where an
    answer has rows and columns too.
    """
    if kind == "logit":
        quantised = score.quantization
        return Answer(score.logit, _as_float if quantised is None else quantised.real)
    if score.activation == "none":
        axis = functools.partial(class_axis, score.probability)
        return Answer(score.probability, functools.partial(_normalised, class_axis=axis))
    return Answer(score.probability, _PROBABILITY[score.activation])


def _as_float(array: Array) -> Array:
    return array.astype(np.float32)


def _exp(array: Array) -> Array:
    return np.exp(array.astype(np.float32))


def _normalised(array: Array, class_axis: Callable[[], int | None]) -> Array:
    """Probabilities from logits.

    Raises:
        TargetError: several axes hold several numbers, and none is known to be that of the classes,
            as in the answer of a detector, which has boxes beside its scores.
    """
    if array[0].size == 1:
        return sigmoid(array)
    # The one axis that holds several numbers, as in (N, 1, 1, classes).
    several = [axis for axis in range(1, array.ndim) if array.shape[axis] > 1]
    axis = several[0] if len(several) == 1 else class_axis()
    if axis is None:
        raise TargetError(
            f"The model's answer of shape {array.shape[1:]} has no axis that is known to hold the "
            "classes, so there are no probabilities: explain it as it is, with --score logit."
        )
    return softmax(array, axis=axis)


_PROBABILITY: dict[Activation, Callable[[Array], Array]] = {
    "softmax": _as_float,
    "sigmoid": _as_float,
    "logsoftmax": _exp,
}

"""Reading a model's answer as logits or as probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.graph.score import Activation, ScoreTensor
from onnxplain.methods.numbers import sigmoid, softmax
from onnxplain.methods.options import ScoreKind
from onnxplain.targets import Similarity, Target
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True)
class Answer:
    """The tensor that holds a kind of score, and what remains to be done to it."""

    tensor: str
    finish: Callable[[Array], Array]

    def scores(self, values: Array, targets: Sequence[Target]) -> FloatArray:
        """The number of each target, (samples, targets), from values of the tensor.

        An embedding has no probabilities: similarities are taken with the tensor as it is.
        """
        finished, raw = self.finish(values), _as_float(values)
        columns = [t.score(raw if isinstance(t, Similarity) else finished) for t in targets]
        return np.stack(columns, axis=1).astype(np.float32, copy=False)


def answer(score: ScoreTensor, kind: ScoreKind) -> Answer:
    """How to read scores of a kind.

    A model's own last activation is used where it has one; where it ends in logits, probabilities
    are the softmax of them, or the sigmoid where there is only one.
    """
    if kind == "logit":
        quantised = score.quantization
        return Answer(score.logit, _as_float if quantised is None else quantised.real)
    return Answer(score.probability, _PROBABILITY[score.activation])


def _as_float(array: Array) -> Array:
    return array.astype(np.float32)


def _exp(array: Array) -> Array:
    return np.exp(array.astype(np.float32))


def _normalised(array: Array) -> Array:
    if array[0].size == 1:
        return sigmoid(array)
    # The one axis that holds several numbers, as in (N, 1, 1, classes), else the second.
    several = [axis for axis in range(1, array.ndim) if array.shape[axis] > 1]
    return softmax(array, axis=several[0] if len(several) == 1 else 1)


_PROBABILITY: dict[Activation, Callable[[Array], Array]] = {
    "softmax": _as_float,
    "sigmoid": _as_float,
    "logsoftmax": _exp,
    "none": _normalised,
}

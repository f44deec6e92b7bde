"""Reading a model's answer as logits or as probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxplain.graph.score import Activation, ScoreTensor
from onnxplain.methods.base import ScoreKind
from onnxplain.methods.numbers import sigmoid, softmax
from onnxplain.tensors import Array


@dataclass(frozen=True)
class Answer:
    """The tensor that holds a kind of score, and what remains to be done to it."""

    tensor: str
    finish: Callable[[Array], Array]


def answer(score: ScoreTensor, kind: ScoreKind) -> Answer:
    """How to read scores of a kind.

    A model's own last activation is used where it has one; where it ends in logits, probabilities
    are the softmax of them, or the sigmoid where there is only one.
    """
    if kind == "logit":
        return Answer(score.logit, _as_float)
    return Answer(score.probability, _PROBABILITY[score.activation])


def _as_float(array: Array) -> Array:
    return array.astype(np.float32)


def _exp(array: Array) -> Array:
    return np.exp(array.astype(np.float32))


def _normalised(array: Array) -> Array:
    if array[0].size == 1:
        return sigmoid(array)
    return softmax(array, axis=1)


_PROBABILITY: dict[Activation, Callable[[Array], Array]] = {
    "softmax": _as_float,
    "sigmoid": _as_float,
    "logsoftmax": _exp,
    "none": _normalised,
}

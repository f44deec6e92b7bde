"""Targets that need probabilities: every class above a threshold, and the expected value."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxplain.errors import NotInPictureError, TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.targets.described import ExplainedTarget
from onnxplain.targets.target import Target
from onnxplain.tensors import FloatArray

EXPECTED = "expected"

MOST = 100
"""Classes that "all" or a threshold may mean: the maps of one picture are in memory together."""

_ABOVE = re.compile(r"p\s*(>=|>)\s*(\d+(?:\.\d*)?(?:e-\d+)?|\.\d+)")
_COMMA = re.compile(r"\bp\s*>=?\s*\d+,\d")
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Probabilities:
    """How scores of classes become probabilities: by a softmax, a sigmoid, or "none" if they are.

    Attributes:
        by: the function.
        independent: whether several classes may be true at once, so that the sum may be above 1.
        guessed: whether the model itself has no such function.
    """

    by: Literal["none", "softmax", "sigmoid"]
    independent: bool
    guessed: bool = False

    def of(self, xp: Namespace, scores: Any) -> Any:
        """The probabilities, (N, classes), of scores, (N, ...)."""
        rows = xp.flatten(scores)
        if self.by == "none":
            return rows
        return xp.sigmoid(rows) if self.by == "sigmoid" else xp.softmax(rows, axis=-1)

    @property
    def warning(self) -> str:
        """A warning about a function that is guessed; empty if it is not."""
        if not self.guessed:
            return ""
        return (
            "The model ends in logits, without a softmax or sigmoid: probabilities are their "
            "softmax, which is wrong if several classes can be true at once; then export the model "
            "with its sigmoid."
        )


@dataclass(frozen=True)
class Expected(Target):
    """The expected value: Σ_k n_k p_k, with the probability p_k and the number n_k of class k.

    For classes that exclude each other, n_k is the class's index, or its label if all labels are
    numbers: Rothe, Timofte and Van Gool, "DEX: Deep EXpectation of apparent age from a single
    image", ICCV Workshops 2015. For independent sigmoids, n_k is 1. If output k is the probability
    that the rank is above k, this is the expected rank: Cao, Mirjalili and Raschka, "Rank
    consistent ordinal regression for neural networks", Pattern Recognition Letters 2020.
    """

    probabilities: Probabilities
    numbers: tuple[float, ...]
    name: str = EXPECTED

    def kind(self, plain: str) -> str:
        """See `Target`."""
        return "expected value"

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The sum."""
        numbers = np.array(self.numbers, np.float32)
        return xp.sum(self.probabilities.of(xp, answer) * numbers, axis=-1)

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: there must be a number for each class."""
        if int(np.prod(shape)) != len(self.numbers):
            raise TargetError(f"There are {len(self.numbers)} numbers for an answer {shape}.")

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        return ExplainedTarget(self.name, label="expected value")


def is_threshold(text: str) -> bool:
    """Whether a text is a threshold, such as "p>0.5"."""
    return _ABOVE.fullmatch(text.strip()) is not None


def needs_probabilities(text: str) -> bool:
    """Whether a target that is given as text needs probabilities: "p>0.5" or "expected"."""
    return any(is_threshold(piece) or piece.strip() == EXPECTED for piece in text.split(","))


def check_point(text: str) -> None:
    """Raise TargetError for a threshold with a comma in place of the decimal point."""
    if _COMMA.search(text):
        raise TargetError(f"{text!r} has a comma in its number: write a point, as in 'p>0.5'.")


def classes_above(
    text: str, scores: FloatArray, probabilities: Probabilities | None
) -> Sequence[int]:
    """The classes with a probability above a threshold, the largest first.

    `text` is "p>0.5" or "p>=0.5"; `scores` are (1, ...).

    Raises:
        TargetError: the threshold is no probability, or there are no probabilities.
        NotInPictureError: no class is above the threshold.
    """
    found = _ABOVE.fullmatch(text.strip())
    assert found is not None, "the text is a threshold"
    threshold = float(found[2])
    if threshold > 1:
        raise TargetError(f"{text!r} is above 1: a probability is from 0 to 1, as in 'p>0.5'.")
    known = required(text, probabilities).of(NUMPY, scores.astype(np.float64))[0]
    above = np.flatnonzero(_COMPARISONS[found[1]](known, threshold))
    if not len(above):
        best = int(known.argmax())
        raise NotInPictureError(
            f"No class has {text}: the largest probability is {known[best]:.3g}, of class {best}; "
            "lower the threshold, or use --target top1."
        )
    return [int(i) for i in above[np.argsort(-known[above], kind="stable")]]


def required(text: str, probabilities: Probabilities | None) -> Probabilities:
    """The probabilities that a target needs.

    Raises:
        TargetError: there are none.
    """
    if probabilities is None:
        raise TargetError(
            f"The target {text!r} needs probabilities of classes, and this answer has none: it "
            "ends without a softmax or sigmoid, and its numbers may mean anything."
        )
    return probabilities


def expected(probabilities: Probabilities, labels: Sequence[str | None]) -> Expected:
    """The expected value of an answer whose classes have these labels, None for no label."""
    if probabilities.independent:
        return Expected(probabilities, (1.0,) * len(labels))
    try:
        numbers = tuple(float(label or "") for label in labels)
    except ValueError:
        numbers = tuple(map(float, range(len(labels))))
    return Expected(probabilities, numbers)


def check_count(text: str, count: int) -> None:
    """Raise TargetError if a text means more classes than are explained at once."""
    if count > MOST:
        raise TargetError(
            f"{text!r} means {count:,} classes here, and at most {MOST} are explained for a "
            "picture: use a higher threshold, as in 'p>0.5', top10, or name the classes."
        )

"""Targets in an answer that is one number per class, and how users name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.targets.answer_shape import class_count
from onnxplain.targets.answered import Answered
from onnxplain.targets.class_names import check_class, class_name, top_count
from onnxplain.targets.contrast import compared
from onnxplain.targets.described import ExplainedTarget
from onnxplain.targets.forms import class_index
from onnxplain.targets.places import ALL
from onnxplain.targets.probabilities import (
    EXPECTED,
    check_count,
    classes_above,
    expected,
    is_threshold,
    required,
)
from onnxplain.targets.target import OUTPUT, Ranking, Target
from onnxplain.tensors import Array


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
        return class_name(self.index, self.label)

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {"code": np.array(self.index, np.int64)}

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See `Target`: the index of the class, instead of its rank."""
        return {"code": xp.ranked(xp.flatten(answer), parameters["code"])}

    def terms(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Sequence[tuple[Any, float]]:
        """See `Target`: the score of the class."""
        return [(self.settled(xp, answer, parameters)["code"], 1.0)]

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
        check_class(self.index, class_count(shape))

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


def classes(what: str, answered: Answered) -> list[Target]:
    """What a text means for an answer that is one number per class, or a single number.

    Raises:
        TargetError: it names no class, several classes with one label, or too many classes.
        NotInPictureError: no class has the probability.
        MapError: the scores are not finite, so there is no top class.
    """
    if answered.is_output:
        return [compared(what, None, _output, lambda _, name: _output(name))]
    several = _several(what, answered)
    if several is not None:
        return [Class(i, answered.label(i)) for i in several]
    if what == EXPECTED:
        names = [answered.label(i) for i in range(answered.values[0].size)]
        return [expected(required(what, answered.probabilities), names)]

    def one(name: str) -> Class:
        return _one_class(name, answered)

    return [compared(what, answered.labels, one, lambda _, name: one(name))]


def _several(what: str, answered: Answered) -> Sequence[int] | None:
    """The classes that "top5", "all" or "p>0.5" means; None for other texts."""
    top = top_count(what)
    if top is not None:
        return answered.top(top)
    if what == ALL:
        found: Sequence[int] = range(answered.values[0].size)
    elif is_threshold(what):
        found = classes_above(what, answered.values, answered.probabilities)
    else:
        return None
    check_count(what, len(found))
    return found


def _output(what: str) -> Target:
    """The only number of an answer."""
    if what not in (OUTPUT, "top1", "0"):
        raise TargetError(
            f"There is no {what!r}: the answer is one number for each sample; explain it with "
            "--target output, which is the default."
        )
    return Output()


def _one_class(what: str, answered: Answered) -> Class:
    """A class by its index, its label, or as "top2", which means only the second one."""
    top = top_count(what)
    if top is not None:
        index = answered.top(top)[-1]
        return Class(index, answered.label(index))
    index = class_index(what, answered.labels, "classes")
    check_class(index, class_count(answered.values.shape[1:]))
    return Class(index, answered.label(index))

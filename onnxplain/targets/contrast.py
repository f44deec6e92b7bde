"""Targets that compare: one class rather than another, and the opposite of a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxplain.formulas.namespace import Namespace
from onnxplain.targets.described import ExplainedTarget
from onnxplain.targets.types import Class, Ranking, Target
from onnxplain.tensors import Array


@dataclass(frozen=True)
class Contrast(Target):
    """The score of one class minus that of another: why this class rather than that one.

    For logits before a softmax it is the logarithm of the ratio of the two probabilities.

    Prabhushankar et al., "Contrastive Explanations in Neural Networks", ICIP 2020, with the
    difference of the scores in place of the cross entropy between the classes.
    """

    first: Class
    second: Class
    linear: ClassVar[bool] = True
    shares_graph: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The names of both classes, as in `281 tabby - 282 tiger cat`."""
        return f"{self.first.name} - {self.second.name}"

    def kind(self, plain: str) -> str:
        """See `Target`."""
        return f"difference of two {_PLURALS.get(plain, plain + 's')}"

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {
            name: one.parameters(shape)["code"]
            for name, one in (("first", self.first), ("second", self.second))
        }

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See `Target`: the indices of the classes, instead of their ranks."""
        return {
            name: self.first.settled(xp, answer, {"code": code})["code"]
            for name, code in parameters.items()
        }

    def resolved(self, answer: Ranking) -> Target:
        """See `Target`: the classes with their indices, instead of their ranks."""
        first, second = (one.resolved(answer) for one in (self.first, self.second))
        assert isinstance(first, Class) and isinstance(second, Class), "ranks are of classes"
        return Contrast(first, second)

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The difference of the elements."""
        first, second = (
            self.first.formula(xp, answer, code=parameters[name]) for name in ("first", "second")
        )
        return first - second

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the model must have both classes."""
        self.first.check(shape)
        self.second.check(shape)

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        first, second = self.first.described, self.second.described
        return ExplainedTarget(
            f"{first.name}-{second.name}", label=f"{first.title} rather than {second.title}"
        )


@dataclass(frozen=True)
class Opposite(Target):
    """The negative score of a class: what lowers it."""

    of: Class
    linear: ClassVar[bool] = True
    shares_graph: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The name of the class, as in `not 0 cat`."""
        return f"not {self.of.name}"

    def kind(self, plain: str) -> str:
        """See `Target`."""
        return f"negative {plain}"

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {"of": self.of.parameters(shape)["code"]}

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See `Target`: the index of the class, instead of its rank."""
        return {"of": self.of.settled(xp, answer, {"code": parameters["of"]})["code"]}

    def resolved(self, answer: Ranking) -> Target:
        """See `Target`."""
        own = self.of.resolved(answer)
        assert isinstance(own, Class), "ranks are of classes"
        return Opposite(own)

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The negative element."""
        return -self.of.formula(xp, answer, code=parameters["of"])

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the model must have this class."""
        self.of.check(shape)

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        own = self.of.described
        return ExplainedTarget(f"not_{own.name}", label=f"not {own.title}")


_PLURALS = {"probability": "probabilities"}

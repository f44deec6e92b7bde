"""Targets that are weighted sums of other targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.model.shapes import Shape
from onnxplain.targets.target import Ranking, Target
from onnxplain.tensors import Array

Own = TypeVar("Own", bound="Combination")


class Combination(Target):
    """A weighted sum of the numbers of targets that read the same tensors."""

    shares_graph: ClassVar[bool] = True

    @property
    @abstractmethod
    def parts(self) -> Sequence[Target]:
        """The targets that are added."""

    @property
    def weights(self) -> Sequence[float]:
        """A factor for each part; by default 1."""
        return [1.0] * len(self.parts)

    @abstractmethod
    def of_parts(self: Own, parts: Sequence[Target]) -> Own:
        """The same combination of other targets."""

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """See `Target`."""
        return self.parts[0].reads

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """See `Target`."""
        return all(part.linear for part in self.parts)

    @property
    def at_one_place(self) -> bool:  # type: ignore[override]
        """See `Target`."""
        return self.parts[0].at_one_place

    @property
    def own_kind(self) -> str | None:  # type: ignore[override]
        """See `Target`."""
        return self.parts[0].own_kind

    @property
    def of_changed(self) -> Target:
        """See `Target`."""
        return self.of_parts([part.of_changed for part in self.parts])

    def resolved(self, answer: Ranking) -> Target:
        """See `Target`."""
        return self.of_parts([part.resolved(answer) for part in self.parts])

    def parameters(self, *shapes: Shape, **_: Any) -> Mapping[str, Array]:
        """See `Target`."""
        return self._of_each(lambda _, part: part.parameters(*shapes))

    def settled(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See `Target`."""
        return self._of_each(lambda i, part: part.settled(xp, answer, _own(parameters, i)))

    def terms(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Sequence[tuple[Any, float]]:
        """See `Target`: those of the parts, if each part is such a sum."""
        each = [part.terms(xp, answer, _own(parameters, i)) for i, part in enumerate(self.parts)]
        if not all(each):
            return ()
        return [
            (place, factor * weight)
            for terms, weight in zip(each, self.weights, strict=True)
            for place, factor in terms
        ]

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """The weighted sum."""
        total = 0.0
        for i, (part, weight) in enumerate(zip(self.parts, self.weights, strict=True)):
            total = part.formula(xp, *read, **_own(parameters, i)) * weight + total
        return total

    def check(self, *shapes: Shape, **_: Any) -> None:
        """See `Target`: each part must fit, and all must read the same tensors."""
        for part in self.parts:
            part.check(*shapes)
            if (part.reads, part.own_kind) != (self.reads, self.own_kind):
                raise TargetError(
                    f"{self.parts[0].name} and {part.name} are numbers of different kinds: they "
                    "cannot be added."
                )

    def family(self, *shapes: Shape) -> Hashable:
        """See `Target`."""
        return type(self), *self.weights, *(part.family(*shapes) for part in self.parts)

    def _of_each(self, of: Callable[[int, Target], Mapping[str, Any]]) -> Mapping[str, Any]:
        """One mapping with the arrays of each part; the place of the part starts their names."""
        return {
            f"{i}_{name}": value
            for i, part in enumerate(self.parts)
            for name, value in of(i, part).items()
        }


def _own(parameters: Mapping[str, Any], i: int) -> dict[str, Any]:
    """The arrays of one part, by their names in this part."""
    start = f"{i}_"
    return {
        name.removeprefix(start): value
        for name, value in parameters.items()
        if name.startswith(start)
    }

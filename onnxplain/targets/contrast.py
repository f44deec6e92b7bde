"""Targets that compare: one class rather than another, and the opposite of a class."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnxplain.errors import TargetError
from onnxplain.targets.class_names import ClassNames, is_found
from onnxplain.targets.combination import Combination
from onnxplain.targets.described import ExplainedTarget, compared_name, target_name
from onnxplain.targets.target import Target


@dataclass(frozen=True)
class Contrast(Combination):
    """The score of one class minus that of another: why this class rather than that one.

    Both targets are of the same type: classes, regions with the same cells, or boxes at the same
    place. The second score is multiplied by `weight` (γ of Finer-CAM). For logits before a softmax
    and a weight of 1, the number is the logarithm of the ratio of the two probabilities.

    Prabhushankar et al., "Contrastive Explanations in Neural Networks", ICIP 2020, with the
    difference of the scores in place of the cross entropy between the classes; Zhang et al.,
    "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation", CVPR 2025.
    """

    first: Target
    second: Target
    weight: float = 1.0

    @property
    def parts(self) -> Sequence[Target]:
        """See `Combination`."""
        return self.first, self.second

    @property
    def weights(self) -> Sequence[float]:
        """See `Combination`."""
        return 1.0, -self.weight

    def of_parts(self, parts: Sequence[Target]) -> Contrast:
        """See `Combination`."""
        return replace(self, first=parts[0], second=parts[1])

    @property
    def name(self) -> str:
        """The names of both targets, as in `281 tabby - 282 tiger cat`."""
        return f"{self.first.name} - {self._factor('*')}{self.second.name}"

    def kind(self, plain: str) -> str:
        """See `Target`."""
        one = self.first.kind(plain)
        weighted = "" if self.weight == 1 else "weighted "
        return f"{weighted}difference of two {_plural(one)}"

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        first, second = self.first.described, self.second.described
        return ExplainedTarget(
            compared_name(f"{first.name}-{self._factor('x')}{_short(second)}"),
            label=f"{_called(first)} rather than {self._factor(' * ')}{_called(second)}",
            region=first.region,
            boxes=first.boxes,
            references=first.references + second.references,
        )

    def _factor(self, times: str) -> str:
        return "" if self.weight == 1 else f"{self.weight:g}{times}"


@dataclass(frozen=True)
class Opposite(Combination):
    """The negative score of a target: what lowers it."""

    of: Target

    @property
    def parts(self) -> Sequence[Target]:
        """See `Combination`."""
        return (self.of,)

    @property
    def weights(self) -> Sequence[float]:
        """See `Combination`."""
        return (-1.0,)

    def of_parts(self, parts: Sequence[Target]) -> Opposite:
        """See `Combination`."""
        return Opposite(*parts)

    @property
    def name(self) -> str:
        """The name of the target, as in `not 0 cat`."""
        return f"not {self.of.name}"

    def is_extreme(self, score: float) -> bool:
        """See `Target`."""
        return self.of.is_extreme(-score)

    def kind(self, plain: str) -> str:
        """See `Target`."""
        return f"negative {self.of.kind(plain)}"

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        own = self.of.described
        name, label = compared_name(f"not_{own.name}"), f"not {_called(own)}"
        return replace(own, name=name, index=None, label=label)


def compared(
    text: str,
    labels: ClassNames | None,
    first: Callable[[str], Target],
    other_class: Callable[[Target, str], Target],
) -> Target:
    """The target that a text means: "A", "A-B", "A - B", "A - 0.6*B" or "not:A".

    `first` reads A, and `other_class` makes the target for class B from that for A. Names need
    spaces around "-", indices do not. A text that is one of `labels` is A.

    Raises:
        TargetError: as `first` and `other_class`, or for the opposite of a difference.
    """
    if text.startswith(NOT):
        of = text.removeprefix(NOT).strip()
        if _pair(of, labels) is not None:
            raise TargetError(
                f"{NOT} takes one target, and {of!r} is a difference: exchange its classes, as in "
                "'1 - 0' for the opposite of '0 - 1'."
            )
        return Opposite(first(of))
    pair = _pair(text, labels)
    if pair is None:
        return first(text)
    one, weight, two = pair
    own = first(one.strip())
    return Contrast(own, other_class(own, two.strip()), float(weight or 1))


def _pair(text: str, labels: ClassNames | None) -> tuple[str, str | None, str] | None:
    """The first class, the weight and the second class of a difference; None for other texts."""
    found = None if is_found(text, labels) else _PAIR.fullmatch(text)
    if found is None:
        return None
    one, weight, two = found.groups()[:3] if found[1] else found.groups()[3:]
    return one, weight, two


NOT = "not:"
"""What the text of a target begins with if its opposite is meant."""

FACTOR = r"(?:(\d+(?:\.\d+)?)\s*\*\s*)?"
"""The weight of the second target in the text of a difference, as a regular expression."""

_CODE = r"(?:top)?\d+"
_PAIR = re.compile(rf"({_CODE})\s*-\s*{FACTOR}({_CODE})|(.+?)\s+-\s+{FACTOR}(.+)")


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _called(target: ExplainedTarget) -> str:
    """A target in words, without its place."""
    return target.label or (target.name if target.index is None else str(target.index))


def _short(target: ExplainedTarget) -> str:
    """A target's short name, without its place."""
    return target.name if target.index is None else target_name(target.index, target.label)

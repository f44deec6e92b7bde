"""Targets for text recognizers, whose answer has a score for each class at each step.

The answer is (N, steps, classes). The steps and classes that a target reads are those of the text
that was read in the picture itself. They stay the same in changed pictures.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.model.shapes import Shape
from onnxplain.targets.described import ExplainedTarget, ExplainedText, part_name
from onnxplain.targets.elements import WeightedSum
from onnxplain.tensors import Array

Weights = Mapping[tuple[int, int], float]
"""A weight for each (step, class) that a target reads; they add up to 1."""


class _OfSteps(WeightedSum):
    """A weighted mean of the scores of some classes at some steps."""

    @property
    @abstractmethod
    def weights(self) -> Weights:
        """See `Weights`."""

    def parameters(self, shape: Shape) -> Mapping[str, Array]:
        """See `Target`."""
        weights = np.zeros(shape, np.float32)
        for place, weight in self.weights.items():
            weights[place] = weight
        return {"weights": weights}

    def check(self, shape: Shape) -> None:
        """See `Target`: the answer must have these steps and classes."""
        if len(shape) != 2:
            raise TargetError(
                f"The target {self.name!r} is a part of a text, and the answer of shape {shape} is "
                "none: it has no axes of steps and classes."
            )
        for place in self.weights:
            for what, index, size in zip(("step", "class"), place, shape, strict=True):
                if not 0 <= index < size:
                    raise TargetError(
                        f"There is no {what} {index}: the answer has {size}, 0 to {size - 1}."
                    )


@dataclass(frozen=True)
class Character(_OfSteps):
    """The score of a character that was read: the mean over the steps that it was read at.

    Attributes:
        position: 1 for the first character of the text.
        index: its class.
        steps: the consecutive steps whose best class it is.
        text: the whole text that was read.
        label: the character; None if it is not known which one the class means.
    """

    position: int
    index: int
    steps: tuple[int, ...]
    text: str
    label: str | None = None
    at_one_place: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Number and character, as in `char:3 l`."""
        return f"char:{self.position} {self.label or self.index}"

    @property
    def weights(self) -> Weights:
        """See `Weights`."""
        return {(step, self.index): 1 / len(self.steps) for step in self.steps}

    def kind(self, plain: str) -> str:
        """See `Target`."""
        return plain if len(self.steps) == 1 else f"mean {plain} of {len(self.steps)} steps"

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        read = ExplainedText(self.text, self.steps, self.position)
        called = self.label or f"class{self.index}"
        name = part_name(f"char{self.position}", called, read.place, self.text)
        return ExplainedTarget(name, self.index, self.label, read=read)


@dataclass(frozen=True)
class Step(_OfSteps):
    """The score of one class at one step, both counted from 0.

    `text` is the whole text that was read, or None if it is not known which class is the blank.
    """

    step: int
    index: int
    text: str | None = None
    label: str | None = None
    at_one_place: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Step and class, as in `step:4,17`."""
        return f"step:{self.step},{self.index}"

    @property
    def weights(self) -> Weights:
        """See `Weights`."""
        return {(self.step, self.index): 1.0}

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        read = ExplainedText(self.text, (self.step,))
        name = part_name(read.place, f"class{self.index}", self.label, self.text)
        return ExplainedTarget(name, self.index, self.label, read=read)


@dataclass(frozen=True)
class Text(_OfSteps):
    """The score of the whole text that was read: the mean over its characters.

    Steps whose best class is the blank do not count.
    """

    characters: tuple[Character, ...]

    @property
    def text(self) -> str:
        """The text that was read."""
        return self.characters[0].text

    @property
    def name(self) -> str:
        """As in `text Hello`."""
        return f"text {self.text}"

    @property
    def weights(self) -> Weights:
        """See `Weights`."""
        count = len(self.characters)
        return {
            place: weight / count
            for character in self.characters
            for place, weight in character.weights.items()
        }

    def kind(self, plain: str) -> str:
        """See `Target`."""
        count = len(self.characters)
        return (
            self.characters[0].kind(plain) if count == 1 else f"mean {plain} of {count} characters"
        )

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        steps = tuple(step for character in self.characters for step in character.steps)
        read = ExplainedText(self.text, steps)
        return ExplainedTarget(part_name("text", self.text), read=read)

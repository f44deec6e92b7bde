"""The text that a recognizer reads in one picture, and how a user names its parts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.targets.alphabet import Alphabet
from onnxplain.targets.finite import check_finite
from onnxplain.targets.sequences import Character, Step, Text
from onnxplain.targets.target import Target
from onnxplain.tensors import FloatArray

FORMS = "text, char:3, step:4 or step:4,17"
"""The ways to name a part of what was read, for messages."""

_BLANK = "blank"
"""The label of the blank, which stands for no character."""

_PIECE = re.compile(r"(text|top\d+)|char:(\d+)|step:(\d+)(?:,(\d+))?")
_BETWEEN = re.compile(r"\s*(?:,\s*|$)")


@dataclass(frozen=True, eq=False)
class Recognized:
    """The scores of one picture, (steps, classes), and the text that they mean.

    The text is that of the best path: the best class of each step, without repetitions at
    consecutive steps and then without blanks.

    Graves, Fernández, Gomez and Schmidhuber, "Connectionist Temporal Classification: Labelling
    Unsegmented Sequence Data with Recurrent Neural Networks", ICML 2006, section 3.2.
    """

    scores: FloatArray
    alphabet: Alphabet

    @functools.cached_property
    def path(self) -> Sequence[int]:
        """The best class of each step; the first of equal ones.

        Raises:
            MapError: a score is not finite.
        """
        check_finite(self.scores, of="recognizer")
        return [int(index) for index in self.scores.argmax(axis=1)]

    @functools.cached_property
    def characters(self) -> Sequence[Character]:
        """The characters that were read, in order.

        Raises:
            TargetError: it is not known which class is the blank.
        """
        blank = self.alphabet.known_blank()
        read = [(index, steps) for index, steps in _runs(self.path) if index != blank]
        text = "".join(self.alphabet.written(index) for index, _ in read)
        return [
            Character(number, index, steps, text, self.alphabet.name(index))
            for number, (index, steps) in enumerate(read, start=1)
        ]

    @property
    def text(self) -> str:
        """The text that was read; classes without a known character are indices in brackets.

        Raises:
            TargetError: it is not known which class is the blank.
        """
        return self.characters[0].text if self.characters else ""

    @property
    def log_probability(self) -> float:
        """The logarithm of the probability of the best path, Σ_t log p(π_t).

        For `scores` that are probabilities. Equation 2 of Graves et al., see the class.
        """
        best = self.scores.max(axis=1).astype(np.float64)
        return float(np.log(np.maximum(best, np.finfo(np.float64).tiny)).sum())

    def resolve(self, text: str) -> list[Target]:
        """The targets that `text` means: one of `FORMS`, or several with commas between them.

        Characters are counted from 1, steps and classes from 0. A step without a class means its
        best one. "top1" means the text.

        Raises:
            TargetError: the text cannot be read, or there is no such character, step or class.
        """
        found, end, text = list[Target](), 0, text.strip(" ,")
        while end < len(text) or not text:
            piece = _PIECE.match(text, end)
            after = None if piece is None else _BETWEEN.match(text, piece.end())
            if piece is None or after is None:
                raise TargetError(
                    f"The target {text!r} cannot be read: name what this text recognizer reads as "
                    f"{FORMS}; `onnxplain inspect MODEL --picture FILE` lists the characters."
                )
            end = after.end()
            found.append(self._meant(*piece.groups()))
        for target in found:
            target.check(self.scores.shape)
        return found

    def _meant(
        self, whole: str | None, number: str | None, step: str | None, index: str | None
    ) -> Target:
        if whole is not None:
            return self._whole(whole)
        if number is not None:
            return self._character(int(number))
        assert step is not None, "the pattern has no other alternative"
        return self._step(int(step), index)

    def _whole(self, name: str) -> Target:
        if name not in ("text", "top1"):
            raise TargetError(
                f"There is no {name}: a recognizer reads one text; name it or a part as {FORMS}."
            )
        if not self.characters:
            raise TargetError(
                "No character is read in this picture: the best class of each step is the blank; "
                "explain a step and a class, as in --target step:4,17."
            )
        return Text(tuple(self.characters))

    def _character(self, number: int) -> Target:
        count = len(self.characters)
        if not 1 <= number <= count:
            read = (
                f"the text {self.text!r} has {count}, counted from 1" if count else "none is read"
            )
            raise TargetError(f"There is no character {number} in this picture: {read}.")
        return self.characters[number - 1]

    def _step(self, step: int, index: str | None) -> Target:
        known = self.alphabet.blank is not None
        best = self.path[step] if step < len(self.path) else 0
        own = best if index is None else int(index)
        label = _BLANK if own == self.alphabet.blank else self.alphabet.name(own)
        return Step(step, own, self.text if known else None, label)


def _runs(path: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each class of a path with the consecutive steps of one run of it."""
    for index, run in groupby(enumerate(path), key=lambda one: one[1]):
        yield index, tuple(step for step, _ in run)

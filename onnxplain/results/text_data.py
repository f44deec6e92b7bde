"""The explanation of a text: one value for each token, and the facts that are needed to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxplain.results.data import Provenance, passes_in_words, score_in_words
from onnxplain.targets.described import ExplainedTarget
from onnxplain.tensors import FloatArray
from onnxplain.texts.tokens import TokenizedText

_NAME_WORDS = 5


@dataclass(frozen=True)
class Word:
    """A word of a text: its characters, its tokens, and their value, see `TextData.value_of`."""

    text: str
    tokens: range
    value: float
    special: bool


@dataclass(frozen=True, eq=False)
class TextData:
    """The explanation of one text for one target: all that files and drawings show.

    Attributes:
        text: the text, or both texts of a pair, and its tokens.
        values: float32 (tokens,), signed, never rescaled, without padding.
        adds_up: whether the value of a word is the sum of its tokens' values, else the mean.
        method: its name.
        target: what was explained.
        score: the target's score for this text.
        score_kind: what the score is, such as a logit or a probability.
        score_tensor: the tensor that the score was read from.
        embedding: the tensor at which the tokens were explained.
        absent: the token that took the place of others, by the name of the option; its "id" is
            missing where it was an embedding of zeros. Empty for methods without such an option.
        parameters: every option of the method, including defaults.
        provenance: model, tokenizer, provider and versions.
        diagnostics: what the method reports about its own accuracy.
    """

    text: TokenizedText
    values: FloatArray = field(repr=False)
    adds_up: bool
    method: str
    target: ExplainedTarget
    score: float
    score_kind: str
    score_tensor: str
    embedding: str
    absent: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, Any]
    provenance: Provenance
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> Sequence[Word]:
        """The words in order; special tokens are words of their own."""
        return [
            Word(
                self.text.word(tokens),
                tokens,
                self.value_of(tokens),
                self.text.tokens[tokens[0]].special,
            )
            for tokens in self.text.words
        ]

    def value_of(self, tokens: range) -> float:
        """The value of neighboring tokens: the sum of their values, or the mean."""
        values = self.values[tokens.start : tokens.stop].astype(np.float64)
        return float(values.sum() if self.adds_up else values.mean())

    @property
    def largest(self) -> float:
        """The largest absolute value of a token; 1 if all are zero."""
        return float(np.abs(self.values).max()) or 1.0

    @property
    def scored(self) -> str:
        """Kind and value of the score as text."""
        return score_in_words(self.score_kind, self.score)

    @property
    def how(self) -> str:
        """The method, what took the place of tokens, and the number of passes, in words."""
        absent = [f"{name} {value['token']}" for name, value in self.absent.items()]
        return " · ".join([self.method, *absent, passes_in_words(self.diagnostics)])

    @property
    def name(self) -> str:
        """The first words of the text, for the names of files."""
        return " ".join(self.text.texts[0].split()[:_NAME_WORDS])

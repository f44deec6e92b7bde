"""A text as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Text = str | tuple[str, str]
"""A text, or a pair of texts, such as a question and the passage that may answer it."""


@dataclass(frozen=True)
class Token:
    """One token.

    Attributes:
        piece: its name in the vocabulary, such as "##ing".
        id: its number in the vocabulary.
        start: the first character of the text that it stands for.
        end: the character after the last one; equal to `start` for special tokens.
        sequence: which text of a pair it is from; None if the tokenizer added it.
        word: the number of its word in that text, as the tokenizer counts; None if it is unknown.
    """

    piece: str
    id: int
    start: int = 0
    end: int = 0
    sequence: int | None = None
    word: int | None = None

    @property
    def special(self) -> bool:
        """Whether the tokenizer added the token, as it adds [CLS] and [SEP]."""
        return self.sequence is None


@dataclass(frozen=True)
class TokenizedText:
    """A text, or both texts of a pair, and its tokens; `types` are the ids of their segments.

    `warning` is a sentence for the user, empty if there is none.
    """

    texts: tuple[str, ...]
    tokens: tuple[Token, ...]
    types: tuple[int, ...]
    warning: str = ""

    @property
    def words(self) -> Sequence[range]:
        """The tokens of each word, as ranges of their indices, in order.

        Neighbors belong to one word if the tokenizer says so, and no space is between them. A
        special token is a word of its own.
        """
        starts = [i for i in range(len(self.tokens)) if not i or self._starts_word(i)]
        return [range(a, b) for a, b in zip(starts, [*starts[1:], len(self.tokens)], strict=True)]

    def part(self, token: Token) -> str:
        """The characters that a token stands for; empty for a special token."""
        return "" if token.sequence is None else self.texts[token.sequence][token.start : token.end]

    def word(self, tokens: range) -> str:
        """The characters of a word, or the name of a special token."""
        first, last = self.tokens[tokens[0]], self.tokens[tokens[-1]]
        if first.sequence is None:
            return first.piece
        return self.texts[first.sequence][first.start : last.end].strip()

    def _starts_word(self, index: int) -> bool:
        before, token = self.tokens[index - 1], self.tokens[index]
        if token.sequence is None or (token.sequence, token.word) != (before.sequence, before.word):
            return True
        # Tokenizers without words give the same number to all tokens.
        return token.start > before.end or self.part(token)[:1].isspace()

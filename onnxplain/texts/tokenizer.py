"""The tokenizer of a model, from its file `tokenizer.json`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxplain.errors import TextError
from onnxplain.regular_files import leads_out, read_regular
from onnxplain.suggestions import closest
from onnxplain.texts.tokens import Text, Token, TokenizedText

_FOLDERS = 2
"""The model's folder and the one above it are searched for a tokenizer."""

_NAMED: dict[str, tuple[str, ...]] = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
}
"""Usual names of the tokens that fill the place of others, the first that a vocabulary has."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer; `path` is its file, and `sha256` the hash of that file."""

    path: Path
    sha256: str
    _tokenizer: Any
    _padding: dict[str, Any]

    def encode(self, text: Text) -> TokenizedText:
        """The tokens of a text or of a pair of texts, without padding.

        Raises:
            TextError: it is empty, or no text, or the tokenizer is damaged.
        """
        texts = (text,) if isinstance(text, str) else tuple(text)
        if not 1 <= len(texts) <= 2 or not all(isinstance(one, str) for one in texts):
            raise TextError(f"A text or a pair of two texts is tokenized, not {text!r}.")
        if not all(one.strip() for one in texts):
            raise TextError("The text is empty: give at least one word.")
        try:
            found = self._tokenizer.encode(*texts)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of Rust is no Exception
            raise TextError(
                f"{self.path} cannot split the text into tokens ({error}): name the tokenizer.json "
                "of the model."
            ) from error
        added = zip(found.special_tokens_mask, found.sequence_ids, strict=True)
        sequences = [None if special else sequence for special, sequence in added]
        tokens = tuple(
            Token(piece, number, start, end, sequence, word)
            for piece, number, (start, end), sequence, word in zip(
                found.tokens, found.ids, found.offsets, sequences, found.word_ids, strict=True
            )
        )
        if all(token.special for token in tokens):
            raise TextError(f"The tokenizer finds no token in {text!r}.")
        warning = self._warning(found, len(tokens))
        return TokenizedText(texts, tokens, tuple(found.type_ids), warning)

    @property
    def settings(self) -> dict[str, str]:
        """What a manifest says about it."""
        return {"tokenizer": str(self.path), "sha256": self.sha256}

    @property
    def pads_left(self) -> bool:
        """Whether padding comes before the text."""
        return self._padding.get("direction") == "left"

    def token(self, name: str | int) -> tuple[str, int]:
        """A token and its id: by its id, its name, or the words "pad" and "mask".

        Raises:
            TextError: the vocabulary has no such token.
        """
        if isinstance(name, int):
            piece = self._tokenizer.id_to_token(name)
            if piece is None:
                last = self._tokenizer.get_vocab_size() - 1
                raise TextError(f"The tokenizer has no token {name}: ids are 0 to {last}.")
            return piece, name
        if name == "pad" and "pad_token" in self._padding:
            return self._padding["pad_token"], self._padding["pad_id"]
        for piece in _NAMED.get(name, (name,)):
            number = self._tokenizer.token_to_id(piece)
            if number is not None:
                return piece, number
        if name in _NAMED:
            raise TextError(
                f"The tokenizer has no {name} token ({', '.join(_NAMED[name])}): name another "
                "token, or its id."
            )
        close = closest(name, self._tokenizer.get_vocab(), count=3)
        raise TextError(f"The tokenizer has no token {name!r}{close}.")

    def _warning(self, found: Any, kept: int) -> str:
        if not found.overflowing:
            return ""
        return (
            f"The text is longer than the {kept} tokens at which {self.path.name} cuts it: the "
            "model saw no more than its beginning."
        )


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`.

    Raises:
        TextError: it cannot be read, or the package tokenizers is missing.
    """
    try:
        from tokenizers import Tokenizer as Fast
    except ImportError:
        raise TextError(
            "Texts need the package tokenizers: pip install 'onnxplain[text]', or give the token "
            "ids as numbers with --input."
        ) from None
    try:
        data = read_regular(path)
    except FileNotFoundError:
        raise TextError(f"There is no tokenizer {path}.") from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        tokenizer = Fast.from_str(data.decode())
    except Exception as error:  # the package raises no other type
        raise TextError(
            f"{path} is no tokenizer of the package tokenizers ({error}): name the tokenizer.json "
            "of the model."
        ) from error
    padding = tokenizer.padding or {}
    tokenizer.no_padding()
    return Tokenizer(path, hashlib.sha256(data).hexdigest(), tokenizer, padding)


def find_tokenizer(*models: Path | None) -> Path:
    """The `tokenizer.json` next to a model, or in the folder above it; of the first that has one.

    Raises:
        TextError: there is none.
    """
    found = tokenizer_beside(*models)
    if found is None:
        raise TextError(
            "A text needs a tokenizer, and there is no tokenizer.json next to the model: name it "
            "with --tokenizer FILE."
        )
    return found


def tokenizer_beside(*models: Path | None) -> Path | None:
    """As `find_tokenizer`, but None if there is none.

    Raises:
        TextError: it is a link that leads out of its folder.
    """
    for model in filter(None, models):
        for folder in model.absolute().parents[:_FOLDERS]:
            file = folder / "tokenizer.json"
            if file.is_file():
                return _not_linked_out(file, model)
    return None


def _not_linked_out(file: Path, model: Path) -> Path:
    if leads_out(file, model):
        raise TextError(
            f"{file} is a link to a file outside its folder: put the file itself next to the "
            "model, or name it with --tokenizer FILE."
        )
    return file

"""From tokens to the values of a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.analysis.token_inputs import IDS, MASK, POSITIONS, TYPES
from onnxplain.errors import TextError
from onnxplain.tensors import Array, TensorSpec
from onnxplain.texts.tokenizer import Tokenizer
from onnxplain.texts.tokens import TokenizedText


@dataclass(frozen=True, eq=False)
class TokenArrays:
    """The values of the inputs that take texts, by name, (texts, length) each.

    `places` says, for each text, where its tokens are among the `length` places; the others are
    padding.
    """

    values: Mapping[str, Array]
    places: Sequence[slice]


def token_arrays(
    inputs: Mapping[str, TensorSpec], texts: Sequence[TokenizedText], tokenizer: Tokenizer
) -> TokenArrays:
    """The values of `inputs`, given by what they take, see `analysis.token_inputs`.

    All texts get the length that an input declares, or that of the longest text. Padding has the
    pad token, a mask of 0 and the segment 0. Places are counted from 0.

    Raises:
        TextError: a text has more tokens than the model takes, or the model's length needs padding
            and the tokenizer has no pad token.
    """
    counts = [len(text.tokens) for text in texts]
    length = _length(inputs, max(counts))
    starts = [length - count if tokenizer.pads_left else 0 for count in counts]
    places = [slice(start, start + count) for start, count in zip(starts, counts, strict=True)]
    pad = tokenizer.token("pad")[1] if min(counts) < length else 0
    rows = {
        role: np.full((len(texts), length), pad if role == IDS else 0, np.int64)
        for role in (IDS, MASK, TYPES)
    }
    for row, (text, place) in enumerate(zip(texts, places, strict=True)):
        rows[IDS][row, place] = [token.id for token in text.tokens]
        rows[MASK][row, place] = 1
        rows[TYPES][row, place] = text.types
    rows[POSITIONS] = np.tile(np.arange(length), (len(texts), 1))
    values = {spec.name: rows[role].astype(spec.dtype) for role, spec in inputs.items()}
    return TokenArrays(values, places)


def _length(inputs: Mapping[str, TensorSpec], longest: int) -> int:
    declared = [
        (spec.shape[1], spec.name)
        for spec in inputs.values()
        if spec.shape is not None and isinstance(spec.shape[1], int) and spec.shape[1] > 0
    ]
    if not declared:
        return longest
    length, name = min(declared, key=lambda found: found[0])
    if longest > length:
        raise TextError(
            f"The text has {longest} tokens, and the input {name!r} takes {length}: shorten the "
            "text."
        )
    return length

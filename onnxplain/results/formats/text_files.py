"""The files of a text's explanation, one for each format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from onnxplain.errors import OptionError
from onnxplain.file_names import safe_name
from onnxplain.results.formats import arrays
from onnxplain.results.formats.manifest import (
    MANIFEST_VERSION,
    as_json,
    of_execution,
    of_files,
    of_model,
)
from onnxplain.results.formats.write import write_files
from onnxplain.results.render.words import as_page
from onnxplain.results.text_data import TextData
from onnxplain.targets.described import LONGEST_TARGET
from onnxplain.texts.tokens import TokenizedText

_CONVENTIONS = {
    "values": "float32, one for each token, signed, never rescaled",
    "offsets": "start and end count characters of the text; end is after the last one",
    "score": "logit: the tensor before a final Softmax, LogSoftmax or Sigmoid;"
    " probability: the tensor after it",
    "numbers": "null means a number that is not finite",
}
_TEXT_BYTES, _METHOD_BYTES = 60, 40


class TextFormat(NamedTuple):
    """The ending of a file's name, and the function that makes its bytes.

    `encode` takes the explanation, and the files of the formats before this one by name.
    """

    ending: str
    encode: Callable[[TextData, Mapping[str, bytes]], bytes]


# In the order of writing: the manifest lists the other files, so it comes last.
TEXT_FORMATS: dict[str, TextFormat] = {
    "npy": TextFormat(".npy", lambda data, _: arrays.npy(data.values)),
    "html": TextFormat(".html", lambda data, _: as_page(data)),
    "json": TextFormat(".json", lambda data, files: as_json(content(data, files))),
}


def check_text_formats(names: Iterable[str]) -> None:
    """Raise OptionError unless every name is a format of texts."""
    for name in names:
        if name not in TEXT_FORMATS:
            raise OptionError(
                f"There is no format {name!r} for texts; choose from {', '.join(TEXT_FORMATS)}."
            )


def save_text(
    data: TextData, folder: Path, formats: Sequence[str], name: str | None = None
) -> list[Path]:
    """Write the files `<name>.<method>.<target>` and an ending, all or none; see `write_files`.

    `name` is by default the first words of the text.
    """
    check_text_formats(formats)
    stem = text_stem(data, name)
    files: dict[str, bytes] = {}
    for format_, (ending, encode) in TEXT_FORMATS.items():
        if format_ in formats:
            files[stem + ending] = encode(data, files)
    return write_files(folder, files)


def text_stem(data: TextData, name: str | None = None) -> str:
    """The first part of the names of all files of an explanation."""
    return ".".join(
        [
            safe_name(name or data.name, _TEXT_BYTES),
            safe_name(data.method, _METHOD_BYTES),
            safe_name(data.target.name, LONGEST_TARGET),
        ]
    )


def content(data: TextData, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The content of a manifest, with values that `plain` must still convert to JSON types."""
    provenance = data.provenance
    return {
        "onnxplain": {"manifest": MANIFEST_VERSION},
        "model": of_model(provenance.model),
        "text": {"texts": data.text.texts, "tokens": _tokens(data), "words": _words(data)},
        "preprocess": provenance.preprocess,
        "method": data.method,
        "embedding": data.embedding,
        "absent": data.absent,
        "target": data.target.to_dict(),
        "score": {"kind": data.score_kind, "value": data.score, "tensor": data.score_tensor},
        "parameters": data.parameters,
        "diagnostics": data.diagnostics,
        "values": {
            "shape": data.values.shape,
            "range": (float(data.values.min()), float(data.values.max())),
        },
        **of_execution(provenance),
        "versions": provenance.versions,
        "conventions": {**_CONVENTIONS, "words": _words_convention(data)},
        "files": of_files(files),
    }


def _words_convention(data: TextData) -> str:
    how = "sum" if data.adds_up else "mean"
    return f"the value of a word is the {how} of the values of its tokens"


def _tokens(data: TextData) -> list[dict[str, Any]]:
    text: TokenizedText = data.text
    return [
        {
            "token": token.piece,
            "id": token.id,
            "text": token.sequence,
            "start": token.start,
            "end": token.end,
            "value": float(value),
        }
        for token, value in zip(text.tokens, data.values, strict=True)
    ]


def _words(data: TextData) -> list[dict[str, Any]]:
    return [
        {
            "word": word.text,
            "tokens": [word.tokens.start, word.tokens.stop],
            "special": word.special,
            "value": word.value,
        }
        for word in data.words
    ]

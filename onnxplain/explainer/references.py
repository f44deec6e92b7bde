"""The embeddings that targets compare with, of the files and the texts that users name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np

from onnxplain.analysis.score import ScoreKind, ScoreTensor
from onnxplain.errors import OnnxplainError, TargetError
from onnxplain.execution.answers import Reading, read
from onnxplain.execution.runner import Runner
from onnxplain.explainer.other_inputs import OtherInputs
from onnxplain.explainer.taken import Picture, Taken
from onnxplain.explainer.text_encoder import TextEncoder
from onnxplain.images.array_files import read_npy
from onnxplain.images.picture import ARRAY_SUFFIX, SUFFIXES
from onnxplain.recent import Recent
from onnxplain.regular_files import is_there
from onnxplain.targets import Similarity, TargetSpec
from onnxplain.targets.similarity import SIMILAR, in_quotes, with_references
from onnxplain.tensors import FloatArray

_KEPT = 64


class References:
    """Embeddings of one model; those of files are kept until the file changes.

    `take` makes a sample of a picture or an array. `others` has the values of the model's other
    inputs. `texts` embeds texts; None if no such model was given.
    """

    def __init__(
        self,
        runner: Runner,
        score: ScoreTensor,
        take: Callable[[Picture], Taken],
        others: OtherInputs,
        texts: TextEncoder | None,
    ) -> None:
        """Prepare; nothing is run yet."""
        self._runner = runner
        self._score = score
        self._take = take
        self._others = others
        self._texts = texts
        self._kept: Recent[FloatArray] = Recent(_KEPT)

    def resolved(self, specs: Sequence[TargetSpec], kind: ScoreKind) -> list[TargetSpec]:
        """The targets, with an object in place of each string that names what to compare with.

        Raises:
            TargetError: a file or a text cannot be used.
        """

        def of_name(name: str) -> Similarity:
            text = self._text_of(name)
            return self.similarity(name, kind) if text is None else self.to_text(text)

        return [
            (with_references(spec, of_name) or spec) if isinstance(spec, str) else spec
            for spec in specs
        ]

    def to_text(self, text: str) -> Similarity:
        """The similarity to a text.

        Raises:
            TargetError: there is no model of texts, or the text cannot be used.
        """
        texts = self._texts
        if texts is None:
            raise TargetError(f"The text {text!r} cannot be compared with. {_NEEDS_MODEL}")
        try:
            embedding = self._kept.get(("text", text), lambda: texts.embedding(text))
            named = f'similarity to "{text}"'
            return Similarity(embedding, named, text=text, text_model=texts.model.path)
        except OnnxplainError as error:
            raise TargetError(f"The text {text!r} cannot be compared with: {error}") from error

    def similarity(self, reference: Picture, kind: ScoreKind) -> Similarity:
        """The similarity to a picture, or to the embedding in a .npy file.

        `kind` matters only for a model that ends in an activation: "logit" reads the answer before
        it, "probability" after it.

        Raises:
            TargetError: the reference cannot be used.
        """
        path = Path(reference) if isinstance(reference, str | Path) else None
        called = "that was given" if path is None else str(reference)
        try:
            if path is None:
                return Similarity(self._of_picture(reference, kind))
            key = path, kind, *_version(path)
            embedding = self._kept.get(key, lambda: self._of_file(str(reference), kind))
            return Similarity(embedding, f"similarity to {path.name}", path)
        except OnnxplainError as error:
            hint = self._hint(path)
            raise TargetError(f"The reference {called} cannot be used: {error}{hint}") from error

    def _text_of(self, name: str) -> str | None:
        """The text that a name means; None if it means a file."""
        is_text = self._texts is not None and not is_there(name) and not _is_like_files(name)
        return in_quotes(name) or (name if is_text else None)

    def _hint(self, path: Path | None) -> str:
        """What else may be meant by the name of a file that cannot be used."""
        if path is None or is_there(path):
            return ""
        if "," in str(path) and _is_like_files(path.name):
            return " For several files give each one its own target."
        if self._texts is not None:
            return f' To compare with a text, write it in quotes: {SIMILAR}"TEXT".'
        return "" if _is_like_files(path.name) else f" {_NEEDS_MODEL}"

    def _of_file(self, file: str, kind: ScoreKind) -> FloatArray:
        if not file.lower().endswith(".npy"):
            return self._of_picture(file, kind)
        saved = np.array(read_npy(Path(file)))
        if saved.dtype.kind not in "fiu":
            raise TargetError(f"it holds values of type {saved.dtype}, not numbers.")
        return saved

    def _of_picture(self, picture: Picture, kind: ScoreKind) -> FloatArray:
        x = self._take(picture).x
        reading = self._reading(kind)
        self._runner.others = self._others.of(x)
        (values,) = self._runner.forward(x, [reading.tensor])
        embedding: FloatArray = reading.real(values)[0]
        return embedding

    def _reading(self, kind: ScoreKind) -> Reading:
        return read(self._score, kind, lambda: None, ())


_NEEDS_MODEL = "To compare with a text, name the model that embeds texts with --text-model FILE."
_OF_FILES = (*SUFFIXES, ARRAY_SUFFIX)


def _is_like_files(name: str) -> bool:
    """Whether a name looks like that of a picture or an array, or like several targets."""
    return name.lower().endswith(_OF_FILES) or SIMILAR in name


def _version(path: Path) -> tuple[Hashable, ...]:
    """What changes if the content of a file changes; empty if there is no such file."""
    if not is_there(path):
        return ()
    found = path.stat()
    return found.st_mtime_ns, found.st_size

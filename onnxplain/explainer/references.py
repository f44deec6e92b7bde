"""The embeddings that targets compare with, computed from the files that users name."""

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
from onnxplain.images.array_files import read_npy
from onnxplain.recent import Recent
from onnxplain.targets import Similarity, TargetSpec
from onnxplain.targets.similarity import with_references
from onnxplain.tensors import FloatArray

_KEPT = 64


class References:
    """Embeddings of one model; those of files are kept until the file changes.

    `take` makes a sample of a picture or an array. `others` has the values of the model's other
    inputs.
    """

    def __init__(
        self,
        runner: Runner,
        score: ScoreTensor,
        take: Callable[[Picture], Taken],
        others: OtherInputs,
    ) -> None:
        """Prepare; nothing is run yet."""
        self._runner = runner
        self._score = score
        self._take = take
        self._others = others
        self._kept: Recent[FloatArray] = Recent(_KEPT)

    def resolved(self, specs: Sequence[TargetSpec], kind: ScoreKind) -> list[TargetSpec]:
        """The targets, with an object in place of each text that names files to compare with.

        Raises:
            TargetError: a file cannot be used.
        """

        def of_file(file: str) -> Similarity:
            return self.similarity(file, kind)

        return [
            (with_references(spec, of_file) or spec) if isinstance(spec, str) else spec
            for spec in specs
        ]

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
            hint = " For several files give each one its own target." if "," in called else ""
            raise TargetError(f"The reference {called} cannot be used: {error}{hint}") from error

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


def _version(path: Path) -> tuple[Hashable, ...]:
    """What changes if the content of a file changes; empty if there is no such file."""
    if not path.is_file():
        return ()
    found = path.stat()
    return found.st_mtime_ns, found.st_size

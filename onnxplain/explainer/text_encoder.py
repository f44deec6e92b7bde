"""A model of texts whose embeddings are in the same space as those of pictures, such as CLIP's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxplain.analysis.text_embedding import text_embedding
from onnxplain.analysis.token_inputs import token_inputs
from onnxplain.errors import ModelError, TextError
from onnxplain.execution.token_arrays import token_arrays
from onnxplain.forks import per_process
from onnxplain.model.load import ModelSource, load
from onnxplain.model.model import Model
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.session import Session
from onnxplain.tensors import FloatArray, TensorSpec
from onnxplain.texts.tokenizer import Tokenizer, find_tokenizer, load_tokenizer
from onnxplain.transforms.extract import ending_in


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Embeds texts.

    Attributes:
        model: the model of texts, with `output` as its only output.
        output: the name of the embedding, float (N, numbers).
        inputs: its inputs, by what they take of a text.
        tokenizer: makes tokens of a text.
        backend: what it runs on.
    """

    model: Model
    output: str
    inputs: Mapping[str, TensorSpec]
    tokenizer: Tokenizer
    backend: Backend

    @classmethod
    def of(
        cls, source: ModelSource, tokenizer: Path | str | None, pictures: Model, backend: Backend
    ) -> TextEncoder:
        """Read a model of texts and its tokenizer.

        By default the tokenizer is searched next to this model, then next to that of `pictures`.

        Raises:
            ModelError: the model cannot be loaded or takes no text, it is not known which output is
                the embedding, or it reads more than a text.
            TextError: the tokenizer cannot be found or read.
        """
        whole = load(source)
        output = text_embedding(whole)
        model = ending_in(whole, [output])
        inputs = token_inputs(model)
        more = [spec.name for spec in model.inputs if spec not in inputs.values()]
        if more:
            raise ModelError(
                f"The embedding {output!r} of the text model reads the input {more[0]!r} too, "
                "which a text does not fill: export the model of texts alone."
            )
        file = find_tokenizer(whole.path, pictures.path) if tokenizer is None else Path(tokenizer)
        return cls(model, output, inputs, load_tokenizer(file), backend)

    def embedding(self, text: str) -> FloatArray:
        """The embedding of a text, as the model gives it, (numbers,).

        Raises:
            TextError: the text is empty, or longer than the tokenizer or the model takes.
            ModelError: the model fails, or does not give one vector.
        """
        tokenized = self.tokenizer.encode(text)
        if tokenized.warning:
            raise TextError(f"{tokenized.warning} Shorten the text.")
        values = token_arrays(self.inputs, [tokenized], self.tokenizer).values
        try:
            (found,) = self._session.run(values, [self.output])
        except ModelError as error:
            count = len(tokenized.tokens)
            raise ModelError(
                f"{error} The text has {count} tokens: if the model takes fewer, shorten it."
            ) from error
        if found.ndim != 2 or len(found) != 1:
            raise ModelError(
                f"The output {self.output!r} of the text model has the shape {found.shape} for one "
                "text, and must have (1, numbers)."
            )
        vector: FloatArray = found[0]
        return vector

    @per_process
    def _session(self) -> Session:
        return Session(self.model, self.backend)

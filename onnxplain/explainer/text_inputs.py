"""What a text fills of a model's inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnxplain.analysis.inputs import is_picture
from onnxplain.analysis.token_inputs import IDS, token_inputs
from onnxplain.errors import OnnxplainError, OptionError, attempted
from onnxplain.execution.token_arrays import token_arrays
from onnxplain.model.model import Model
from onnxplain.tensors import Array, TensorSpec
from onnxplain.texts.tokenizer import Tokenizer, find_tokenizer, load_tokenizer, tokenizer_beside
from onnxplain.texts.tokens import Text


@dataclass(frozen=True, eq=False)
class TextInputs:
    """The inputs that take a text, by what they take of it, and the model's tokenizer.

    `tokenizer` returns it; without one, the model is used without texts. `filled` are the values
    for the texts that are given for all samples, by name; empty if there are none.
    """

    tokenizer: Callable[[], Tokenizer] | None = None
    inputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    filled: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Model,
        tokenizer: Path | str | None,
        text: Text | list[Text] | None,
        explained: str | None,
        given: Collection[str],
    ) -> TextInputs:
        """Read the tokenizer, if it or a text is given, and find the inputs.

        `explained` is the name of the explained input, if it is given; it may be that of the ids.
        `given` are the names of inputs that have a value.

        Raises:
            OnnxplainError: the tokenizer cannot be read, the model takes no text, or the text does
                not fit.
        """
        if tokenizer is None and text is None:
            return cls._found(model, explained, given)
        found = load_tokenizer(find_tokenizer(model.path) if tokenizer is None else Path(tokenizer))
        inputs = token_inputs(model, explained)
        if text is None:
            return cls(lambda: found, inputs)
        texts = text if isinstance(text, list) else [text]
        rows = [found.encode(one) for one in texts]
        return cls(lambda: found, inputs, token_arrays(inputs, rows, found).values)

    @classmethod
    def _found(cls, model: Model, explained: str | None, given: Collection[str]) -> TextInputs:
        """What a model of texts, without a picture, needs to explain them.

        The tokenizer next to the model is read for the first text: arrays of ids need none.
        """
        inputs, path = attempted(token_inputs, model, explained), tokenizer_beside(model.path)
        if path is None or isinstance(inputs, OnnxplainError):
            return cls()
        taken = set(inputs.values())
        ids = inputs[IDS].name
        if any(is_picture(spec) for spec in model.inputs if spec not in taken):
            return cls()
        if ids in given or explained not in (None, ids):
            return cls()
        return cls(functools.partial(load_tokenizer, path), inputs)

    def known(self, model: Model, given: Collection[str]) -> set[str]:
        """Names of the inputs that are not explained: those in `given`, and what a text fills.

        A mask, for example, follows from the text that is explained.

        Raises:
            OptionError: the text leaves no input to explain.
        """
        follow = [spec.name for role, spec in self.inputs.items() if role != IDS]
        known = {*given, *(self.filled or follow)}
        if self.filled and known.issuperset(spec.name for spec in model.inputs):
            raise _no_picture(self.inputs[IDS].name)
        return known

    def filled_besides(self, explained: TensorSpec) -> dict[str, Array]:
        """The values for the texts that are given for all samples.

        Raises:
            OptionError: the explained input itself takes the text.
        """
        if explained.name in self.filled:
            raise _no_picture(explained.name)
        return dict(self.filled)

    def explains(self, explained: TensorSpec) -> bool:
        """Whether the explained input takes the token ids of texts."""
        return self.tokenizer is not None and explained == self.inputs[IDS]

    def explained_by(self, explained: TensorSpec) -> Tokenizer:
        """The tokenizer for the texts of the explained input.

        Raises:
            OptionError: there is none, or the explained input takes no token ids.
        """
        if self.tokenizer is None:
            raise OptionError(
                "To explain a text, name the model's tokenizer: Explainer(model, "
                "tokenizer='tokenizer.json')."
            )
        if explained != self.inputs[IDS]:
            raise OptionError(
                f"The explained input is {explained.name!r}, and a text fills "
                f"{self.inputs[IDS].name!r}: explain that one (--explain {self.inputs[IDS].name}), "
                "with values for the others."
            )
        return self.tokenizer()


def _no_picture(ids: str) -> OptionError:
    return OptionError(
        f"The input {ids!r} takes the text and is explained, so there is no picture to explain: "
        "give the text to Explainer.explain_text; on the command line, leave out the picture, or "
        "give it with --input NAME=FILE."
    )

"""Explain texts: the tokens of a model's input of token ids, at their embedding."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from onnxplain.analysis.score import ScoreTensor
from onnxplain.analysis.token_inputs import Embedding, find_embedding
from onnxplain.autodiff.differentiability import Differentiability, differentiability
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import (
    GradientError,
    MapError,
    ModelError,
    OnnxplainError,
    OptionError,
    TextError,
    attempted,
)
from onnxplain.execution.arrays import is_finite
from onnxplain.execution.runner import Runner
from onnxplain.execution.samples import TokenSamples
from onnxplain.execution.token_arrays import token_arrays
from onnxplain.explainer.answer_facts import AnswerFacts
from onnxplain.explainer.heat import nothing_shown
from onnxplain.explainer.request import Request, Result
from onnxplain.explainer.requests import ExplainedModel
from onnxplain.images.labels import Labels
from onnxplain.methods.base import InputMethod, Method
from onnxplain.methods.options import options_of
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.methods.segments import STAYS
from onnxplain.model.model import Model
from onnxplain.results.data import Provenance
from onnxplain.results.text_explanation import TextExplanation
from onnxplain.targets import TargetSpec
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.texts.tokenizer import Tokenizer
from onnxplain.texts.tokens import Text, TokenizedText
from onnxplain.transforms.embedding_layers import with_plain_embeddings
from onnxplain.transforms.extract import from_tensor

_ABSENT = ("fill", "baseline")
"""Options of methods that say what takes the place of removed parts of the input."""

_DEFAULT = "pad"
_ZEROS = "zeros"

_TRIAL = "a text"
"""What a model is tried with where no text is given; any text does."""


@dataclass(frozen=True, eq=False)
class TokenSample:
    """A text as a sample, (1, length, size), of embeddings.

    `others` are the values of the other inputs, and of the ids. `removable`, bool (length,), says
    which places may be filled with another token: special tokens and padding stay. `place` holds
    the tokens.
    """

    text: TokenizedText
    x: Array
    others: Mapping[str, Array]
    removable: Array
    place: slice


class TextExplainer:
    """Explains texts with one model; what is found out about the model is kept.

    The runner's input is that of the token ids, and `inputs` are all inputs that take a text, by
    what they take of it. `given` are the values of the model's other inputs. `is_vector` says why
    the answer is an embedding of the text and not scores of classes; empty if it is none.
    """

    def __init__(
        self,
        runner: Runner,
        inputs: Mapping[str, TensorSpec],
        given: Mapping[str, Array],
        score: ScoreTensor,
        labels: Callable[[], Labels | None],
        tokenizer: Tokenizer,
        is_vector: Callable[[], str],
    ) -> None:
        self._runner = runner.beside(with_plain_embeddings(runner.model))
        self._spec = runner.spec
        self._inputs = inputs
        self._given = given
        self._score = score
        self._labels = labels
        self.tokenizer = tokenizer
        self._is_vector = is_vector
        self._made: ExplainedModel | None = None

    def explain(
        self,
        text: Text,
        method: str | Method,
        targets: Sequence[TargetSpec],
        options: Mapping[str, Any],
        provenance: Callable[[str], Provenance],
    ) -> list[TextExplanation | MapError]:
        """One explanation for each target, or an error where its values show nothing.

        Raises:
            OnnxplainError: one of its subclasses; the message says what to do.
        """
        sample = self._sample(text)
        model = self._embedded(sample)
        configured, absent = self._configured(method, options, sample)
        asked = Request(sample.x, configured, targets, _read_by(model.model, sample))
        (result,) = model.explain_many([asked])
        if isinstance(result, ModelError):
            self._check_length(sample)
        if isinstance(result, OnnxplainError):
            raise result

        def made(index: int) -> TextExplanation | MapError:
            try:
                values = self._values(configured, result, index, sample)
            except MapError as error:
                return error
            return TextExplanation(
                text=sample.text,
                values=values,
                adds_up=configured.adds_up,
                method=configured.name,
                target=result.targets[index].described,
                score=float(result.scores[index]),
                score_kind=result.kinds[index],
                score_tensor=result.score_tensor,
                embedding=self._embedding.tensor,
                absent=absent,
                parameters={**configured.options(), **absent},
                provenance=provenance(result.batching),
                diagnostics=self._diagnostics(result, index, sample),
            )

        return [made(index) for index in range(len(result.targets))]

    @functools.cached_property
    def differentiability(self) -> Differentiability:
        """Whether the score is differentiable at the embedding, and what prevents it.

        Raises:
            ModelError: there is no embedding.
            GradientError: the model cannot be made ready for gradients at all.
        """
        model = self._runner.model
        return differentiability(model, lower(model), self._score.logit, self._embedding.tensor)

    @functools.cached_property
    def tried(self) -> ExplainedModel:
        """The model after the embedding, to be tried with a short text.

        Raises:
            OnnxplainError: the model takes no text.
        """
        return self._after_embedding(self._sample(_TRIAL))

    @functools.cached_property
    def _embedding(self) -> Embedding:
        return find_embedding(self._runner.model, self._spec.name)

    def _sample(self, text: Text) -> TokenSample:
        tokenized = self.tokenizer.encode(text)
        arrays = token_arrays(self._inputs, [tokenized], self.tokenizer)
        (place,), others = arrays.places, {**arrays.values, **self._given}
        removable = np.zeros(others[self._spec.name].shape[1], bool)
        removable[place] = [not token.special for token in tokenized.tokens]
        x = self._embed(others[self._spec.name], others)
        return TokenSample(tokenized, x, others, removable, place)

    def _embed(self, ids: Array, others: Mapping[str, Array]) -> Array:
        """The embedding of token ids, (1, length, size)."""
        return self._read(self._embedding.tensor, ids, others)

    def _read(self, tensor: str, ids: Array, others: Mapping[str, Array]) -> Array:
        self._runner.others = {k: v for k, v in others.items() if k != self._spec.name}
        (values,) = self._runner.forward(ids, [tensor])
        return values

    def _check_length(self, sample: TokenSample) -> None:
        """Check that a model that failed does not fail because the text is too long.

        A table of positions, for example, ends somewhere. The model is run with texts of one token,
        repeated: so only the length differs.

        Raises:
            TextError: the model takes shorter texts, and not one of this length.
        """
        ids = sample.others[self._spec.name]
        count = ids.shape[1]
        lengths = range(1, count + 1)
        taken = bisect.bisect_left(lengths, True, key=lambda n: not self._takes(sample, n))
        if 0 < taken < count:
            raise TextError(
                f"The text has {count} tokens, and the model takes at most {taken}: shorten the "
                "text."
            )

    def _takes(self, sample: TokenSample, length: int) -> bool:
        """Whether the model runs with a text of that length."""
        texts = {spec.name for spec in self._inputs.values()}
        cut = {k: v[:, :length] if k in texts else v for k, v in sample.others.items()}
        ids = np.full_like(cut[self._spec.name], cut[self._spec.name][0, 0])
        found = attempted(self._read, self._score.logit, ids, cut)
        return not isinstance(found, OnnxplainError)

    def _embedded(self, sample: TokenSample) -> ExplainedModel:
        """The model after the embedding, whose input is the embedding of each token."""
        if self._made is None:
            self._made = self._after_embedding(sample)
        return self._made

    def _after_embedding(self, sample: TokenSample) -> ExplainedModel:
        (batch, length), (*_, size) = self._spec.shape or (None, None), sample.x.shape
        spec = TensorSpec(self._embedding.tensor, sample.x.dtype, (batch, length, size))
        part = from_tensor(self._runner.model, spec)
        self._runner.others = _read_by(part, sample)
        runner = self._runner.from_tensor(part, spec)
        samples = TokenSamples(part, spec, sample.x)
        facts = AnswerFacts(self._labels, self._is_vector)
        return ExplainedModel(runner, samples, self._score, facts)

    def _default_method(self) -> str:
        try:
            complete = self.differentiability.complete
        except GradientError:
            complete = False
        if complete and not self.tried.randomness().is_random:
            return "integrated_gradients"
        return "occlusion"

    def _configured(
        self, method: str | Method, options: Mapping[str, Any], sample: TokenSample
    ) -> tuple[InputMethod, Mapping[str, Mapping[str, Any]]]:
        """The method with its options for a text, and the tokens that take the place of others."""
        plain = make_method(self._default_method() if method == AUTO else method, {})
        own = options_of(type(plain))
        given = {name: getattr(plain, name) for name in own if not _is_default(plain, name)}
        given |= options
        filled = {
            name: self._absent(given.pop(name, _DEFAULT), sample) for name in _ABSENT if name in own
        }
        own_units = {"window": 1, "stride": 1, "segments": _segments(sample.removable)}
        units = {name: value for name, value in own_units.items() if name in own}
        arrays = {name: absent for name, (absent, _) in filled.items()}
        configured = make_method(plain, units | given | arrays)
        if not isinstance(configured, InputMethod) or configured.makes_picture:
            raise OptionError(
                f"{configured.name} has no value for each token of a text: use "
                "integrated_gradients, input_x_gradient, lrp, occlusion or kernelshap."
            )
        return configured, {name: token for name, (_, token) in filled.items()}

    def _absent(self, given: Any, sample: TokenSample) -> tuple[FloatArray, Mapping[str, Any]]:
        """The embedding with every token replaced that may be, and the token that replaces it.

        `given` is the name of a token, its id, "pad", "mask", or "zeros".
        """
        removable = sample.removable
        if given == _ZEROS:
            return np.where(removable[:, None], 0, sample.x), {"token": _ZEROS}
        piece, number = self.tokenizer.token(_token(given))
        ids = np.where(removable, number, sample.others[self._spec.name])
        filled = self._embed(ids.astype(self._spec.dtype), sample.others)
        return filled.astype(np.float32), {"token": piece, "id": number}

    def _values(
        self, method: InputMethod, result: Result, index: int, sample: TokenSample
    ) -> FloatArray:
        """One value for each token, (tokens,).

        Raises:
            MapError: the values are not finite, or all the same.
        """
        maps = result.maps.values[index]
        reduced = method.over_embedding(maps.astype(np.float64), axis=-1)
        values: FloatArray = reduced[sample.place].astype(np.float32)
        named = f"{method.name} for {result.targets[index].described.name}"
        if not is_finite(values):
            raise MapError(f"The values of {named} are not finite.")
        warnings = result.maps.about(index).get("warnings", ())
        nothing = nothing_shown(values, named, warnings)
        if nothing:
            raise MapError(nothing)
        return values

    def _diagnostics(self, result: Result, index: int, sample: TokenSample) -> dict[str, Any]:
        about = result.maps.about(index)
        tables = ", ".join(map(repr, self._embedding.others))
        own = tables and (
            f"The ids also select from {tables}, whose part of the score is not in these values."
        )
        said = [*about.get("warnings", ()), result.warning, sample.text.warning, own]
        warnings = [sentence for sentence in said if sentence]
        return about | {"warnings": warnings} if warnings else about


def _read_by(model: Model, sample: TokenSample) -> dict[str, Array]:
    """The values of the other inputs that a model has."""
    read = {spec.name for spec in model.inputs}
    return {name: value for name, value in sample.others.items() if name in read}


def _is_default(method: Method, name: str) -> bool:
    """Whether an option has its default value."""
    value, (default,) = getattr(method, name), (f.default for f in fields(method) if f.name == name)
    return isinstance(value, type(default)) and bool(value == default)


def _segments(removable: Array) -> Array:
    """One segment for each token that may be removed; the others stay."""
    return np.where(removable, np.cumsum(removable), STAYS)


def _token(given: Any) -> str | int:
    """The name of a token, or its id.

    Raises:
        OptionError: it is neither.
    """
    if isinstance(given, str):
        return int(given) if given.isdecimal() else given
    if isinstance(given, int | float) and given == int(given):
        return int(given)
    raise OptionError(
        f"A removed token is replaced by pad, mask, zeros, a token or its id, not by {given!r}."
    )

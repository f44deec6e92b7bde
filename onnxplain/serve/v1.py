"""The V1 protocol of KServe: `:predict` and `:explain` with a list of instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.results.explanation import Explanation
from onnxplain.serve.calls import Answer, Call, as_object, known, require_count
from onnxplain.serve.encodings import described, encoding
from onnxplain.serve.engine import Engine, Explain, Given, Outcome, Predict
from onnxplain.serve.numbers import numbers, typed
from onnxplain.serve.pictures import picture
from onnxplain.serve.predictor import Outputs, without_batch
from onnxplain.serve.refusals import RefusedError, as_refusal, bad
from onnxplain.serve.settings import Settings
from onnxplain.serve.targets import target
from onnxplain.targets import TargetSpec
from onnxplain.tensors import TensorSpec

_BODY = ("instances", "target", "format", "signature_name")


@dataclass(frozen=True, eq=False)
class _Instance:
    given: Given
    target: TargetSpec


def predict(content: Any, engine: Engine, settings: Settings) -> Call:
    """The call of `:predict`; one instance that cannot be read refuses the request."""
    read = _Reader(content, engine, settings)
    works = [Predict(read.instance(i).given) for i in range(read.count)]

    def answer(outcomes: Sequence[Outcome]) -> Answer:
        found = [known(one, f"Instance {i}: ") for i, one in enumerate(outcomes)]
        return {"predictions": [_prediction(one, engine) for one in found]}

    return Call(works, answer)


def _prediction(outputs: Outputs, engine: Engine) -> Any:
    """The one output of an instance, or several by name, without the batch axis."""
    explainer = engine.explainer
    own = without_batch(explainer.whole_model, explainer.input, outputs)
    return next(iter(own.values())) if len(own) == 1 else own


def explain(content: Any, engine: Engine, settings: Settings) -> Call:
    """The call of `:explain`; an instance that cannot be explained has an error in the answer.

    If no instance can be explained, the request is refused.
    """
    read = _Reader(content, engine, settings)
    form = encoding(read.body.get("format", "lists"))
    instances = [read.attempted(i) for i in range(read.count)]
    works = [
        Explain(one.given, one.target) for one in instances if not isinstance(one, RefusedError)
    ]
    if not works:
        raise _first_of(instances)

    def answer(outcomes: Sequence[Outcome]) -> Answer:
        rest = iter(outcomes)
        found = [
            one if isinstance(one, RefusedError) else _entry(next(rest), form) for one in instances
        ]
        if all(isinstance(one, RefusedError) for one in found):
            raise _first_of(found)
        explanations = [
            {"instance": i, **({"error": str(one)} if isinstance(one, RefusedError) else one)}
            for i, one in enumerate(found)
        ]
        return {"method": engine.method.name, "explanations": explanations}

    return Call(works, answer)


def _entry(outcome: Outcome, form: str) -> dict[str, Any] | RefusedError:
    if isinstance(outcome, OnnxplainError):
        refusal = as_refusal(outcome)
        if refusal.status >= 500:
            raise refusal
        return refusal
    assert isinstance(outcome, Explanation)
    try:
        return described(outcome, form)
    except RefusedError as refusal:
        return refusal


def _first_of(found: Sequence[Any]) -> RefusedError:
    """The refusal of a request all of whose instances are refused."""
    return bad(f"Instance 0: {found[0]}" if len(found) > 1 else str(found[0]))


class _Reader:
    """Reads the instances of a request."""

    def __init__(self, content: Any, engine: Engine, settings: Settings) -> None:
        self.body = as_object(content, _BODY)
        given = self.body.get("instances")
        if not isinstance(given, list):
            raise bad('The body has no list "instances".')
        self._instances, self.count = given, len(given)
        require_count(self.count, settings)
        self._spec = engine.explainer.input
        self._target = target(self.body["target"]) if "target" in self.body else engine.target

    def instance(self, place: int) -> _Instance:
        """One instance: lists of numbers, or an object with "b64" or the name of the input.

        Raises:
            RefusedError: it cannot be read.
        """
        try:
            return self._read(self._instances[place])
        except RefusedError as refusal:
            raise bad(f"Instance {place}: {refusal}") from None

    def attempted(self, place: int) -> _Instance | RefusedError:
        """As `instance`, but the refusal is returned, and does not say which instance it is of."""
        try:
            return self._read(self._instances[place])
        except RefusedError as refusal:
            return refusal

    def _read(self, one: Any) -> _Instance:
        if not isinstance(one, dict):
            return _Instance(_tensor(one, self._spec), self._target)
        own = as_object(one, ("b64", self._spec.name, "target"), "It")
        named = target(own["target"]) if "target" in own else self._target
        match [own[name] for name in ("b64", self._spec.name) if name in own]:
            # TensorFlow Serving writes {"input": {"b64": "..."}}.
            case [dict() as inner]:
                file = as_object(inner, ("b64",), "It").get("b64")
                return _Instance(picture(file), named)
            case [value]:
                given = picture(value) if "b64" in own else _tensor(value, self._spec)
                return _Instance(given, named)
        raise bad(f'It must hold either "b64" or {self._spec.name!r}.')


def _tensor(data: Any, spec: TensorSpec) -> Given:
    """A tensor in the form of the model's input, (1, ...), from one with or without batch axis."""
    if isinstance(data, str | bool) or data is None:
        raise bad(
            'It is neither a tensor in lists nor an object such as {"b64": "..."} with a picture.'
        )
    what = f"The input {spec.name!r}"
    array = typed(numbers(data, what), spec.dtype, what)
    rank = array.ndim + 1 if spec.shape is None else len(spec.shape)
    array = array[None] if array.ndim == rank - 1 else array
    if array.ndim != rank or len(array) != 1:
        raise bad(
            f"{what} takes {spec.sizes}, one instance with or without its first axis, and the "
            f"instance has the shape {array.shape}."
        )
    return array

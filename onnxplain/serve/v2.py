"""The Open Inference Protocol, version 2: tensors by name, with their shapes and types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from onnxplain.errors import OnnxplainError, attempted
from onnxplain.execution.arrays import require_fit
from onnxplain.results.explanation import Explanation
from onnxplain.serve.calls import Answer, Call, as_object, known, require_count
from onnxplain.serve.engine import Engine, Explain, Infer, Outcome
from onnxplain.serve.numbers import datatype, numbers, typed
from onnxplain.serve.predictor import tensor_outputs
from onnxplain.serve.refusals import as_refusal, bad, shown
from onnxplain.serve.settings import Settings
from onnxplain.serve.targets import target
from onnxplain.targets import TargetSpec
from onnxplain.tensors import Array, TensorSpec

EXTENSION = "onnxplain_explain"
TARGET = "target"
_TARGET_SPEC = TensorSpec(TARGET, np.dtype(np.int64), (None,))

_EXPLAINED: Mapping[str, Callable[[Explanation], Array]] = {
    "values": lambda found: found.values,
    "heatmap": lambda found: found.heatmap,
    "explained": lambda found: np.asarray(_class_of(found), np.int64),
}
"""The outputs that explain: those of one sample, without the batch axis."""

_MOST_AXES = 16
_BODY = ("id", "parameters", "inputs", "outputs")
_INPUT = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT = ("name", "parameters")


def metadata(engine: Engine, settings: Settings) -> Answer:
    """The description of the model, with the inputs and outputs that explain as an extension."""
    model = engine.explainer.whole_model
    return {
        "name": settings.name,
        "platform": "onnxruntime_onnx",
        "inputs": [_described(spec) for spec in model.inputs],
        "outputs": [_described(spec) for spec in tensor_outputs(model)],
        EXTENSION: {
            "method": engine.method.name,
            "inputs": [_described(_TARGET_SPEC)],
            "outputs": list(_EXPLAINED),
        },
    }


def _described(spec: TensorSpec) -> dict[str, Any]:
    sizes = [size if isinstance(size, int) else -1 for size in spec.shape or ()]
    return {"name": spec.name, "datatype": datatype(spec.dtype), "shape": sizes}


def infer(content: Any, engine: Engine, settings: Settings) -> Call:
    """The call of `infer`: the model's own outputs, and those that explain where a target is named.

    A request may name the outputs that it wants.
    """
    request = _Request(content, engine, settings)
    explains = TARGET in request.inputs or request.text_target is not None
    own = tensor_outputs(engine.explainer.whole_model)
    default = [*(spec.name for spec in own), *(_EXPLAINED if explains else ())]
    return request.call(default)


def explain(content: Any, engine: Engine, settings: Settings) -> Call:
    """The call of `explain`: the outputs that explain, or those that the request names."""
    return _Request(content, engine, settings).call(list(_EXPLAINED))


class _Request:
    """A request of the protocol, read and checked."""

    def __init__(self, content: Any, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._body = as_object(content, _BODY)
        self._id = self._body.get("id")
        if not isinstance(self._id, str | None):
            raise bad('The "id" is no text.')
        parameters = _parameters(self._body)
        self.text_target = target(parameters[TARGET]) if TARGET in parameters else None
        model = engine.explainer.whole_model
        specs = {spec.name: spec for spec in model.inputs}
        specs.setdefault(TARGET, _TARGET_SPEC)
        self.inputs = _tensors(self._body, specs)
        self._spec = engine.explainer.input
        if self._spec.name not in self.inputs:
            raise bad(f"The request has no input {self._spec.name!r}.")
        self._x = self.inputs[self._spec.name]
        unfit = attempted(require_fit, self._spec, self._x)
        if isinstance(unfit, OnnxplainError):
            raise as_refusal(unfit)
        require_count(len(self._x), settings)

    def call(self, default: Sequence[str]) -> Call:
        """The work for the outputs that the request names, or else for the `default` ones."""
        wanted = self._wanted(default)
        explained = [name for name in wanted if name in self._own_names]
        explains = self._explains() if explained else []
        infers = [self._infers()] if len(explained) < len(wanted) else []

        def answer(outcomes: Sequence[Outcome]) -> Answer:
            found = self._stacked(explained, outcomes[: len(explains)])
            for outputs in outcomes[len(explains) :]:
                found |= known(outputs)
            return {
                "model_name": self._settings.name,
                **({} if self._id is None else {"id": self._id}),
                "outputs": [_tensor(name, found[name]) for name in wanted],
            }

        return Call([*explains, *infers], answer)

    @property
    def _own_names(self) -> set[str]:
        """Names of outputs that explain, where the model itself has none of the name."""
        own = tensor_outputs(self._engine.explainer.whole_model)
        return set(_EXPLAINED) - {spec.name for spec in own}

    def _wanted(self, default: Sequence[str]) -> list[str]:
        named = self._body.get("outputs")
        if named is None or named == []:
            return list(dict.fromkeys(default))
        if not isinstance(named, list):
            raise bad('The "outputs" are no list.')
        outputs = [as_object(one, _OUTPUT, "An output") for one in named]
        for one in outputs:
            _parameters(one)
        names = [str(one.get("name")) for one in outputs]
        model = self._engine.explainer.whole_model
        known_names = [*(spec.name for spec in tensor_outputs(model)), *_EXPLAINED]
        for name in names:
            if name not in known_names:
                raise bad(f"There is no output {shown(name)}: there are {', '.join(known_names)}.")
        return list(dict.fromkeys(names))

    @property
    def _others(self) -> dict[str, Array]:
        """The values of inputs that are not explained."""
        own = (TARGET, self._spec.name)
        return {name: value for name, value in self.inputs.items() if name not in own}

    def _infers(self) -> Infer:
        return Infer(self._x, self._others)

    def _explains(self) -> list[Explain]:
        if self._others:
            raise bad(
                f"The value of {next(iter(self._others))!r} cannot be sent with a request that "
                "explains: give it with --input when the server is started."
            )
        samples = [self._x[i : i + 1] for i in range(len(self._x))]
        return [Explain(x, to) for x, to in zip(samples, self._targets(), strict=True)]

    def _targets(self) -> list[TargetSpec]:
        count = len(self._x)
        named = self.inputs.get(TARGET)
        if named is None:
            text = self.text_target
            return [self._engine.target if text is None else text] * count
        if named.shape not in ((1,), (count,)):
            raise bad(f"The input 'target' has the shape {named.shape}, not ({count},) or (1,).")
        if named.min() < -1:
            raise bad("A value of 'target' is a class from 0, or -1 for the top class.")
        classes = np.broadcast_to(named, (count,)).tolist()
        return ["top1" if one == -1 else one for one in classes]

    def _stacked(self, names: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, Array]:
        maps = [known(one, f"Sample {i}: ") for i, one in enumerate(outcomes)]
        return {name: np.stack([_EXPLAINED[name](one) for one in maps]) for name in names}


def _class_of(found: Explanation) -> int:
    """The index of the explained class; -1 where it is no class."""
    return -1 if found.target.index is None else found.target.index


def _parameters(of: Mapping[str, Any]) -> Mapping[str, Any]:
    given = of.get("parameters", {})
    if not isinstance(given, dict):
        raise bad('The "parameters" are no JSON object.')
    if "binary_data_size" in given:
        raise bad("This server does not have the extension for binary data: send JSON.")
    return given


def _tensors(body: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    given = body.get("inputs")
    if not isinstance(given, list):
        raise bad('The body has no list "inputs".')
    found: dict[str, Array] = {}
    for one in given:
        own = as_object(one, _INPUT, "An input")
        name = own.get("name")
        if not isinstance(name, str) or name not in specs:
            raise bad(f"There is no input {shown(name)}: there are {', '.join(specs)}.")
        if name in found:
            raise bad(f"The input {name!r} is there twice.")
        _parameters(own)
        found[name] = _array(own, specs[name])
    return found


def _array(own: Mapping[str, Any], spec: TensorSpec) -> Array:
    """The tensor of an input; its data may be in one list, or in nested ones."""
    what = f"The input {spec.name!r}"
    called = datatype(spec.dtype)
    if own.get("datatype") != called:
        raise bad(f"{what} has the datatype {shown(own.get('datatype'))}, and must be {called}.")
    shape = own.get("shape")
    if not isinstance(shape, list) or len(shape) > _MOST_AXES or not all(map(_is_size, shape)):
        raise bad(f"{what} has no shape that is a list of sizes from 1.")
    if "data" not in own:
        raise bad(f"{what} has no data.")
    array = numbers(own["data"], what)
    if array.size != math.prod(shape):
        raise bad(f"{what} has {array.size} numbers, and its shape {shape} has another number.")
    return typed(array, spec.dtype, what).reshape(shape)


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 0 < size < 2**31


def _tensor(name: str, values: Array) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype(values.dtype),
        "shape": list(values.shape),
        "data": values.ravel(),
    }

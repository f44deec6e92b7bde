"""The score tensor: the one before a final Softmax, LogSoftmax or Sigmoid.

The activation may be one operator, or several elementary ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from onnxplain.errors import ModelError
from onnxplain.model.constants import constant_value, quantization
from onnxplain.model.model import Model
from onnxplain.model.operators import KEEPS_ORDER, KEEPS_VALUES, standard_form
from onnxplain.model.quantization import Quantization
from onnxplain.suggestions import closest
from onnxplain.tensors import TensorSpec

Kind = Literal["softmax", "logsoftmax", "sigmoid"]
Activation = Kind | Literal["none"]

ScoreKind = Literal["logit", "probability"]
"""The score that is explained: before the last activation, or after it."""

_TRANSPARENT = KEEPS_VALUES | KEEPS_ORDER
"""Operators that may come between the activation and the output: they keep each score."""

Pattern = str | int | tuple[str, "Pattern"] | tuple[str, "Pattern", "Pattern"]
"""The logits "z", a constant, or an operator and the patterns of its first inputs."""

_OPERATORS: dict[str, Kind] = {
    "Softmax": "softmax",
    "LogSoftmax": "logsoftmax",
    "Sigmoid": "sigmoid",
}

_CONVERTED: dict[tuple[str, Kind], Kind] = {
    ("Log", "softmax"): "logsoftmax",
    ("Exp", "logsoftmax"): "softmax",
}
"""The activation that results from an operator applied after another activation."""

_EXP: Pattern = ("Exp", "z")
_WRITTEN_OUT: tuple[tuple[Kind, Pattern], ...] = (
    ("softmax", ("Div", _EXP, ("ReduceSum", _EXP))),
    ("softmax", ("Mul", _EXP, ("Reciprocal", ("ReduceSum", _EXP)))),
    ("logsoftmax", ("Sub", "z", ("ReduceLogSumExp", "z"))),
    ("logsoftmax", ("Sub", "z", ("Log", ("ReduceSum", _EXP)))),
    ("sigmoid", ("Div", _EXP, ("Add", _EXP, 1))),
    ("sigmoid", ("Div", 1, ("Add", ("Exp", ("Neg", "z")), 1))),
    ("sigmoid", ("Div", 1, ("Add", ("Exp", ("Mul", "z", -1)), 1))),
    ("sigmoid", ("Reciprocal", ("Add", ("Exp", ("Neg", "z")), 1))),
    ("sigmoid", ("Reciprocal", ("Add", ("Exp", ("Mul", "z", -1)), 1))),
)


@dataclass(frozen=True)
class ScoreTensor:
    """The model's scores, before and after its last activation.

    `probability` is one of the model's outputs. `logit` is the tensor before the activation, or
    the same tensor where the model ends in logits (`activation` is then "none"). `quantization` is
    the scale and zero point of `logit`; it is None where `logit` holds floats. `is_logit` is false
    where `logit` may hold votes, shares or probabilities, as the answer of trees does.
    """

    probability: str
    logit: str
    activation: Activation
    quantization: Quantization | None = None
    is_logit: bool = True


def find_score(model: Model, output: str | None = None) -> ScoreTensor:
    """Find the score tensor of `output`, or of the output that holds scores.

    That is the first float output called logits, scores or probabilities, or else the first one.

    Raises:
        ModelError: the model has no such output, or no float output at all.
    """
    name = output if output is not None else _output_of_scores(model)
    if name not in model.index.outputs:
        raise ModelError(f"The model has no output {name!r}{closest(name, model.index.outputs)}.")
    kinds = {value.name: value.type.WhichOneof("value") for value in model.proto.graph.output}
    if kinds[name] not in (None, "tensor_type"):
        raise ModelError(
            f"The output {name!r} is no tensor: name an output or an inner tensor with --output."
        )
    return score_of(model, name)


def score_of(model: Model, name: str) -> ScoreTensor:
    """The scores in the tensor `name`, before and after its last activation."""
    tensor = name
    while (node := model.index.producer(tensor)) is not None:
        if (found := _last_activation(model, tensor)) is not None:
            kind, logit = found
            return ScoreTensor(name, logit, kind, quantization(model, logit))
        if node.domain == _CLASSIC:
            return ScoreTensor(name, name, "none", is_logit=False)
        if node.op_type not in _TRANSPARENT:
            break
        tensor = node.input[0]
    return ScoreTensor(name, name, "none")


_CLASSIC = "ai.onnx.ml"
"""The domain of trees, support vector machines and linear classifiers of scikit-learn and others.

Their answers may be votes, shares or probabilities.
"""


def before_decision(model: Model) -> str | None:
    """The scores that no output holds, if no output is a float tensor: what a last node reads.

    It is a ZipMap, by which classifiers of scikit-learn end in a dictionary, or the ArgMax that
    makes the first output. None if there is a float output, or no such node.
    """
    if any(map(_is_float, model.outputs)) or not model.outputs:
        return None
    for spec in model.outputs:
        node = model.index.producer(spec.name)
        if node is not None and node.op_type == "ZipMap":
            return str(node.input[0])
    node = model.index.producer(model.outputs[0].name)
    while node is not None and node.op_type in _KEEPS_DECISION:
        node = model.index.producer(node.input[0])
    return node.input[0] if node is not None and node.op_type == "ArgMax" else None


_KEEPS_DECISION = KEEPS_VALUES | KEEPS_ORDER | {"Cast"}


_NAMED_SCORES = re.compile(r"(?<![a-z])(logits?|scores?|prob(s|ability|abilities)?)(?![a-z])", re.I)


def is_named_like_scores(tensor: str) -> bool:
    """Whether the name of a tensor says that it holds logits, scores or probabilities."""
    return _NAMED_SCORES.search(tensor) is not None


def _is_float(spec: TensorSpec) -> bool:
    return spec.dtype.kind == "f" or spec.dtype.name == "bfloat16"


def _output_of_scores(model: Model) -> str:
    """The first float output whose name says that it holds scores, else the first one at all."""
    floats = [spec.name for spec in model.outputs if _is_float(spec)]
    named = next(filter(is_named_like_scores, floats), None)
    if named is not None:
        return named
    if floats:
        return floats[0]
    listed = ", ".join(f"{spec.name} ({spec.dtype})" for spec in model.outputs)
    raise ModelError(
        f"None of the model's outputs is a float tensor ({listed}): there is no score to explain; "
        "use a version of the model that ends in scores rather than in a decision."
    )


def _last_activation(model: Model, tensor: str) -> tuple[Kind, str] | None:
    """The activation that computes `tensor`, and the logits that it reads; None without one."""
    node = model.index.producer(tensor)
    if node is None:
        return None
    kind = _OPERATORS.get(standard_form(node.op_type))
    if kind is not None:
        return kind, node.input[0]
    for kind, pattern in _WRITTEN_OUT:
        logit = _logit(model, tensor, pattern)
        if logit is not None:
            return kind, logit if kind == "sigmoid" else _unshifted(model, logit)
    if node.op_type not in ("Log", "Exp"):
        return None
    inner = _last_activation(model, node.input[0])
    kind = None if inner is None else _CONVERTED.get((node.op_type, inner[0]))
    return None if inner is None or kind is None else (kind, inner[1])


def _unshifted(model: Model, tensor: str) -> str:
    """If `tensor` is z − max(z), which prevents overflow, z; else `tensor`."""
    return _logit(model, tensor, ("Sub", "z", ("ReduceMax", "z"))) or tensor


def _logit(model: Model, tensor: str, pattern: Pattern) -> str | None:
    """The tensor that matches "z" if `tensor` matches the pattern, else None."""
    return next(iter(_matched(model, tensor, pattern) or ()), None)


def _matched(model: Model, tensor: str, pattern: Pattern) -> set[str] | None:
    """The tensors that match "z", empty for a pattern without "z"; None where nothing matches."""
    if isinstance(pattern, str):
        return {tensor}
    if isinstance(pattern, int):
        value = constant_value(model, tensor)
        return set() if value is not None and (value == pattern).all() else None
    node = model.index.producer(tensor)
    op, *parts = pattern
    if node is None or node.op_type != op:
        return None
    for inputs in (node.input, node.input[::-1]) if op in ("Add", "Mul") else (node.input,):
        found = [_matched(model, *pair) for pair in zip(inputs, parts, strict=False)]
        logits = set[str]().union(*(names or () for names in found))
        if None not in found and len(logits) == 1:
            return logits
    return None

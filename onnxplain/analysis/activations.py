"""Last activations of classifiers, as one operator or written out in elementary ones."""

from __future__ import annotations

from typing import Literal, NamedTuple

from onnxplain.model.constants import constant_value
from onnxplain.model.model import Model
from onnxplain.model.operators import standard_form

Kind = Literal["softmax", "logsoftmax", "sigmoid"]


class Activated(NamedTuple):
    """A tensor of logits and what is made of it."""

    kind: Kind
    logit: str


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
"""What an operator makes of the scores of an activation."""

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


def last_activation(model: Model, tensor: str) -> Activated | None:
    """What made a tensor, where that is an activation that turns logits into scores."""
    node = model.index.producer(tensor)
    if node is None:
        return None
    kind = _OPERATORS.get(standard_form(node.op_type))
    if kind is not None:
        return Activated(kind, node.input[0])
    for kind, pattern in _WRITTEN_OUT:
        logit = _logit(model, tensor, pattern)
        if logit is not None:
            return Activated(kind, logit if kind == "sigmoid" else _unshifted(model, logit))
    inner = last_activation(model, node.input[0]) if node.op_type in ("Log", "Exp") else None
    kind = None if inner is None else _CONVERTED.get((node.op_type, inner.kind))
    return None if inner is None or kind is None else Activated(kind, inner.logit)


def _unshifted(model: Model, tensor: str) -> str:
    """Of z − max(z), which keeps exponentials in range, z; any other tensor as it is."""
    return _logit(model, tensor, ("Sub", "z", ("ReduceMax", "z"))) or tensor


def _logit(model: Model, tensor: str, pattern: Pattern) -> str | None:
    """The tensor that is "z" in a pattern; None where a tensor was made in another way."""
    return next(iter(_matched(model, tensor, pattern) or ()), None)


def _matched(model: Model, tensor: str, pattern: Pattern) -> set[str] | None:
    """What stands for "z", empty where a pattern holds none; None where it does not match."""
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

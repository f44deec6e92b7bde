"""Last activations of classifiers, as one operator or written out in elementary ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from onnx import NodeProto

from onnxplain.model.constants import constant_value
from onnxplain.model.model import Model
from onnxplain.model.operators import standard_form

Kind = Literal["softmax", "logsoftmax", "sigmoid"]


class Activated(NamedTuple):
    """A tensor of logits and what is made of it."""

    kind: Kind
    logit: str


def last_activation(model: Model, tensor: str) -> Activated | None:
    """What made a tensor, where that is an activation that turns logits into scores."""
    node = model.index.producer(tensor)
    if node is None:
        return None
    kind = _OPERATORS.get(standard_form(node.op_type))
    if kind is not None:
        return Activated(kind, node.input[0])
    recognise = _WRITTEN_OUT.get(node.op_type)
    return None if recognise is None else recognise(model, node)


_OPERATORS: dict[str, Kind] = {
    "Softmax": "softmax",
    "LogSoftmax": "logsoftmax",
    "Sigmoid": "sigmoid",
}


def _quotient(model: Model, node: NodeProto) -> Activated | None:
    """A softmax, exp(z) / Σ exp(z), or a sigmoid, 1 / (1 + exp(−z)) or exp(z) / (1 + exp(z))."""
    above, below = node.input
    if _is(model, above, 1):
        return _reciprocal(model, below)
    logit = _inside(model, above, "Exp")
    if logit is not None and _added_to_one(model, below) == above:
        return Activated("sigmoid", logit)
    return _share(model, above, below)


def _product(model: Model, node: NodeProto) -> Activated | None:
    """A softmax, exp(z) · (1 / Σ exp(z))."""
    for above, inverse in (tuple(node.input), tuple(node.input)[::-1]):
        below = _inside(model, inverse, "Reciprocal")
        if below is not None:
            return _share(model, above, below)
    return None


def _share(model: Model, above: str, below: str) -> Activated | None:
    """A softmax, from exp(z) and Σ exp(z)."""
    exponentials = _inside(model, above, "Exp")
    if exponentials is None or _inside(model, below, "ReduceSum") != above:
        return None
    return Activated("softmax", _unshifted(model, exponentials))


def _difference(model: Model, node: NodeProto) -> Activated | None:
    """A logit less the norm: z − log Σ exp(z)."""
    shifted, norm = node.input
    total = _inside(model, norm, "ReduceLogSumExp")
    if total is None:
        total = _inside(model, _inside(model, _inside(model, norm, "Log"), "ReduceSum"), "Exp")
    return Activated("logsoftmax", _unshifted(model, shifted)) if total == shifted else None


def _logarithm(model: Model, node: NodeProto) -> Activated | None:
    """The logarithm of a softmax."""
    found = last_activation(model, node.input[0])
    if found is None or found.kind != "softmax":
        return None
    return Activated("logsoftmax", found.logit)


def _exponential(model: Model, node: NodeProto) -> Activated | None:
    """The exponential of a log-softmax."""
    found = last_activation(model, node.input[0])
    if found is None or found.kind != "logsoftmax":
        return None
    return Activated("softmax", found.logit)


def _reciprocal(model: Model, below: str) -> Activated | None:
    """A sigmoid, 1 / (1 + exp(−z)), from what is below the 1."""
    logit = _negated(model, _inside(model, _added_to_one(model, below), "Exp"))
    return None if logit is None else Activated("sigmoid", logit)


def _added_to_one(model: Model, tensor: str) -> str | None:
    """What a tensor is one more than."""
    node = model.index.producer(tensor)
    if node is None or node.op_type != "Add":
        return None
    others = [name for name in node.input if not _is(model, name, 1)]
    return others[0] if len(others) == 1 else None


def _negated(model: Model, tensor: str | None) -> str | None:
    """What a tensor is the negative of."""
    node = None if tensor is None else model.index.producer(tensor)
    if node is None or node.op_type != "Mul":
        return _inside(model, tensor, "Neg")
    others = [name for name in node.input if not _is(model, name, -1)]
    return others[0] if len(others) == 1 else None


_WRITTEN_OUT: dict[str, Callable[[Model, NodeProto], Activated | None]] = {
    "Div": _quotient,
    "Mul": _product,
    "Sub": _difference,
    "Log": _logarithm,
    "Exp": _exponential,
    "Reciprocal": lambda model, node: _reciprocal(model, node.input[0]),
}


def _inside(model: Model, tensor: str | None, operator: str) -> str | None:
    """What an operator was applied to that made a tensor; None where another one made it."""
    node = None if tensor is None else model.index.producer(tensor)
    return node.input[0] if node is not None and node.op_type == operator else None


def _unshifted(model: Model, tensor: str) -> str:
    """Of z − max(z), which keeps exponentials in range, z; any other tensor as it is."""
    node = model.index.producer(tensor)
    if node is None or node.op_type != "Sub":
        return tensor
    z, largest = map(str, node.input)
    return z if _inside(model, largest, "ReduceMax") == z else tensor


def _is(model: Model, tensor: str, number: int) -> bool:
    value = constant_value(model, tensor)
    return value is not None and bool((value == number).all())

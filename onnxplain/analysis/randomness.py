"""Nodes that keep a model from giving one answer for one sample: those that draw random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, numpy_helper

from onnxplain.model.constants import constant_value
from onnxplain.model.graph_index import attributes, reads_sizes, subgraphs
from onnxplain.model.model import Model
from onnxplain.model.operators import DETERMINISTIC_DOMAINS, RANDOM, key_of
from onnxplain.tensors import Array
from onnxplain.visible import visible

_SHOWN = 3
_LONGEST_NAME, _LONGEST_OP = 40, 20

Value = Callable[[str], Array | None]
"""The value of a tensor if it is constant, else None."""

Kind = Literal["certain", "possible", "of_batch"]


class NamedNode(NamedTuple):
    """A node by its name, or if it has none, its first output; and its operator."""

    node: str
    op: str


@dataclass(frozen=True)
class DrawingNodes:
    """The nodes of a part of a model that may make its answers differ.

    Attributes:
        certain: they draw random numbers in each run. ONNX Runtime leaves out a Dropout in training
            mode in some graphs, but not in others that hold the same node.
        possible: they may draw; whether they do is known only in a run, because a training mode or
            the branch of an If is computed, or because the operator is not known.
        of_batch: they normalize by the statistics of the batch, as in training. ONNX Runtime may
            also update the stored statistics, so that a second run differs.
    """

    certain: Sequence[NamedNode] = ()
    possible: Sequence[NamedNode] = ()
    of_batch: Sequence[NamedNode] = ()


def drawing_nodes(model: Model, tensors: Iterable[str]) -> DrawingNodes:
    """The nodes, also in subgraphs, that may make two answers for one sample differ.

    Only those count whose values the `tensors` depend on.
    """
    index = model.index
    nodes = [index.nodes[i] for i in sorted(index.ancestors(tensors, without=reads_sizes))]
    found: dict[Kind, list[NamedNode]] = {"certain": [], "possible": [], "of_batch": []}
    for node, kind in _kinds(nodes, lambda name: constant_value(model, name)):
        found[kind].append(named(node))
    return DrawingNodes(**found)


def named(node: NodeProto) -> NamedNode:
    """What a node is called."""
    return NamedNode(node.name or next(filter(None, node.output), ""), node.op_type)


def listed(nodes: Sequence[NamedNode]) -> str:
    """The first nodes with their operators, and how many more there are; long names are cut."""
    shown = [
        f"'{_cut(node, _LONGEST_NAME)}' ({_cut(op, _LONGEST_OP)})" for node, op in nodes[:_SHOWN]
    ]
    more = len(nodes) - _SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _cut(name: str, longest: int) -> str:
    shown, half = visible(name), longest // 2
    return shown if len(shown) <= longest else f"{shown[:half]}...{shown[-half:]}"


def _kinds(nodes: Iterable[NodeProto], value: Value) -> Iterator[tuple[NodeProto, Kind]]:
    for node in nodes:
        kind = _kind(node, value)
        if kind is not None:
            yield node, kind
        for body, taken in _bodies(node, value):
            for inner, found in _kinds(body.node, _in_body(body, value)):
                yield inner, found if taken or found == "of_batch" else "possible"


def _kind(node: NodeProto, value: Value) -> Kind | None:
    domain, op = key_of(node)
    if domain:
        return None if domain in DETERMINISTIC_DOMAINS else "possible"
    if op == "BatchNormalization":
        return "of_batch" if attributes(node).get("training_mode", 0) else None
    if op == "Dropout":
        return _dropout(node, value)
    return "certain" if op in RANDOM else None


def _dropout(node: NodeProto, value: Value) -> Kind | None:
    """Whether a Dropout draws; without the input of a training mode it is in inference."""
    ratio, training = [*node.input, "", ""][1:3]
    share, mode = (value(name) if name else None for name in (ratio, training))
    if not training or (mode is not None and not mode.any()):
        return None
    if share is not None and not share.any():
        return None
    return "possible" if mode is None else "certain"


def _bodies(node: NodeProto, value: Value) -> Iterator[tuple[GraphProto, bool]]:
    """The subgraphs of a node that may run, and whether each is known to run."""
    if key_of(node) != ("", "If"):
        yield from ((body, True) for body in subgraphs(node))
        return
    condition = value(node.input[0])
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH and (
            condition is None or bool(condition.any()) == (attribute.name == "then_branch")
        ):
            yield attribute.g, condition is not None


def _in_body(body: GraphProto, outer: Value) -> Value:
    """Values of a subgraph's own constants, and of those around it."""
    own = {tensor.name: tensor for tensor in body.initializer} | {
        node.output[0]: attribute.t
        for node in body.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }

    def value(name: str) -> Array | None:
        if name not in own:
            return outer(name)
        external = own[name].data_location == TensorProto.EXTERNAL
        return None if external else numpy_helper.to_array(own[name])

    return value

"""Move the nodes that depend on some tensors into the body of a Loop, with their weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from onnxplain.model.graph_index import GraphIndex, reads, subgraphs
from onnxplain.model.model import Model


@dataclass(frozen=True)
class Nodes:
    """Nodes in their order, and the weights that only they read."""

    nodes: Sequence[NodeProto]
    weights: Sequence[TensorProto]


def divided(
    model: Model, sources: Sequence[str], wanted: Sequence[str], names: Mapping[str, str]
) -> tuple[Nodes, Nodes]:
    """The nodes that compute `wanted`: those before a Loop, and those of its body.

    The body has the nodes that depend on `sources`. It also has its weights, because ONNX Runtime
    chooses the fastest layout only for weights of the same graph, and nodes that compute only its
    weights. `names` are new names of tensors in the body. No weight is in both.
    """
    index = model.index
    needed = index.ancestors(wanted)
    body = needed & index.descendants(sources)
    for place in sorted(needed - body, reverse=True):
        if _only_for(index, place, needed, body, wanted):
            body.add(place)
    before = [index.nodes[i] for i in sorted(needed - body)]
    inside = [index.nodes[i] for i in sorted(body)]
    outer = {name for node in before for name in reads(node)}.union(wanted)
    inner = {name for node in inside for name in reads(node)} - outer
    weights = model.proto.graph.initializer
    return (
        Nodes(before, [one for one in weights if one.name in outer]),
        Nodes(
            [in_body(node, names) for node in inside],
            [one for one in weights if one.name in inner],
        ),
    )


def in_body(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    """A copy of a node with its tensors renamed by `names`, in its subgraphs too."""
    copy = deepcopy(node)
    _rename(copy, names)
    return copy


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    for tensors in (node.input, node.output):
        tensors[:] = [names.get(name, name) for name in tensors]
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename(inner, names)
        for output in graph.output:
            output.name = names.get(output.name, output.name)


def _only_for(
    index: GraphIndex,
    place: int,
    needed: Collection[int],
    body: Collection[int],
    wanted: Collection[str],
) -> bool:
    """Whether a node depends on no input, and only nodes of the body read its results."""
    outputs = [name for name in index.nodes[place].output if name]
    if index.computed.intersection(outputs) or set(outputs) & set(wanted):
        return False
    readers = {reader for name in outputs for reader in index.readers.get(name, ())}
    return (readers & set(needed)) <= set(body)

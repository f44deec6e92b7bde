"""Whether values of a batch decide together which nodes of a model run."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto, NodeProto

from onnxplain.model.graph_index import reads, reads_sizes, subgraphs
from onnxplain.model.operators import key_of

_IF, _LOOP = ("", "If"), ("", "Loop")
_CONDITIONS = {_IF: 1, _LOOP: 2}
"""How many inputs, the first ones, say which branch runs or how often: one value for a batch.

The first inputs of a Loop's body are the number of the round and the condition.
"""


def decides_by_values(nodes: Iterable[NodeProto], name: str) -> bool:
    """Whether an If or a Loop among the nodes, or in a body, decides by values of the input `name`.

    All samples of a batch then take the same branch. What only reads the sizes does not count.
    """
    return _decides(nodes, {name})


def _decides(nodes: Iterable[NodeProto], moved: set[str]) -> bool:
    """Whether a node decides by values of `moved`; what is computed from these is added to it."""
    for node in nodes:
        if reads_sizes(node) or moved.isdisjoint(reads(node)):
            continue
        if not moved.isdisjoint(node.input[: _CONDITIONS.get(key_of(node), 0)]):
            return True
        if any(_body_decides(node, body, moved) for body in subgraphs(node)):
            return True
        moved.update(filter(None, node.output))
    return False


def _body_decides(node: NodeProto, body: GraphProto, moved: set[str]) -> bool:
    """As `_decides`; every value that the body is given counts as moved, but not the rounds."""
    is_loop = key_of(node) == _LOOP
    given = body.input[_CONDITIONS[_LOOP] if is_loop else 0 :]
    inside = moved.union(value.name for value in given)
    return _decides(body.node, inside) or (is_loop and body.output[0].name in inside)

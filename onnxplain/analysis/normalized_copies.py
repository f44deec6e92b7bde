"""Which tensors hold another one normalised, however an exporter wrote that."""

from __future__ import annotations

from onnxplain.model import operators
from onnxplain.model.graph_index import GraphIndex

_NORMALISING = (operators.NORMALIZES_LAST | operators.KEEPS_VALUES | operators.ARITHMETIC) | {
    "Pow",
    "Reciprocal",
    "ReduceMean",
    "Sqrt",
}
"""Normalisations, and the operators that one is written in."""


def normalised(graph_index: GraphIndex, tensor: str) -> set[str]:
    """What is made of `tensor` and constants alone on the way through a normalisation.

    A node that makes several results, as SkipLayerNormalization makes the sum and what it becomes,
    makes all of them of one.
    """
    node = graph_index.producer(tensor)
    found = {tensor} if node is None else {name for name in node.output if name}
    for index in sorted(graph_index.descendants(found)):
        node = graph_index.nodes[index]
        if node.op_type in _NORMALISING and graph_index.computed & set(node.input) <= found:
            found.update(name for name in node.output if name)
    return found

"""Calling tensors by other names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence

from onnx import NodeProto

from onnxplain.model.graph_index import subgraphs


def rename(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> None:
    """Call tensors by other names wherever nodes, or subgraphs of theirs, make or read them."""
    for node in nodes:
        _replace(node.input, names)
        _replace(node.output, names)
        for body in subgraphs(node):
            for value in (*body.input, *body.output, *body.value_info, *body.initializer):
                value.name = names.get(value.name, value.name)
            rename(body.node, names)


def _replace(own: MutableSequence[str], names: Mapping[str, str]) -> None:
    for index, name in enumerate(own):
        if name in names:
            own[index] = names[name]

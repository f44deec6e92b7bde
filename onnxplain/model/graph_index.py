"""Which node makes each tensor of a graph, and which nodes read it."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx.helper import get_attribute_value

from onnxplain.model.operators import SIZE_READERS


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The bodies of If, Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph, and all subgraphs of its nodes."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from all_graphs(body)


def reads(node: NodeProto) -> list[str]:
    """Tensors that a node reads, including those that its subgraphs read from outside."""
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        names.extend(captured(graph))
    return names


def reads_sizes(node: NodeProto) -> bool:
    """Whether a node reads only the sizes of a tensor: its output does not depend on values."""
    return node.op_type in SIZE_READERS


def all_names(graph: GraphProto) -> set[str]:
    """The names of all nodes and tensors of a graph and its subgraphs."""
    names = {""}
    for part in all_graphs(graph):
        names.update(value.name for value in (*part.input, *part.initializer))
        names.update(tensor.values.name for tensor in part.sparse_initializer)
        for node in part.node:
            names.update([node.name, *node.input, *node.output])
    return names - {""}


def captured(graph: GraphProto) -> list[str]:
    """Tensors that a subgraph reads from outside; one that is read n times is listed n times."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own.update(name for node in graph.node for name in node.output)
    used = [name for node in graph.node for name in reads(node)]
    used.extend(value.name for value in graph.output)
    return [name for name in used if name not in own]


class GraphIndex:
    """An index over one graph, made in a single pass over its nodes.

    `nodes` are in the file's order, which ONNX requires to be topological.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.constants: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        self.inputs: list[str] = [value.name for value in graph.input]
        self.outputs: list[str] = [value.name for value in graph.output]
        self.position: dict[str, int] = {}
        self.readers: dict[str, list[int]] = defaultdict(list)
        for index, node in enumerate(self.nodes):
            for name in node.output:
                if name:
                    self.position[name] = index
            for name in dict.fromkeys(reads(node)):
                self.readers[name].append(index)

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that makes `tensor`; None for an input or an initializer."""
        index = self.position.get(tensor)
        return None if index is None else self.nodes[index]

    def readers_of(self, tensor: str) -> list[NodeProto]:
        """The nodes that read `tensor`, in order."""
        return [self.nodes[index] for index in self.readers.get(tensor, ())]

    def ancestors(
        self,
        tensors: Iterable[str],
        stop: frozenset[str] = frozenset(),
        without: Callable[[NodeProto], bool] = lambda node: False,
    ) -> set[int]:
        """Positions of the nodes that `tensors` are computed from.

        The search ends at the tensors of `stop`, and at nodes for which `without` is true; these
        nodes are not included.
        """
        seen: set[int] = set()
        stack = [name for name in tensors if name not in stop]
        while stack:
            index = self.position.get(stack.pop())
            if index is None or index in seen or without(self.nodes[index]):
                continue
            seen.add(index)
            stack.extend(name for name in reads(self.nodes[index]) if name not in stop)
        return seen

    def descendants(
        self, tensors: Iterable[str], without: Callable[[NodeProto], bool] = lambda node: False
    ) -> set[int]:
        """Positions of the nodes whose result depends on any of `tensors`.

        The search ends at nodes for which `without` is true; these nodes are not included.
        """
        seen: set[int] = set()
        stack = list(tensors)
        while stack:
            for index in self.readers.get(stack.pop(), ()):
                if index not in seen and not without(self.nodes[index]):
                    seen.add(index)
                    stack.extend(name for name in self.nodes[index].output if name)
        return seen

    @functools.cached_property
    def computed(self) -> frozenset[str]:
        """Tensors that are computed from an input."""
        return frozenset(self.dependent(self.inputs).difference(self.inputs))

    def dependent(self, tensors: Iterable[str]) -> set[str]:
        """`tensors`, and all tensors that are computed from any of them."""
        sources = list(tensors)
        made = (self.nodes[i].output for i in self.descendants(sources))
        return {*sources, *(name for names in made for name in names if name)}

    def between(self, source: str, sink: str) -> list[int]:
        """Positions, in order, of the nodes that compute `sink` from the values of `source`."""
        return sorted(
            self.descendants([source], without=reads_sizes)
            & self.ancestors([sink], without=reads_sizes)
        )

    def tensors_between(self, source: str, sink: str) -> list[str]:
        """Tensors, in order, that depend on `source` and that `sink` depends on, with `sink`."""
        way = self.between(source, sink)
        read = {name for index in way for name in reads(self.nodes[index])} | {sink}
        return [name for index in way for name in self.nodes[index].output if name in read]

    def tensors(self) -> list[str]:
        """Every tensor that a node makes, in order."""
        return [name for node in self.nodes for name in node.output if name]


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {a.name: get_attribute_value(a) for a in node.attribute}

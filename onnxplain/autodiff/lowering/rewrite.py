"""Replaces single nodes by other nodes that compute the same."""

from __future__ import annotations

import functools
import math
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

import onnx_graphsurgeon as gs
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.model.graph_index import all_graphs, all_names, subgraphs
from onnxplain.model.model import Model, spec_of
from onnxplain.model.operators import key_of
from onnxplain.model.shapes import infer_specs
from onnxplain.tensors import Array, TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder

Replacement = Tensor | Sequence[Tensor | None] | None
Rewrite = Callable[["Rewriter", NodeView], Replacement]
"""`rule(g, step)` adds nodes to `g` and returns tensors that replace the outputs of the step.

None in the sequence is an output that is not read in inference; trailing ones may be left out. A
rule that adds no node and returns None instead of a sequence leaves the step as it is.
"""


class Rewrites(UserDict[tuple[str, str], Rewrite]):
    """Rules by (domain, operator)."""

    def of(
        self, *ops: str, domain: str = "", before: float = math.inf
    ) -> Callable[[Rewrite], Rewrite]:
        """Add the decorated function as the rule of `ops`, in opsets less than `before`."""

        def enter(rule: Rewrite) -> Rewrite:
            def of_old(g: Rewriter, s: NodeView) -> Replacement:
                return rule(g, s) if s.opset < before else None

            self.update({(domain, op): of_old for op in ops})
            return rule

        return enter


class Rewriter(Builder):
    """Adds the nodes that replace others, and gives types and values of the model's tensors.

    `index` is the index of the model's graph.
    """

    def __init__(self, model: Model) -> None:
        """Start without nodes."""
        super().__init__(gs.Graph(opset=model.opset), PREFIX + "prepare/")
        self._taken |= all_names(model.proto.graph)
        self._model, self.index = model, model.index
        self._declared = {v.name: v for v in model.proto.graph.value_info}
        self._tensors: dict[str, Tensor] = {}

    def tensor(self, name: str) -> Tensor:
        """A tensor of the model."""
        return self._tensors.setdefault(name, gs.Variable(name))

    def spec(self, tensor: Tensor) -> TensorSpec | None:
        """Element type and shape of a tensor of the model; None where they are not known.

        They are inferred, or declared in the model where they cannot be inferred.
        """
        found = self._specs.get(tensor.name)
        if (found is None or found.shape is None) and tensor.name in self._declared:
            return spec_of(self._declared[tensor.name])
        return found

    def rank(self, tensor: Tensor) -> int | None:
        """Number of axes of a tensor of the model; None where it is not known."""
        spec = self.spec(tensor)
        return None if spec is None or spec.shape is None else len(spec.shape)

    def static_dim(self, tensor: Tensor, axis: int) -> int | None:
        """One dimension of a tensor of the model; None where it is not static."""
        spec = self.spec(tensor)
        size = spec.shape[axis] if spec is not None and spec.shape else None
        return size if isinstance(size, int) else None

    def value(self, tensor: Tensor | None) -> Array | None:
        """The value of a weight that is stored in the model itself; None for other tensors."""
        found = None if tensor is None else self.index.constants.get(tensor.name)
        if found is None or found.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(found)

    @functools.cached_property
    def _specs(self) -> dict[str, TensorSpec]:
        return infer_specs(self._model.proto)

    def replace(self, step: NodeView, rule: Rewrite) -> bool:
        """Apply a rule, and give its results the names of the step's outputs.

        False if the rule leaves the step as it is.
        """
        start = len(self.graph.nodes)
        written = rule(self, step)
        if written is None:
            return False
        results = [written] if isinstance(written, Tensor) else written
        nodes = self.graph.nodes[start:]
        own = {id(tensor): node for node in nodes for tensor in node.outputs}
        for index, (name, result) in enumerate(zip(step.node.output, results, strict=False)):
            if not name or result is None:
                continue
            maker = own.pop(id(result), None)
            if maker is None:  # it belongs to the model, or has another output's name
                result = self.Identity(result)  # noqa: PLW2901
                maker = self.graph.nodes[-1]
            result.name, self._tensors[name] = name, result
            if index == 0 and step.node.name:
                maker.name = step.node.name
        return True


def rewritten(model: Model, rules: Rewrites) -> Model:
    """The model with every node that has a rule replaced, inside subgraphs too.

    Inputs, outputs and remaining tensors keep their names. Constants that rules add become
    initializers. Where nothing is replaced, the model itself is returned.
    """
    if not any(key_of(node) in rules for node in all_nodes(model.proto.graph)):
        return model
    g, proto = Rewriter(model), deepcopy(model.proto)
    _rewrite(g, proto.graph, model.opset, rules, proto.graph)
    return replace(model, proto=proto) if g.graph.nodes else model


def _rewrite(
    g: Rewriter, graph: GraphProto, opset: int, rules: Rewrites, whole: GraphProto
) -> None:
    """Replace nodes in place, inside subgraphs first; constants are added to the `whole` graph."""
    nodes: list[NodeProto] = []
    for node in graph.node:
        for body in subgraphs(node):
            _rewrite(g, body, opset, rules, whole)
        rule, start = rules.get(key_of(node)), len(g.graph.nodes)
        if rule is None or not g.replace(NodeView(node, opset, g.tensor), rule):
            nodes.append(node)
            continue
        part = gs.Graph(g.graph.nodes[start:], opset=opset)
        written = gs.export_onnx(part, do_type_check=False).graph
        nodes.extend(written.node)
        whole.initializer.extend(written.initializer)
    del graph.node[:]
    graph.node.extend(nodes)


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node of a graph, inside subgraphs too."""
    for part in all_graphs(graph):
        yield from part.node


def rename(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> None:
    """Rename tensors, in place, in nodes and their subgraphs; `names` are new names by old ones."""
    for node in nodes:
        for own in (node.input, node.output):
            own[:] = [names.get(name, name) for name in own]
        for body in subgraphs(node):
            for value in (*body.input, *body.output, *body.value_info, *body.initializer):
                value.name = names.get(value.name, value.name)
            rename(body.node, names)

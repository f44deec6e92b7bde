"""Differentiating the branch or body of a node, whose gradient is a graph of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.walk import Walk
from onnxplain.model.constants import constant_value
from onnxplain.model.graph_index import captured, subgraphs
from onnxplain.model.model import Model
from onnxplain.model.shapes import infer_specs
from onnxplain.tensors import Array, TensorSpec


class Body:
    """A subgraph of a node, to which the nodes of its gradient are added.

    `g` writes them; they may read all that the subgraph can read.
    """

    def __init__(
        self, outer: GradientBuilder, graph: GraphProto, inputs: Iterable[TensorSpec] = ()
    ) -> None:
        """Take the subgraph in, with the types and shapes of its inputs."""
        outside = dict.fromkeys(captured(graph))
        specs = (outer.spec(outer.tensor(name)) for name in outside)
        known = [*inputs, *(spec for spec in specs if spec is not None)]
        proto = ModelProto(ir_version=8, graph=graph)
        proto.opset_import.append(helper.make_opsetid("", outer.graph.opset))
        proto.opset_import.extend(helper.make_opsetid(name, 1) for name in _other_domains(graph))
        del proto.graph.input[:]
        proto.graph.input.extend(_declared(spec) for spec in known if spec.dtype.kind != "O")
        self._outer = outer
        self._model = Model(proto, folder=None, path=None, sha256="")
        self.g = outer.inside(infer_specs(self._with_constants(outside)), self._value)

    def gradients(
        self, arriving: Sequence[tuple[str, gs.Tensor]], wanted: Sequence[str]
    ) -> list[gs.Tensor | None]:
        """With respect to each of `wanted`; None where nothing arrives.

        `arriving` are tensors of the subgraph, and the gradients that start there.
        """
        graph_index = self._model.index
        between = graph_index.descendants(wanted) & graph_index.ancestors(
            name for name, _ in arriving
        )
        nodes = [graph_index.nodes[i] for i in sorted(between)]
        walk = Walk(self.g, nodes, wanted, self._outer.walk.rules)
        for name, gradient in arriving:
            walk.add(name, gs.Variable(gradient.name))
        return walk.run()

    def graph(
        self, inputs: Sequence[str], outputs: Sequence[gs.Tensor | None], like: Sequence[str]
    ) -> GraphProto:
        """The subgraph with what was added to it, and other inputs and outputs.

        Outputs are declared to be like tensors of the subgraph, each of which it is a gradient of:
        ONNX Runtime runs no Scan that makes tensors of unknown rank. None stands for zeros.
        """
        filled = (
            self.g.zeros_like(self.g.tensor(name)) if output is None else output
            for output, name in zip(outputs, like, strict=True)
        )
        results = [self.g.Identity(output).name for output in filled]
        added = gs.export_onnx(self.g.graph, do_type_check=False).graph
        own = self._model.proto.graph
        return GraphProto(
            name="gradient",
            node=[*own.node, *added.node],
            initializer=[*own.initializer, *added.initializer],
            input=[ValueInfoProto(name=name) for name in inputs],
            output=[
                helper.make_tensor_value_info(result, TensorProto.FLOAT, self._sizes(name))
                for result, name in zip(results, like, strict=True)
            ],
        )

    def _with_constants(self, outside: Iterable[str]) -> ModelProto:
        """With the integers that it reads from outside, as axes and shapes are, where constant."""
        specs = ((name, self._outer.spec(self._outer.tensor(name))) for name in outside)
        integers = (name for name, spec in specs if spec is not None and spec.dtype.kind == "i")
        values = {name: self._outer.value(self._outer.tensor(name)) for name in integers}
        known = {name: value for name, value in values.items() if value is not None}
        clearer = ModelProto()
        clearer.CopyFrom(self._model.proto)
        del clearer.graph.input[:]
        inputs = self._model.proto.graph.input
        clearer.graph.input.extend(value for value in inputs if value.name not in known)
        tensors = (numpy_helper.from_array(value, name) for name, value in known.items())
        clearer.graph.initializer.extend(tensors)
        return clearer

    def _sizes(self, name: str) -> list[int | None] | None:
        dims = self.g.dims(self.g.tensor(name))
        return None if dims is None else [d if isinstance(d, int) else None for d in dims]

    def _value(self, name: str) -> Array | None:
        own = constant_value(self._model, name)
        return self._outer.value(self._outer.tensor(name)) if own is None else own


def _other_domains(graph: GraphProto) -> set[str]:
    """Without an import of its domain, types cannot be inferred after any operator."""
    inner = (_other_domains(body) for node in graph.node for body in subgraphs(node))
    own = {node.domain for node in graph.node}
    return own.union(*inner) - {"", "ai.onnx"}


def _declared(spec: TensorSpec) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(spec.dtype)
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)

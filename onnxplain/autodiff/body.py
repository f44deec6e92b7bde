"""Differentiates a subgraph of If, Loop or Scan; its gradient is a new subgraph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper
from onnx.numpy_helper import from_array

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import Tensor
from onnxplain.autodiff.walk import Walk, nodes_between
from onnxplain.model.constants import constant_value
from onnxplain.model.graph_index import all_graphs, captured
from onnxplain.model.model import Model
from onnxplain.model.operators import STANDARD_DOMAINS
from onnxplain.model.shapes import infer_specs
from onnxplain.tensors import Array, TensorSpec


class Body:
    """A subgraph of a node, and the nodes of its gradient.

    `g` adds these nodes. They may read all tensors that the subgraph can read.
    """

    def __init__(
        self, outer: GradientBuilder, graph: GraphProto, inputs: Iterable[TensorSpec] = ()
    ) -> None:
        """Infer the types of the subgraph; `inputs` are the types and shapes of its inputs."""
        outside = {name: outer.tensor(name) for name in captured(graph)}
        specs = {name: spec for name, x in outside.items() if (spec := outer.spec(x)) is not None}
        integers = [name for name, spec in specs.items() if spec.dtype.kind == "i"]
        # Shape inference needs constants such as axes and shapes.
        constants = {n: value for n in integers if (value := outer.value(outside[n])) is not None}
        known = [*inputs, *(spec for name, spec in specs.items() if name not in constants)]
        proto = ModelProto(ir_version=8, graph=graph)
        proto.opset_import.append(helper.make_opsetid("", outer.graph.opset))
        proto.opset_import.extend(helper.make_opsetid(name, 1) for name in _other_domains(graph))
        del proto.graph.input[:]
        proto.graph.input.extend(_declared(spec) for spec in known if spec.dtype.kind != "O")
        proto.graph.initializer.extend(from_array(value, name) for name, value in constants.items())
        self._outer, self._graph = outer, graph
        self._model = Model(proto, folder=None, path=None, sha256="")
        opset, prefix = outer.graph.opset, outer.body_prefix()
        self.g = GradientBuilder(opset, infer_specs(proto), self._value, prefix)

    def gradients(
        self, arriving: Sequence[tuple[str, Tensor]], wanted: Sequence[str]
    ) -> list[Tensor | None]:
        """The gradients with respect to each tensor of `wanted`; None where it has none.

        `arriving` are pairs of a tensor of the subgraph and the gradient with respect to it.
        """
        nodes = nodes_between(self._model.index, wanted, (name for name, _ in arriving))
        walk = Walk(self.g, nodes, wanted, self._outer.walk.rules)
        for name, gradient in arriving:
            walk.add(name, gs.Variable(gradient.name))
        return walk.run()

    def graph(
        self, inputs: Sequence[str], outputs: Sequence[Tensor | None], like: Sequence[str]
    ) -> GraphProto:
        """The subgraph with the added nodes, and with new inputs and outputs.

        Each output is a gradient and gets the shape of the tensor in `like` at the same index; None
        among `outputs` means zeros. ONNX Runtime needs the rank of all outputs of a Scan.
        """
        filled = (
            self.g.zeros_like(self.g.tensor(name)) if output is None else output
            for output, name in zip(outputs, like, strict=True)
        )
        results = [self.g.Identity(output).name for output in filled]
        added = gs.export_onnx(self.g.graph, do_type_check=False).graph
        return GraphProto(
            name="gradient",
            node=[*self._graph.node, *added.node],
            initializer=[*self._graph.initializer, *added.initializer],
            input=[ValueInfoProto(name=name) for name in inputs],
            output=[
                helper.make_tensor_value_info(result, TensorProto.FLOAT, self._sizes(name))
                for result, name in zip(results, like, strict=True)
            ],
        )

    def _sizes(self, name: str) -> list[int | None] | None:
        dims = self.g.dims(self.g.tensor(name))
        return None if dims is None else [d if isinstance(d, int) else None for d in dims]

    def _value(self, name: str) -> Array | None:
        own = constant_value(self._model, name)
        return self._outer.value(self._outer.tensor(name)) if own is None else own


def _other_domains(graph: GraphProto) -> set[str]:
    """The domains of a graph that must be imported; else no types are inferred at all."""
    return {node.domain for part in all_graphs(graph) for node in part.node} - STANDARD_DOMAINS


def _declared(spec: TensorSpec) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(spec.dtype)
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)

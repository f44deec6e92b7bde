"""The worked example of how differentiation works: its graph before and after, as diagrams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, NodeProto, numpy_helper, parser

from onnxplain.autodiff.differentiate import differentiate
from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.model.graph_index import GraphIndex
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX

_NET = """
<ir_version: 8, opset_import: ["" : 18]>
net (float[N,3,32,32] x) => (float[N,10] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    b = Relu (a)
    c = GlobalAveragePool (b)
    d = Flatten (c)
    y = Gemm <transB = 1> (d, w2, b2)
}
"""
_WEIGHTS = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (10, 8), "b2": (10,)}
_STYLES = (
    "    classDef gradient fill:#fde8d0,stroke:#c46a1b,color:#222",
    "    classDef constant fill:#eeeeee,stroke:#888888,color:#222,stroke-dasharray:4 3",
)


def before() -> str:
    """The example as it is loaded, as a diagram."""
    return _diagram(load(example()), "LR")


def after() -> str:
    """The example with the gradient at its input, as a diagram."""
    return _diagram(_differentiated(STANDARD), "TB")


def written_nodes() -> str:
    """The nodes that the rule of each node wrote, in the order of the walk, as a table."""
    rules = _Recording()
    differentiated = _differentiated(rules)
    kept = {node.name: node for node in differentiated.proto.graph.node}
    constants = {
        name: str(numpy_helper.to_array(tensor).tolist())
        for name, tensor in differentiated.index.constants.items()
        if name.startswith(PREFIX)
    }
    rows = ["| node of the model | nodes that its rule wrote |", "| --- | --- |"]
    for node, names in rules.written:
        texts = [_text(kept[name], constants) for name in names if name in kept]
        rows.append(f"| {_text(node, {})} | {'<br/>'.join(texts)} |")
    return "\n".join(rows) + "\n"


def example() -> ModelProto:
    """The net of the example; its weights do not matter."""
    proto = parser.parse_model(_NET)
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in _WEIGHTS.items()
    )
    return proto


def _differentiated(rules: Rules) -> Model:
    return differentiate(lower(load(example())), "y", ["x"], ["y"], rules)


def _text(node: NodeProto, constants: Mapping[str, str]) -> str:
    """`y = Op(a, b)`, with constants by value, and short names of added nodes."""
    inputs, outputs = (
        ", ".join(constants.get(name, _short(name)) for name in names)
        for names in (node.input, node.output)
    )
    return f"`{outputs} = {node.op_type}({inputs})`"


def _short(name: str) -> str:
    return name.removeprefix(PREFIX).removeprefix("grad/")


def _diagram(model: Model, direction: str) -> str:
    """Mermaid: round boxes for inputs and outputs, square ones for nodes; weights as text."""
    graph_index = model.index
    ends = [*graph_index.inputs, *graph_index.outputs]
    lines = ["```mermaid", f"flowchart {direction}"]
    lines += [f'    t{i}(["{name}"])' for i, name in enumerate(ends)]
    lines += [
        f'    n{i}["{_label(node, graph_index)}"]' for i, node in enumerate(graph_index.nodes)
    ]
    lines += _edges(graph_index, {name: f"t{i}" for i, name in enumerate(ends)})
    lines += _classes(graph_index)
    return "\n".join([*lines, "```"]) + "\n"


def _label(node: NodeProto, graph_index: GraphIndex) -> str:
    weights = [x for x in node.input if x in graph_index.constants and not x.startswith(PREFIX)]
    return "<br/>".join([node.op_type, ", ".join(weights)]) if weights else str(node.op_type)


def _edges(graph_index: GraphIndex, ends: Mapping[str, str]) -> Iterator[str]:
    for i, node in enumerate(graph_index.nodes):
        for name in node.input:
            if name in graph_index.position:
                text = "" if name.startswith(PREFIX) else f"|{name}|"
                yield f"    n{graph_index.position[name]} -->{text} n{i}"
            elif name in ends:
                yield f"    {ends[name]} --> n{i}"
    for name in graph_index.outputs:
        yield f"    n{graph_index.position[name]} --> {ends[name]}"


def _classes(graph_index: GraphIndex) -> Iterator[str]:
    """Added nodes, and those of them that depend on no input."""
    added = [i for i, node in enumerate(graph_index.nodes) if node.name.startswith(PREFIX)]
    if not added:
        return
    changing = graph_index.descendants(graph_index.inputs)
    yield from _STYLES
    for name, nodes in (
        ("gradient", [i for i in added if i in changing]),
        ("constant", [i for i in added if i not in changing]),
    ):
        if nodes:
            yield f"    class {','.join(f'n{i}' for i in nodes)} {name}"


class _Recording(Rules):
    """The standard rules, which record the nodes that each of them writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[NodeProto, list[str]]] = []

    def gradients(
        self, g: GradientBuilder, step: NodeView, dys: Sequence[gs.Tensor | None]
    ) -> Sequence[gs.Tensor | None]:
        """As in the standard rules."""
        start = len(g.graph.nodes)
        given = STANDARD.gradients(g, step, dys)
        self.written.append((step.node, [node.name for node in g.graph.nodes[start:]]))
        return given

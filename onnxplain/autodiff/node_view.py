"""One node of the forward graph, as a rule sees it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import onnx_graphsurgeon as gs
from onnx import NodeProto

from onnxplain.model.graph_index import attributes, captured, subgraphs


@dataclass(frozen=True, eq=False)
class NodeView:
    """A node, the opset it is read at, and how its tensors are found by name."""

    node: NodeProto
    opset: int
    tensor: Callable[[str], gs.Tensor]

    def reading(self, others: Mapping[str, gs.Tensor]) -> NodeView:
        """The same node with other tensors in the place of some, by name."""
        return replace(
            self, tensor=lambda name: others[name] if name in others else self.tensor(name)
        )

    @property
    def op(self) -> str:
        """Operator."""
        return str(self.node.op_type)

    @property
    def domain(self) -> str:
        """Domain of the operator; "" for the default one."""
        return "" if self.node.domain == "ai.onnx" else str(self.node.domain)

    @property
    def name(self) -> str:
        """What to call the node in a message: without a name of its own, by what it makes."""
        return str(self.node.name or self.node.output[0])

    @functools.cached_property
    def inputs(self) -> list[gs.Tensor]:
        """Inputs in order; then what subgraphs read from outside.

        The type is that of inputs that the operator requires. One that the node leaves out is None:
        read it by `input`.
        """
        outside = [name for body in subgraphs(self.node) for name in captured(body)]
        names = [*self.node.input, *dict.fromkeys(outside)]
        return cast(list[gs.Tensor], [self.tensor(name) if name else None for name in names])

    @functools.cached_property
    def outputs(self) -> list[gs.Tensor]:
        """Outputs in order."""
        return [self.tensor(name) for name in self.node.output]

    @property
    def x(self) -> gs.Tensor:
        """The first input."""
        return self.inputs[0]

    @property
    def y(self) -> gs.Tensor:
        """The first output."""
        return self.outputs[0]

    def input(self, index: int) -> gs.Tensor | None:
        """An input, None where the node leaves it out or ends before it."""
        return self.inputs[index] if index < len(self.inputs) else None

    @functools.cached_property
    def attrs(self) -> dict[str, Any]:
        """The attributes that the node gives, as Python values; strings as str."""
        return {name: _decoded(value) for name, value in attributes(self.node).items()}

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.attrs.get(name, default)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value

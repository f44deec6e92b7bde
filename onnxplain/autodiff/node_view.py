"""One node of the forward graph, as a rule sees it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import onnx_graphsurgeon as gs
from onnx import NodeProto

from onnxplain.model.graph_index import attributes, captured, subgraphs

Tensor: TypeAlias = gs.Tensor
"""A tensor of a graph."""

Gradients: TypeAlias = Sequence[Tensor | None]
"""One for each input of a node, in order: None where there is none."""


@dataclass(frozen=True, eq=False)
class NodeView:
    """A node, the opset it is read at, and how its tensors are found by name."""

    node: NodeProto
    opset: int
    tensor: Callable[[str], Tensor]

    def reading(self, others: Mapping[str, Tensor]) -> NodeView:
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
    def full_op(self) -> str:
        """Operator after its domain, as `com.microsoft::Inverse`, where that is not the default."""
        return f"{self.domain}::{self.op}" if self.domain else self.op

    @property
    def name(self) -> str:
        """What to call the node in a message: without a name of its own, by what it makes."""
        return str(self.node.name or self.node.output[0])

    @functools.cached_property
    def inputs(self) -> list[Tensor]:
        """Inputs in order; then what subgraphs read from outside.

        The type is that of inputs that the operator requires. One that the node leaves out is None:
        read it by `input`.
        """
        outside = [name for body in subgraphs(self.node) for name in captured(body)]
        names = [*self.node.input, *dict.fromkeys(outside)]
        return cast(list[Tensor], [self.tensor(name) if name else None for name in names])

    @functools.cached_property
    def outputs(self) -> list[Tensor]:
        """Outputs in order."""
        return [self.tensor(name) for name in self.node.output]

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.inputs[0]

    @property
    def y(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    def input(self, index: int) -> Tensor | None:
        """An input, None where the node leaves it out or ends before it."""
        return self.inputs[index] if index < len(self.inputs) else None

    @functools.cached_property
    def attrs(self) -> dict[str, Any]:
        """The attributes that the node gives, as Python values; strings as str."""
        return {name: _decoded(value) for name, value in attributes(self.node).items()}

    def attrs_without(self, *starts: str) -> dict[str, Any]:
        """Those whose names start with none of these."""
        return {name: value for name, value in self.attrs.items() if not name.startswith(starts)}

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.attrs.get(name, default)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value

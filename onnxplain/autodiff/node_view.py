"""One node of the forward graph, as rules read it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import onnx_graphsurgeon as gs
from onnx import NodeProto

from onnxplain.model.graph_index import attributes, captured, subgraphs
from onnxplain.model.operators import standard_domain

Tensor: TypeAlias = gs.Tensor
"""A tensor of a graph."""

Gradients: TypeAlias = Sequence[Tensor | None]
"""One for each input of a node, in order; None for an input without a gradient."""


@dataclass(frozen=True, eq=False)
class NodeView:
    """A node, the opset of its model, and a function from names to tensors."""

    node: NodeProto
    opset: int
    tensor: Callable[[str], Tensor]

    def reading(self, others: Mapping[str, Tensor]) -> NodeView:
        """The same node with some tensors replaced; `others` are the new ones by old name."""
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
        return standard_domain(self.node.domain)

    @property
    def full_op(self) -> str:
        """Operator with its domain, as `com.microsoft::Inverse`; no domain if it is the default."""
        return f"{self.domain}::{self.op}" if self.domain else self.op

    @property
    def name(self) -> str:
        """The name of the node for messages; if it has none, that of an output."""
        return str(self.node.name or self.node.output[0])

    @functools.cached_property
    def inputs(self) -> list[Tensor]:
        """Inputs in order; then the tensors that subgraphs read from outside.

        An omitted optional input is None, although the type does not say so: use `input` for it.
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
        """Input number `index`; None if it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    @functools.cached_property
    def attrs(self) -> dict[str, Any]:
        """The attributes that the node has, as Python values; strings as str."""
        return {name: _decoded(value) for name, value in attributes(self.node).items()}

    def attrs_without(self, *starts: str) -> dict[str, Any]:
        """The attributes whose names start with none of `starts`."""
        return {name: value for name, value in self.attrs.items() if not name.startswith(starts)}

    def attr(self, name: str, default: Any = None) -> Any:
        """The value of an attribute; `default` where the node does not have it."""
        return self.attrs.get(name, default)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value

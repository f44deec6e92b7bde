"""Writing nodes as expressions: `g.Add(x, g.Mul(y, 2.0))`."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import numpy as np
import onnx_graphsurgeon as gs

PREFIX = "onnxplain/"
"""Names of everything that is added to a graph start with this."""


class Operator(Protocol):
    """Adds one node and returns its only output; numbers and arrays become constants."""

    def __call__(self, *inputs: Any, **attributes: Any) -> gs.Variable:
        """Add the node."""


class Builder:
    """Adds nodes to a graph, each with a readable name that collides with no other."""

    def __init__(self, graph: gs.Graph) -> None:
        self.graph = graph
        self._taken = set(graph.tensors())
        self._counts: Counter[str] = Counter()

    def __getattr__(self, op: str) -> Operator:
        def add(*inputs: Any, **attributes: Any) -> gs.Variable:
            name = self._name(op.lower())
            output = gs.Variable(name)
            self.graph.nodes.append(
                gs.Node(
                    op,
                    name,
                    attrs=attributes,
                    inputs=[self._tensor(value) for value in inputs],
                    outputs=[output],
                )
            )
            return output

        return add

    def input(self, name: str, shape: tuple[int | str, ...]) -> gs.Variable:
        """A new float32 input of the graph, named under the prefix."""
        variable = gs.Variable(PREFIX + name, np.float32, list(shape))
        self.graph.inputs.append(variable)
        return variable

    def _tensor(self, value: Any) -> gs.Tensor:
        if isinstance(value, gs.Tensor):
            return value
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        return gs.Constant(self._name("constant"), np.ascontiguousarray(array))

    def _name(self, stem: str) -> str:
        while True:
            name = f"{PREFIX}{stem}_{self._counts[stem]}"
            self._counts[stem] += 1
            if name not in self._taken:
                self._taken.add(name)
                return name

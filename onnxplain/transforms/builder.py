"""Writing nodes as expressions: `g.Add(x, g.Mul(y, 2.0))`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import DTypeLike, NDArray

PREFIX = "onnxplain/"
"""All names that are added to a graph start with this."""


Value = gs.Tensor | NDArray[Any] | np.generic
"""An operator input: a tensor of the graph, or an array or number that becomes a constant."""


Operator = Callable[..., gs.Tensor]
"""Adds one node, from inputs and attributes by name, and returns its only output.

Arrays and numbers among the inputs become constants.
"""


class Builder:
    """Adds nodes to a graph: `builder.Op(*inputs, **attributes)`. Names are readable and unique."""

    def __init__(self, graph: gs.Graph, prefix: str = PREFIX) -> None:
        self.graph = graph
        self._prefix = prefix
        self._taken = set(graph.tensors())
        self._counts: Counter[str] = Counter()

    def __getattr__(self, op: str) -> Operator:
        if not op[:1].isupper():
            raise AttributeError(op)

        def add(*inputs: Any, **attributes: Any) -> gs.Tensor:
            return self.many(op, 1, *inputs, **attributes)[0]

        return add

    def many(self, op: str, count: int, *inputs: Any, **attributes: Any) -> list[gs.Tensor]:
        """Add one node and return its `count` outputs; None is an omitted optional input."""
        name = self._name(op.lower())
        names = [name, *(self._name(op.lower()) for _ in range(1, count))]
        outputs: list[gs.Tensor] = [gs.Variable(name) for name in names]
        tensors = [self._tensor(value) for value in inputs]
        while tensors and not tensors[-1].name:
            tensors.pop()
        self.graph.nodes.append(gs.Node(op, name, attributes, tensors, outputs))
        return outputs

    def input(
        self, name: str, shape: Sequence[int | str], dtype: DTypeLike = np.float32
    ) -> gs.Tensor:
        """Add an input called `PREFIX` + `name` to the graph."""
        variable = gs.Variable(PREFIX + name, np.dtype(dtype), list(shape))
        self.graph.inputs.append(variable)
        return variable

    def argument(self, stem: str) -> gs.Tensor:
        """A tensor with a new name, to be an input of a subgraph."""
        return gs.Variable(self._name(stem))

    def body_prefix(self) -> str:
        """A prefix for names in a subgraph, so that they differ from those outside."""
        return self._name("body") + "/"

    def constant(self, value: Any) -> gs.Constant:
        """A constant; Python floats become float32."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        # Not np.ascontiguousarray, which makes a scalar one-dimensional.
        return gs.Constant(self._name("constant"), np.array(array, order="C"))

    def _tensor(self, value: Any) -> gs.Tensor:
        if value is None:
            return gs.Variable.empty()
        if isinstance(value, gs.Tensor):
            return value
        return self.constant(value)

    def _name(self, stem: str) -> str:
        while True:
            name = f"{self._prefix}{stem}_{self._counts[stem]}"
            self._counts[stem] += 1
            if name not in self._taken:
                self._taken.add(name)
                return name

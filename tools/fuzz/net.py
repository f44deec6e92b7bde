"""A graph that grows node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Flow:
    """A float32 tensor of a graph: its name, and the sizes of one sample."""

    name: str
    sizes: tuple[int, ...]


@dataclass
class Net:
    """Nodes and weights, with names that are not used twice.

    Operators whose form depends on the operator set are methods.
    """

    opset: int
    rng: np.random.Generator
    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)
    functions: list[FunctionProto] = field(default_factory=list)
    count: int = 0

    def name(self, stem: str) -> str:
        """A new name."""
        self.count += 1
        return f"{stem.lower()}_{self.count}"

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        return self.several(op, 1, *inputs, domain=domain, **attributes)[0]

    def several(
        self, op: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """A node with several outputs, whose names are returned."""
        made = [self.name(op) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, made[0], domain=domain, **attributes))
        return made

    def weight(self, value: ArrayLike) -> str:
        """A weight."""
        name = self.name("w")
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def normal(self, *sizes: int, gain: float = 1.0) -> str:
        """A weight of normal float32."""
        return self.weight((gain * self.rng.normal(size=sizes)).astype(np.float32))

    def number(self, value: float) -> str:
        """A float32 of no axes."""
        return self.weight(np.float32(value))

    def ints(self, *values: int) -> str:
        """A vector of int64."""
        return self.weight(np.array(values, np.int64))

    def reduce(self, op: str, x: str, axes: Sequence[int], keepdims: int = 1) -> str:
        """A reduction over some axes."""
        if self.opset >= (13 if op == "ReduceSum" else 18):
            return self.add(op, x, self.ints(*axes), keepdims=keepdims)
        return self.add(op, x, axes=list(axes), keepdims=keepdims)

    def slice(self, x: str, axis: int, start: int, end: int) -> str:
        """A part of one axis."""
        if self.opset >= 10:
            return self.add("Slice", x, self.ints(start), self.ints(end), self.ints(axis))
        return self.add("Slice", x, starts=[start], ends=[end], axes=[axis])

    def pad(self, x: str, pads: Sequence[int], mode: str) -> str:
        """Padding of all axes."""
        if self.opset >= 11:
            return self.add("Pad", x, self.ints(*pads), mode=mode)
        return self.add("Pad", x, pads=list(pads), mode=mode)

    def unsqueeze(self, x: str, axis: int) -> str:
        """One more axis, of size 1."""
        if self.opset >= 13:
            return self.add("Unsqueeze", x, self.ints(axis))
        return self.add("Unsqueeze", x, axes=[axis])

    def squeeze(self, x: str, axis: int) -> str:
        """An axis of size 1 less."""
        if self.opset >= 13:
            return self.add("Squeeze", x, self.ints(axis))
        return self.add("Squeeze", x, axes=[axis])

    def split(self, x: str, axis: int, sizes: Sequence[int]) -> list[str]:
        """Parts of one axis."""
        if self.opset >= 13:
            return self.several("Split", len(sizes), x, self.ints(*sizes), axis=axis)
        return self.several("Split", len(sizes), x, axis=axis, split=list(sizes))

    def clip(self, x: str, low: float, high: float) -> str:
        """Values between two bounds."""
        if self.opset >= 11:
            return self.add("Clip", x, self.number(low), self.number(high))
        return self.add("Clip", x, min=low, max=high)
